"""Benchmarks run, on what is small, and say what is wrong with their flags."""

import importlib
import os
import sys
import types

import numpy as np
import pytest
from tiny_models import tiny

from experiments.benchmarks import measuring, peers, simulate

NAMES = (
  "bss_eval",
  "data_pipeline",
  "devices",
  "gradients",
  "long_recording",
  "probe_suite",
  "simulate",
  "streaming",
)


def load(monkeypatch, name):
  """A benchmark; what it sets in the environment is undone."""
  for variable in ("JAX_PLATFORMS", "XLA_FLAGS"):
    monkeypatch.setenv(variable, os.environ.get(variable, ""))
  return importlib.import_module(f"experiments.benchmarks.{name}")


@pytest.mark.parametrize("name", NAMES)
def test_benchmarks_live_in_one_process(monkeypatch, capsys, name):
  module = load(monkeypatch, name)
  monkeypatch.setattr(sys, "argv", [name, "--help"])
  with pytest.raises(SystemExit) as stopped:
    module.main()
  assert not stopped.value.code
  assert module.__doc__.splitlines()[0] in capsys.readouterr().out


def test_mixing_is_timed(monkeypatch, capsys):
  flags = ["--batch=1", "--seconds=0.5"]
  monkeypatch.setattr(sys, "argv", ["simulate", *flags])
  simulate.main()
  assert capsys.readouterr().out.count(" ms for 1 x 2 x 0.5 s") == 3


def test_devices_do_not_change_the_losses(monkeypatch):
  devices = load(monkeypatch, "devices")
  one, eight = (
    devices.losses(
      count, num_steps=4, size=8, length=1000, model=tiny("ConvTasNet")
    )
    for count in (1, 8)
  )
  assert len(set(one)) == 4, "the loss of every step is another"
  np.testing.assert_allclose(eight[0], one[0], rtol=1e-5)
  np.testing.assert_allclose(eight, one, rtol=1e-3)


def test_calls_take_turns():
  called = []
  times = measuring.in_turns(
    2, lambda: called.append(1), lambda: called.append(2)
  )
  assert called == [1, 2, 1, 2, 1, 2]
  assert np.shape(times) == (2, 2) and np.min(times) >= 0


def options(**values):
  usual = {
    "cpus": None,
    "peer_python": "",
    "peer_env": [],
    "nokeep_freed_memory": False,
  }
  return types.SimpleNamespace(**{**usual, **values})


def test_sides_differ_in_what_flags_say():
  sides = peers.commands("DPTNet", options())
  assert sides.keys() == {"ours"}
  sides = peers.commands(
    "DPTNet", options(peer_python=sys.executable, peer_env=["A=b=c:d=e"])
  )
  (ours, cores), (theirs, same, environment) = sides["ours"], sides["peer"]
  assert cores == same and environment == [["A", "b=c:d=e"]]
  assert theirs[0] == sys.executable and theirs[-1] == ours[-1] == "DPTNet"


@pytest.mark.parametrize(
  "flag",
  [
    {"cpus": "0,x"},
    {"peer_python": "nowhere"},
    {"peer_python": sys.executable, "peer_env": ["A"]},
  ],
)
def test_mistakes_in_flags_of_sides(flag):
  with pytest.raises(ValueError, match=r"--|Python"):
    peers.commands("DPTNet", options(**flag))
