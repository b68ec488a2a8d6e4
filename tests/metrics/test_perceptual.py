"""STOI and PESQ: the wrappers, not the scores."""

import importlib

import jax.numpy as jnp
import numpy as np
import pytest

from jaxsep import metrics

pesq_package = pytest.importorskip("pesq", reason="needs the extra eval")
pystoi = pytest.importorskip("pystoi", reason="needs the extra eval")


def speech_like(shape, seed=0):
  rng = np.random.default_rng(seed)
  envelope = np.sin(np.arange(shape[-1]) * 2 * np.pi * 2 / 8000) ** 2
  return rng.standard_normal(shape) * envelope


@pytest.fixture(name="pair")
def make_pair():
  reference = speech_like((2, 2, 8000))
  return reference + 0.3 * speech_like(reference.shape, 1), reference


# Reference.


def test_rows_are_those_of_the_packages(pair):
  estimate, reference = pair
  scores = {
    "stoi": metrics.stoi(estimate, reference, sample_rate_hz=8000),
    "estoi": metrics.stoi(
      estimate, reference, sample_rate_hz=8000, extended=True
    ),
    "nb": metrics.pesq(estimate, reference, sample_rate_hz=8000),
    "wb": metrics.pesq(estimate, reference, sample_rate_hz=16000),
    "nb16": metrics.pesq(estimate, reference, sample_rate_hz=16000, mode="nb"),
  }
  one, target = estimate[1, 0], reference[1, 0]
  wanted = {
    "stoi": pystoi.stoi(target, one, 8000),
    "estoi": pystoi.stoi(target, one, 8000, extended=True),
    "nb": pesq_package.pesq(8000, target, one, "nb"),
    "wb": pesq_package.pesq(16000, target, one, "wb"),
    "nb16": pesq_package.pesq(16000, target, one, "nb"),
  }
  for name, score in scores.items():
    assert score.shape == (2, 2)
    np.testing.assert_allclose(score[1, 0], wanted[name], rtol=1e-6)


# Law.


def test_better_is_higher_and_jax_arrays_are_taken(pair):
  estimate, reference = pair
  worse = reference + 3 * (estimate - reference)
  for score in (metrics.stoi, metrics.pesq):
    good = score(
      jnp.asarray(estimate[0]), jnp.asarray(reference[0]), sample_rate_hz=8000
    )
    assert (good > score(worse[0], reference[0], sample_rate_hz=8000)).all()
    best = score(reference[0, 0], reference[0, 0], sample_rate_hz=8000)
    assert best.shape == () and best > good.max()


# Edge.


@pytest.mark.parametrize("score", [metrics.stoi, metrics.pesq])
def test_undefined_is_nan_and_leaves_the_rest_alone(score):
  reference = speech_like((2, 8000))
  reference[1] = 0
  estimate = speech_like((2, 8000), 1)
  scores = score(estimate, reference, sample_rate_hz=8000)
  assert np.isfinite(scores[0]) and np.isnan(scores[1])
  short = speech_like((1500,))
  assert np.isnan(score(short, short, sample_rate_hz=8000))
  assert score(np.ones((0, 9)), np.ones((0, 9)), sample_rate_hz=8000).shape == (
    0,
  )


# Failure.


def test_errors_say_what_is_wrong(unchecked, pair):
  estimate, reference = pair
  with pytest.raises(ValueError, match="8000 and 16000 Hz, not at 44100"):
    metrics.pesq(estimate, reference, sample_rate_hz=44100)
  with pytest.raises(ValueError, match="mode 'wb' at 8000"):
    metrics.pesq(estimate, reference, sample_rate_hz=8000, mode="wb")
  with pytest.raises(ValueError, match="positive integer"):
    metrics.stoi(estimate, reference, sample_rate_hz=0)
  for score in (metrics.stoi, metrics.pesq):
    with pytest.raises(ValueError, match="same shape"):
      score(estimate[0], reference, sample_rate_hz=8000)


@pytest.mark.parametrize("name", ["stoi", "pesq"])
def test_a_missing_package_is_one_line(monkeypatch, pair, name):
  def missing(module):
    raise ImportError(module)

  monkeypatch.setattr(importlib, "import_module", missing)
  with pytest.raises(ImportError, match=r"pip install 'jaxsep\[eval\]'"):
    getattr(metrics, name)(*pair, sample_rate_hz=8000)
