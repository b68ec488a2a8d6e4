"""Benchmarks start in one process and say what is wrong with their flags."""

import importlib
import os
import sys
import types

import numpy as np
import pytest

from experiments.benchmarks import peers, stability_cases

NAMES = (
  "beam_search",
  "bss_eval",
  "buckets",
  "data_pipeline",
  "gradients",
  "long_recording",
  "probe_suite",
  "rooms",
  "streaming",
  "upper_band",
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


PEER = "side_asteroid.py"


def options(**values):
  usual = {
    "cpus": None,
    "peer_python": "",
    "nokeep_freed_memory": False,
  }
  return types.SimpleNamespace(**{**usual, **values})


def test_sides_differ_in_what_flags_say():
  assert peers.commands("DPTNet", options(), PEER)[0].keys() == {"ours"}
  given = options(peer_python=sys.executable)
  sides, cores = peers.commands("DPTNet", given, PEER)
  ours, (theirs, environment) = sides["ours"][0], sides["peer"]
  assert cores and "mmap_max=0" in environment["GLIBC_TUNABLES"]
  assert theirs[0] == sys.executable and theirs[-1] == ours[-1] == "DPTNet"


def test_memory_is_kept_by_both_sides_or_by_none():
  given = options(peer_python=sys.executable, nokeep_freed_memory=True)
  sides, _ = peers.commands("DPTNet", given, PEER)
  assert "--nokeep_freed_memory" in sides["ours"][0]
  assert not sides["peer"][1]


@pytest.mark.parametrize("flag", [{"cpus": "0,x"}, {"peer_python": "nowhere"}])
def test_mistakes_in_flags_of_sides(flag):
  with pytest.raises(ValueError, match=r"--|Python"):
    peers.commands("DPTNet", options(**flag), PEER)


def test_similar_voices_are_nearest_in_pitch(monkeypatch, capsys):
  module = load(monkeypatch, "long_recording")
  rng = np.random.default_rng(0)
  speakers = {name: rng.normal(size=60_000) for name in ("a", "b", "c")}
  f0 = np.array([[100.0, 100.0, 1.0], [240.0, 240.0, 1.0], [252.0, 252.0, 1.0]])
  monkeypatch.setattr(stability_cases, "average_f0", lambda *_, **__: f0)
  # The nearest pair is separated first, and its row is of all its cases.
  loaded = types.SimpleNamespace(model=None, sample_rate_hz=1000)
  monkeypatch.setattr(module, "read_speakers", lambda *_: speakers)
  monkeypatch.setattr(module, "joined", lambda *a: np.tile(a[2], (2, 1)))
  module.stability(
    loaded, types.SimpleNamespace(corpus="", num_speakers=3, num_pairs=2)
  )
  printed = capsys.readouterr().out
  assert "similar voices: b and c, up to 0.8 semitones apart" in printed
  assert "0 of 18 for good" in printed and "0 of 9 for good" in printed
  assert printed.count(": met") == 2


def test_scores_of_the_order(monkeypatch):
  score = load(monkeypatch, "long_recording").score
  rng = np.random.default_rng(0)
  references = rng.normal(0, 0.1, (2, 24 * 1000))
  references[1, 20_000:] = 0  # The last two windows are of one speaker.
  estimate = references + rng.normal(0, 0.01, references.shape)
  estimate[1, 20_000:] = 0.01 * references[0, 20_000:]

  def scores(*starts):
    exchanged = estimate.copy()
    for start in starts:
      exchanged[:, start:] = exchanged[::-1, start:]
    return score(exchanged, references, 1000)

  right = scores()
  assert (right["windows"], right["wrong"], right["for_good"]) == (12, 0, 0)
  assert right["one_order"] == pytest.approx(20, abs=1)
  np.testing.assert_allclose(right["alone"], -40, atol=0.5)
  # Which output is whose does not matter, but that it stays.
  assert scores(0)["wrong"] == 0
  assert scores(0)["one_order"] == pytest.approx(right["one_order"])
  once, back = scores(8000), scores(8000, 12_000)
  assert (once["wrong"], once["for_good"]) == (4, 1)
  assert (back["wrong"], back["for_good"]) == (2, 0)
  assert back["best_order"] == pytest.approx(right["best_order"], abs=0.01)
  assert back["one_order"] < 5
