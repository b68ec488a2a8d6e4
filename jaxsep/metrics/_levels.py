"""Ratios that do not depend on the level of a recording."""

import jax
import jax.numpy as jnp

from jaxsep import dsp

# Of signals of unit energy: ratios end at -150 and 150 dB, far from what
# float32 resolves and far enough from its ends.
FLOOR = 1e-15
FLOOR_DB = -150.0

# A peak that counts as silence: below it, gradients overflow float32.
_SILENCE = 1e-25


def unit_peak(signal):
  """The signal at peak 1; silence stays silence; all NaN if not finite."""
  peak = level_of_peak(signal)
  silent = peak == 0
  return jnp.where(silent, 0.0, signal / jnp.where(silent, 1.0, peak))


def unit_energy(signal):
  """The signal at energy 1; silence stays silence; all NaN if not finite.

  The level is a constant to gradients: what follows must not depend on it.
  """
  # By the peak first: the squares of a faint signal would underflow.
  signal = unit_peak(signal)
  energy = jax.lax.stop_gradient(dsp.energy(signal))[..., None]
  return signal / jnp.sqrt(jnp.where(energy > 0, energy, 1.0))


def level_of_peak(signal):
  """The peak `[..., 1]`, a constant to gradients; 0 where it counts as silence.

  NaN where the signal is not finite. Every comparison with NaN is false:
  callers must not take it for silence.
  """
  signal = jax.lax.stop_gradient(signal)
  peak = jnp.max(jnp.abs(signal), axis=-1, keepdims=True, initial=0.0)
  peak = jnp.where(peak <= _SILENCE, 0.0, peak)
  # Not from the peak: compiled for a CPU, a maximum may leave NaN out.
  finite = jnp.all(jnp.isfinite(signal), axis=-1, keepdims=True)
  return jnp.where(finite, peak, jnp.nan)


def ratio_db(signal_energy, noise_energy):
  """Ratio in dB of energies at unit level; the floor where both are zero."""
  ratio = dsp.power_ratio_db(signal_energy, noise_energy, eps=FLOOR)
  nothing = (signal_energy <= 0) & (noise_energy <= 0)
  return jnp.where(nothing, FLOOR_DB, ratio)
