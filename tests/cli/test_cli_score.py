"""`jaxsep score`, on estimates and references in files."""

import functools
import json
import types

import numpy as np
import pytest
from two_bands import RATE

from jaxsep import cli, metrics


@pytest.fixture
def score(capsys):
  def call(*words):
    code = cli.main(["score", *words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err.splitlines()

  return call


@pytest.fixture
def pair(make):
  generator = np.random.default_rng(3)
  reference = generator.normal(0, 0.1, (2, 2 * RATE)).astype(np.float32)
  noise = generator.normal(0, 0.01, reference.shape).astype(np.float32)
  estimate = 0.5 * (reference + noise)[::-1]
  write = functools.partial(make, subtype="FLOAT")
  return types.SimpleNamespace(
    reference=reference,
    estimate=estimate,
    references=[write(f"r{i}.wav", row) for i, row in enumerate(reference)],
    estimates=[write(f"e{i}.wav", row) for i, row in enumerate(estimate)],
    mixture=write("m.wav", reference.sum(0)),
  )


def test_scores_under_the_best_permutation(score, pair):
  words = ["--reference", *pair.references, "--estimate", *pair.estimates]
  code, out, err = score(*words, "--mixture", pair.mixture, "--json")
  assert code == 0
  assert err == []
  result = json.loads(out)
  for name, files in (
    ("reference", pair.references),
    ("estimate", pair.estimates[::-1]),
  ):
    assert [source[name] for source in result["sources"]] == files
  expected = metrics.si_sdr(pair.estimate[::-1], pair.reference)
  before = metrics.si_sdr(
    np.tile(pair.reference.sum(0), (2, 1)), pair.reference
  )
  for source, value, base in zip(
    result["sources"], expected, before, strict=True
  ):
    assert source["si_sdr"] == pytest.approx(float(value), abs=1e-3)
    gained = float(value - base)
    assert source["si_sdr_improvement"] == pytest.approx(gained, abs=1e-3)
    assert source["snr"] == pytest.approx(6.0, abs=0.2)
    assert source["sdr"] > 19
  mean = float(np.mean(expected))
  assert result["mean"]["si_sdr"] == pytest.approx(mean, abs=1e-3)


def test_the_table_says_which_belongs_to_which(score, pair):
  code, out, _ = score(
    "--reference", *pair.references, "--estimate", *pair.estimates
  )
  assert code == 0
  rows = [line.split() for line in out.splitlines()]
  titles = "reference estimate SI-SDR SI-SNR SNR SDR SIR SAR"
  assert rows[0] == titles.split()
  assert rows[1][:2] == [pair.references[0], pair.estimates[1]]
  assert rows[2][:2] == [pair.references[1], pair.estimates[0]]
  assert rows[3][0] == "mean"
  assert len({len(line) for line in out.splitlines()}) == 1


def test_a_silent_reference_has_no_scores(score, pair, make):
  silent = make("silent.wav", 0 * pair.reference[0])
  words = ["--reference", silent, pair.references[0], "--estimate"]
  words += pair.estimates
  _, out, err = score(*words)
  assert err == [f"note: {silent}: is silent; it has no scores"]
  rows = [line.split() for line in out.splitlines()]
  assert rows[1][2:] == ["-"] * 6
  assert rows[3][1:] == rows[2][2:]  # The mean is that of the other.
  mean = json.loads(score(*words, "--json")[1])["mean"]
  assert mean["si_sdr"] > 15
  _, out, err = score("--reference", silent, "--estimate", silent, "--json")
  assert set(json.loads(out)["mean"].values()) == {None}


def test_scores_that_cannot_be(score, pair, make):
  other_rate = make("rate.wav", pair.reference[0], 16000)
  shorter = make("short.wav", pair.reference[0][:-100])
  stereo = make("stereo.wav", pair.reference[:, :-100])
  first, second = pair.references
  for references, estimates, match in [
    ([first], pair.estimates, "1 references, but 2 estimates"),
    ([first], ["missing.wav"], "missing.wav: no such file"),
    ([first], [other_rate], "rate.wav: 16000 Hz, but"),
    ([first], [shorter], "--trim"),
    ([first], [stereo], "has 2 channels; say which with --channel"),
  ]:
    code, out, err = score("--reference", *references, "--estimate", *estimates)
    assert code == 2
    assert out == ""
    assert len(err) == 1
    assert match in err[0]
  words = ["--reference", first, "--estimate", shorter, "--trim", "--json"]
  code, out, err = score(*words)
  assert code == 0
  assert "all cut to 15900" in err[0]
  assert json.loads(out)["mean"]["si_sdr"] > 60
  words = ["--reference", second, "--estimate", stereo, "--channel=2", "--json"]
  assert json.loads(score(*words, "--trim")[1])["mean"]["si_sdr"] > 60
  code, _, err = score(
    "--reference", first, "--estimate", second, "--channel=5"
  )
  assert code == 2
  assert err == [f"jaxsep: {first}: has 1 channel, no channel 5"]
