"""Ratios of the energy of the target to the energy of everything else."""

import jax
import jax.numpy as jnp

from jaxsep import dsp
from jaxsep.metrics import _levels
from jaxsep.typing import Array, Float, Int

# Relative to the peak: what rounding leaves of a constant minus its mean.
_CONSTANT = 1e-6


def snr(
  estimate: Float[Array, "*batch time"], reference: Float[Array, "*batch time"]
) -> Float[Array, "*batch"]:
  """Signal-to-noise ratio: all that differs from the reference is noise.

  The level of the estimate matters: at half the amplitude it scores 6 dB.

  Args:
    estimate: Separated signal, shape `[..., T]`.
    reference: Target signal, same shape.

  Returns:
    Ratio in dB, shape `[...]`; higher is better. Independent of the level of
    the recording, and finite: never below -150 dB, which a silent reference
    scores, and at most 150 dB, on an exact estimate. A silent estimate of a
    signal scores 0 dB: all of the reference is missing. NaN where a signal
    holds NaN or infinity.

  Raises:
    ValueError: If the two shapes differ.

  Example:
    >>> print(snr(jnp.array([1.0, 0.1]), jnp.array([1.0, 0.0])).round(2))
    20.0
  """
  estimate, reference = dsp.paired(estimate, reference)
  peak = _levels.level_of_peak(reference)
  loudest = _levels.level_of_peak(estimate)
  silent = peak == 0
  # For a far louder estimate the ratio is at the floor: no square overflows.
  peak = jnp.maximum(peak, _levels.FLOOR * loudest)
  peak = jnp.where(silent, jnp.maximum(loudest, 1.0), peak)
  estimate, reference = estimate / peak, reference / peak
  energy = dsp.energy(reference)
  level = jax.lax.stop_gradient(jnp.maximum(energy, 1.0))
  noise = dsp.energy(estimate - reference)
  ratio = _levels.ratio_db(energy / level, noise / level)
  ratio = jnp.maximum(ratio, _levels.FLOOR_DB)
  at_floor = silent[..., 0] & jnp.isfinite(ratio)
  return jnp.where(at_floor, _levels.FLOOR_DB, ratio)


def si_sdr(
  estimate: Float[Array, "*batch time"], reference: Float[Array, "*batch time"]
) -> Float[Array, "*batch"]:
  """Scale-invariant signal-to-distortion ratio.

  The reference is rescaled to the least-squares fit of the estimate, so a gain
  on the estimate changes nothing. Signals are not mean-centred.

  Args:
    estimate: Separated signal, shape `[..., T]`.
    reference: Target signal, same shape.

  Returns:
    Ratio in dB, shape `[...]`; higher is better. Independent of the level of
    either signal, and finite: never below -150 dB, which a silent estimate or
    reference scores, and at most 150 dB, on an exact estimate. NaN where a
    signal holds NaN or infinity.

  Raises:
    ValueError: If the two shapes differ.

  References:
    Le Roux et al., SDR - half-baked or well done?, 2019, eq. (4).

  Example:
    >>> print(si_sdr(jnp.array([2.0, 0.2]), jnp.array([1.0, 0.0])).round(2))
    20.0
  """
  estimate, reference = dsp.paired(estimate, reference)
  estimate = _levels.unit_energy(estimate)
  reference = _levels.unit_energy(reference)
  target = dsp.projection(estimate, reference, eps=_levels.FLOOR)
  return _levels.ratio_db(dsp.energy(target), dsp.energy(estimate - target))


def si_snr(
  estimate: Float[Array, "*batch time"],
  reference: Float[Array, "*batch time"],
  *,
  length: Int[Array, "..."] | None = None,
) -> Float[Array, "*batch"]:
  """Scale-invariant signal-to-noise ratio of zero-mean signals.

  `si_sdr` after the mean of each signal is removed, as the separation papers
  since TasNet report it.

  Args:
    estimate: Separated signal, shape `[..., T]`.
    reference: Target signal, same shape.
    length: Valid samples, of a shape that broadcasts to `[...]`, of signals
      that are zero past them; None takes all T. The other ratios need none.

  Returns:
    Ratio in dB, shape `[...]`; higher is better. Independent of the level of
    either signal, and finite: never below -150 dB, which a silent or constant
    estimate or reference scores, and at most 150 dB, on an exact estimate. NaN
    where a signal holds NaN or infinity.

  Raises:
    ValueError: If the two shapes differ.

  References:
    Luo and Mesgarani, TasNet, 2018, eq. (13)-(15).

  Example:
    >>> reference = jnp.array([1.0, -1.0, 0.0])
    >>> print(bool(si_snr(reference + 0.5, reference) > 70.0))
    True
  """
  estimate, reference = dsp.paired(estimate, reference)
  return si_sdr(
    _without_mean(estimate, length), _without_mean(reference, length)
  )


def _without_mean(signal, length):
  """The signal without its mean, at a level of its own."""
  signal = dsp.centered(_levels.unit_peak(signal), length)
  constant = _levels.level_of_peak(signal) <= _CONSTANT
  return jnp.where(constant, 0.0, signal)
