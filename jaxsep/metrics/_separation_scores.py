"""All that is reported of separated mixtures, in one call."""

import jax
import numpy as np

from jaxsep.metrics._bss_eval import bss_eval
from jaxsep.metrics._energy_ratios import si_sdr, si_snr
from jaxsep.typing import Array, Float, Int

# Signals are padded to a multiple of this.
_SAMPLES = 2**15


def separation_scores(
  estimate: Float[Array, "batch sources time"],
  reference: Float[Array, "batch sources time"],
  mixture: Float[Array, "batch time"],
  *,
  length: Int[Array, "batch"] | None = None,
) -> dict[str, Float[np.ndarray, "batch sources"]]:
  """SI-SDR, SI-SNR and SDR of every source, and what separation gained.

  Runs on the host around one compiled function: zeros are appended, which
  change no score, so that few lengths are compiled.

  Args:
    estimate: Separated signals in the order of the references, `[B, S, T]`.
    reference: Target signals, same shape.
    mixture: What was separated, `[B, T]`.
    length: Valid samples of each mixture of a padded batch, `[B]`; what stands
      past them has no effect. None scores all T.

  Returns:
    `si_sdr`, `si_snr` and `sdr` (of `bss_eval`, with filters of 512 taps), the
    same of the mixture in place of the estimates as `mixture_si_sdr` ..., and
    the differences of the two as `si_sdr_improvement` ..., all in dB, NumPy,
    `[B, S]`; higher is better.

  Raises:
    ValueError: If the shapes do not fit.

  Example:
    >>> rng = np.random.default_rng(0)
    >>> reference = rng.standard_normal((1, 2, 8000)).astype(np.float32)
    >>> estimate = reference + 0.1 * reference[:, ::-1]
    >>> scores = separation_scores(estimate, reference, reference.sum(1))
    >>> print(scores["si_sdr_improvement"].round())
    [[20. 20.]]
  """
  estimate, reference, mixture = map(np.asarray, (estimate, reference, mixture))
  if estimate.ndim != 3 or mixture.shape != estimate[:, 0].shape:
    raise ValueError(
      f"estimate {estimate.shape} must be [batch, sources, time] and mixture"
      f" {mixture.shape} the same without sources"
    )
  if length is None:
    length = np.full(len(mixture), mixture.shape[-1])
  # Estimates and mixtures side by side: one compiled function does for both.
  before = np.broadcast_to(mixture[:, None], estimate.shape)
  both = np.concatenate([estimate, before])
  references = np.concatenate([reference, reference])
  lengths = np.concatenate([length, length])[:, None]
  signals = (_padded(x, lengths[..., None]) for x in (both, references))
  found = jax.device_get(_scores(*signals, lengths))
  values = {}
  for name in ("si_sdr", "si_snr", "sdr"):
    values[name], values[f"mixture_{name}"] = np.split(found[name], 2)
    values[f"{name}_improvement"] = values[name] - values[f"mixture_{name}"]
  return values


@jax.jit
def _scores(estimate, reference, length):
  """Ratios of padded signals, `[B, S]`."""
  return {
    "si_sdr": si_sdr(estimate, reference),
    "si_snr": si_snr(estimate, reference, length=length),
    "sdr": bss_eval(estimate, reference)[0],
  }


def _padded(signals, lengths):
  """Signals with zeros past their lengths, up to a multiple of `_SAMPLES`."""
  time = signals.shape[-1]
  signals = np.where(np.arange(time) < lengths, signals, 0)
  padding = ((0, 0), (0, 0), (0, -time % _SAMPLES))
  return np.pad(signals.astype(np.float32), padding)
