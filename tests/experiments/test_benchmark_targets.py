"""Benchmarks say whether their targets are met, on any system."""

import importlib
import os
import sys
import types

import numpy as np
import pytest
from absl import flags


def benchmark(name):
  """A benchmark without its flags, of which several have the same names."""
  module = importlib.import_module(f"experiments.benchmarks.{name}")
  own = flags.FLAGS.flags_by_module_dict().get(module.__name__, ())
  flags.FLAGS.remove_flag_values([flag.name for flag in own])
  return module


bss_eval = benchmark("bss_eval")
conv_tasnet = benchmark("conv_tasnet")
data_pipeline = benchmark("data_pipeline")
long_recording = benchmark("long_recording")


@pytest.mark.parametrize(
  ("own_s", "word"), [(0.7, "met"), (0.8, "met"), (0.9, "missed")]
)
def test_time_of_bss_eval(monkeypatch, capsys, own_s, word):
  monkeypatch.setattr(bss_eval, "timed", lambda function: (function(), None))
  bss_eval.compare("peer", lambda: own_s, lambda: 1.0, 3)
  assert capsys.readouterr().out.rstrip().endswith(f"at most 0.8: {word}")


@pytest.mark.parametrize(
  ("gap", "word"), [(0.009, "met"), (0.02, "missed"), (np.nan, "missed")]
)
def test_values_of_bss_eval(gap, word):
  line = bss_eval.largest_difference([[0.0], [gap], [0.0]], [[0.0]] * 3)
  assert line.endswith(f"at most 0.01 dB: {word}")


def test_bss_eval_where_no_process_is_held_to_cpus(monkeypatch, capsys):
  monkeypatch.delattr(os, "sched_getaffinity", raising=False)
  monkeypatch.delattr(os, "sched_setaffinity", raising=False)
  monkeypatch.setattr(os, "cpu_count", lambda: 4)
  bss_eval.keep_to(4)
  assert not capsys.readouterr().out
  bss_eval.keep_to(1)
  line = capsys.readouterr().out
  assert line.count("\n") == 1
  assert "to 1 of its 4 CPUs" in line


@pytest.fixture
def started(monkeypatch):
  """What benchmarks would start, with the flags of `conv_tasnet`."""
  processes = []

  def start(command, **options):
    processes.append({"command": command, **options})
    return types.SimpleNamespace(stdin="in", stdout="out")

  monkeypatch.setattr(conv_tasnet.subprocess, "Popen", start)
  for name, value in (
    ("_PEER_PYTHON", sys.executable),
    ("_PEER_ENV", []),
    ("_KEEP_FREED_MEMORY", True),
    ("_CPUS", None),
  ):
    flag = types.SimpleNamespace(value=value)
    monkeypatch.setattr(conv_tasnet, name, flag)
  return processes


def test_sides_differ_in_what_flags_say(monkeypatch, started):
  conv_tasnet.start_sides("ours", "peer.py", [0])
  ours, peer = started
  assert ours["command"] == [sys.executable, "-m", "ours"]
  assert peer["command"][1].endswith("benchmarks/peer.py")
  assert ours["env"] == peer["env"] == dict(os.environ)
  conv_tasnet._KEEP_FREED_MEMORY.value = False
  conv_tasnet._PEER_ENV.value = ["A=b=c:d=e"]
  conv_tasnet.start_sides("ours", "peer.py", [0])
  ours, peer = started[2:]
  assert ours["command"][-1] == "--nokeep_freed_memory"
  assert "A" not in ours["env"] and peer["env"]["A"] == "b=c:d=e"


def test_sides_where_no_process_is_held_to_cores(monkeypatch, started):
  monkeypatch.delattr(os, "sched_getaffinity", raising=False)
  monkeypatch.delattr(os, "sched_setaffinity", raising=False)
  monkeypatch.setattr(os, "cpu_count", lambda: 3)
  assert conv_tasnet.check_flags() == [0, 1, 2]
  conv_tasnet.start_ours("ours", [0, 1, 2])
  assert started[0]["preexec_fn"] is None


@pytest.mark.parametrize(
  ("flag", "value", "message"),
  [
    ("_CPUS", ["0", "x"], "--cpus has 'x'; the cores are 0"),
    ("_PEER_ENV", ["A"], "--peer_env is 'A'; it takes NAME=VALUE"),
    ("_PEER_PYTHON", "/nowhere/python", "no Python at /nowhere/python: run"),
  ],
)
def test_flags_of_sides_at_fault(monkeypatch, started, flag, value, message):
  getattr(conv_tasnet, flag).value = value
  monkeypatch.setattr(conv_tasnet, "allowed_cores", lambda: [0])
  with pytest.raises(SystemExit, match=message):
    conv_tasnet.check_flags()


@pytest.mark.parametrize(
  ("name", "rate_hz", "measured", "num_cores", "end"),
  [
    ("a.flac", 16000, 3000, 4, "target 3,000 on 4 cores: met"),
    ("a.flac", 16000, 2999, 4, "target 3,000 on 4 cores: missed"),
    ("a.flac", 16000, 9000, 2, "target 3,000 on 4 cores: not decided on 2"),
    ("a.flac", 8000, 9000, 4, ""),
    ("a.wav", 16000, 9000, 4, ""),
  ],
)
def test_speed_of_reading(name, rate_hz, measured, num_cores, end):
  line = data_pipeline.beside_target(
    types.SimpleNamespace(path=[name]),
    rate_hz=rate_hz,
    own_hz=16000,
    measured=measured,
    num_cores=num_cores,
  )
  assert line.removeprefix("; ") == end


@pytest.mark.parametrize(
  ("grown_mb", "length_s", "end"),
  [
    (1499, 3600, ": met"),
    (1500, 3600, ": missed"),
    (1500, 60, ": missed"),
    (20, 60, ": not decided, this is shorter"),
  ],
)
def test_memory_of_a_long_recording(grown_mb, length_s, end):
  assert long_recording.beside_target(grown_mb, length_s, 8000).endswith(end)
