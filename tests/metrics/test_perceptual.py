"""STOI and PESQ: the wrappers, not the scores."""

import functools
import importlib
import importlib.util

import jax.numpy as jnp
import numpy as np
import pystoi
import pytest

from jaxsep import metrics

needs_pesq = pytest.mark.skipif(
  importlib.util.find_spec("pesq") is None,
  reason="needs pesq, which pip compiles: a C compiler",
)
STOI = pytest.param(metrics.stoi, id="stoi")
PESQ = pytest.param(metrics.pesq, id="pesq", marks=needs_pesq)


def speech_like(shape, seed=0):
  rng = np.random.default_rng(seed)
  envelope = np.sin(np.arange(shape[-1]) * 2 * np.pi * 2 / 8000) ** 2
  return rng.standard_normal(shape) * envelope


@pytest.fixture(name="pair")
def make_pair():
  reference = speech_like((2, 2, 8000))
  return reference + 2.0 * speech_like(reference.shape, 1), reference


# Reference.


def check_rows(pair, score, package_score):
  """One row, scored by the package itself, is the same."""
  estimate, reference = pair
  scores = score(estimate, reference)
  assert scores.shape == (2, 2)
  wanted = package_score(reference[1, 0], estimate[1, 0])
  np.testing.assert_allclose(scores[1, 0], wanted, rtol=1e-6)


def test_stoi_is_that_of_the_package(pair):
  check_rows(
    pair,
    functools.partial(metrics.stoi, sample_rate_hz=8000),
    lambda clean, one: pystoi.stoi(clean, one, 8000),
  )


@needs_pesq
@pytest.mark.parametrize(
  ("rate", "mode", "widest"),
  [(8000, None, "nb"), (16000, None, "wb"), (16000, "nb", "nb")],
)
def test_pesq_is_that_of_the_package(pair, rate, mode, widest):
  package = importlib.import_module("pesq")
  check_rows(
    pair,
    functools.partial(metrics.pesq, sample_rate_hz=rate, mode=mode),
    lambda clean, one: package.pesq(rate, clean, one, widest),
  )


# Law.


@pytest.mark.parametrize("score", [STOI, PESQ])
def test_better_is_higher_and_jax_arrays_are_taken(pair, score):
  estimate, reference = pair
  worse = reference + 3 * (estimate - reference)
  good = score(
    jnp.asarray(estimate[0]), jnp.asarray(reference[0]), sample_rate_hz=8000
  )
  assert (good > score(worse[0], reference[0], sample_rate_hz=8000)).all()
  best = score(reference[0, 0], reference[0, 0], sample_rate_hz=8000)
  assert best.shape == () and best > good.max()


# Edge.


@pytest.mark.parametrize("score", [STOI, PESQ])
def test_undefined_is_nan_and_leaves_the_rest_alone(score):
  reference = speech_like((2, 8000))
  reference[1] = 0
  estimate = speech_like((2, 8000), 1)
  scores = score(estimate, reference, sample_rate_hz=8000)
  assert np.isfinite(scores[0]) and np.isnan(scores[1])
  for shape in [(0, 9), (3, 0), (0, 0)]:
    nothing = np.ones(shape)
    scores = score(nothing, nothing, sample_rate_hz=8000)
    assert scores.shape == shape[:1] and np.isnan(scores).all()


@pytest.mark.parametrize("score", [STOI, PESQ])
@pytest.mark.parametrize("num_samples", [1, 257, 1500])
def test_what_is_too_short_is_nan(score, num_samples):
  short = speech_like((num_samples,)) + 0.1
  assert np.isnan(score(short, short, sample_rate_hz=8000))


@pytest.mark.parametrize("score", [STOI, PESQ])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_nan_and_leaves_the_rest_alone(pair, score, bad):
  estimate, reference = (signal.copy() for signal in pair)
  estimate[0, 1, 70] = bad
  reference[1, 0, 4000] = bad
  scores = score(estimate, reference, sample_rate_hz=8000)
  np.testing.assert_array_equal(
    np.isfinite(scores), [[True, False], [False, True]]
  )


# Failure.


def test_rates_and_modes_that_pesq_has_not(pair):
  """Checked before the package is wanted."""
  estimate, reference = pair
  with pytest.raises(ValueError, match="8000 and 16000 Hz, not at 44100"):
    metrics.pesq(estimate, reference, sample_rate_hz=44100)
  with pytest.raises(ValueError, match="mode 'wb' at 8000"):
    metrics.pesq(estimate, reference, sample_rate_hz=8000, mode="wb")


def test_rates_that_stoi_has_not(pair):
  with pytest.raises(ValueError, match="positive integer"):
    metrics.stoi(*pair, sample_rate_hz=0)


@pytest.mark.parametrize("score", [STOI, PESQ])
def test_shapes_that_differ(unchecked, pair, score):
  estimate, reference = pair
  with pytest.raises(ValueError, match="same shape"):
    score(estimate[0], reference, sample_rate_hz=8000)


@pytest.mark.parametrize("name", ["stoi", "pesq"])
def test_a_missing_package_is_one_line(monkeypatch, pair, name):
  def missing(module):
    raise ImportError(module)

  monkeypatch.setattr(importlib, "import_module", missing)
  with pytest.raises(ImportError, match=r"pip install 'jaxsep\[eval\]'"):
    getattr(metrics, name)(*pair, sample_rate_hz=8000)
