"""Perceptual scores by their established implementations, in NumPy."""

import importlib
import warnings

import numpy as np

from jaxsep.typing import Array, Float

# Wide-band PESQ is defined at 16 kHz only.
_PESQ_MODES = {8000: ("nb",), 16000: ("wb", "nb")}


def stoi(
  estimate: Float[Array, "*batch time"],
  reference: Float[Array, "*batch time"],
  *,
  sample_rate_hz: int,
) -> Float[np.ndarray, "*batch"]:
  """Short-time objective intelligibility, computed by `pystoi`.

  Runs on the host, one signal after the other; needs the extra `eval`.

  Args:
    estimate: Separated signal, shape `[..., T]`.
    reference: Clean target, same shape.
    sample_rate_hz: Sample rate; any, as `pystoi` resamples to 10 kHz.

  Returns:
    Score, NumPy, shape `[...]`; higher is better, 1 is best. NaN where it is
    not defined: a silent reference, less than 0.4 s of speech, or a signal that
    holds NaN or infinity.

  Raises:
    ImportError: If `pystoi` is not installed.
    ValueError: If the shapes differ or the rate is not a positive integer.

  References:
    Taal et al., An algorithm for intelligibility prediction of time-frequency
    weighted noisy speech, 2011.

  Example:
    >>> rng = np.random.default_rng(0)
    >>> speech = rng.standard_normal(8000) * np.sin(np.arange(8000) / 400)
    >>> print(stoi(speech, speech, sample_rate_hz=8000).round(3))
    1.0
  """
  pystoi = _package("pystoi", "stoi")
  estimate, reference = _host_pair(estimate, reference)
  rate = int(sample_rate_hz)
  if rate != sample_rate_hz or rate <= 0:
    raise ValueError(
      f"sample_rate_hz {sample_rate_hz} must be a positive integer"
    )

  def score(one, target):
    if not target.any():
      return np.nan
    with warnings.catch_warnings():
      # It would go on with a score of 1e-5.
      warnings.filterwarnings("error", message="Not enough STFT frames")
      try:
        return pystoi.stoi(target, one, rate)
      except (RuntimeWarning, np.exceptions.AxisError):
        # The latter of signals that do not fill a single frame.
        return np.nan

  return _rowwise(score, estimate, reference)


def pesq(
  estimate: Float[Array, "*batch time"],
  reference: Float[Array, "*batch time"],
  *,
  sample_rate_hz: int,
  mode: str | None = None,
) -> Float[np.ndarray, "*batch"]:
  """Perceptual evaluation of speech quality, computed by `pesq`.

  Runs on the host, one signal after the other; needs the extra `eval`.

  Args:
    estimate: Separated signal, shape `[..., T]`.
    reference: Clean target, same shape.
    sample_rate_hz: 8000 or 16000.
    mode: "wb" (ITU-T P.862.2, at 16000) or "nb" (P.862.1); None takes the
      widest that the rate allows.

  Returns:
    Listening quality (MOS-LQO), NumPy, shape `[...]`, about 1 to 4.6; higher is
    better. NaN where it is not defined: no speech found in the reference, a
    silent estimate, less than a quarter of a second, or a signal that holds NaN
    or infinity.

  Raises:
    ImportError: If `pesq` is not installed.
    ValueError: If the shapes differ, or rate and mode do not fit.

  References:
    ITU-T P.862, P.862.1 and P.862.2.

  Example:
    >>> rng = np.random.default_rng(0)
    >>> speech = rng.standard_normal(8000) * np.sin(np.arange(8000) / 400)
    >>> print(bool(pesq(speech, speech, sample_rate_hz=8000) > 4.0))
    True
  """
  modes = _PESQ_MODES.get(sample_rate_hz)
  if modes is None:
    raise ValueError(
      f"pesq is defined at 8000 and 16000 Hz, not at {sample_rate_hz};"
      " resample both signals first"
    )
  if mode is not None and mode not in modes:
    raise ValueError(
      f"pesq mode {mode!r} at {sample_rate_hz} Hz must be one of {modes}"
    )
  package = _package("pesq", "pesq")
  estimate, reference = _host_pair(estimate, reference)

  def score(one, target):
    if not one.any() or not target.any():
      return np.nan
    try:
      return package.pesq(sample_rate_hz, target, one, mode or modes[0])
    except (package.NoUtterancesError, package.BufferTooShortError):
      return np.nan

  return _rowwise(score, estimate, reference)


def _package(name, metric):
  """An optional package, or one line that says how to get it."""
  try:
    return importlib.import_module(name)
  except ImportError as error:
    raise ImportError(
      f"{metric} needs the package {name}: pip install 'jaxsep[eval]'"
    ) from error


def _host_pair(estimate, reference):
  """Both signals as float64 of NumPy, after a check of their shapes."""
  estimate = np.asarray(estimate, np.float64)
  reference = np.asarray(reference, np.float64)
  if estimate.shape != reference.shape or not estimate.ndim:
    raise ValueError(
      f"estimate {estimate.shape} and reference {reference.shape} must have"
      " the same shape [..., time]"
    )
  return estimate, reference


def _rowwise(score, estimate, reference):
  """The score of each row; NaN where a row is not finite."""
  scores = np.full(estimate.shape[:-1], np.nan)
  for row in np.ndindex(scores.shape):
    one, target = estimate[row], reference[row]
    if np.isfinite(one).all() and np.isfinite(target).all():
      scores[row] = score(one, target)
  return scores
