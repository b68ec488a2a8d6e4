"""Negated signal-to-distortion ratios, in dB: lower is better."""

import jax.numpy as jnp

from jaxsep.dsp import centered, energy, paired, power_ratio_db, projection
from jaxsep.typing import Array, Float, Int


def neg_si_snr(
  estimate: Float[Array, "*batch time"],
  reference: Float[Array, "*batch time"],
  *,
  length: Int[Array, "*batch"] | None = None,
  eps: float = 1e-8,
  soft_threshold_db: float | int | None = None,
) -> Float[Array, "*batch"]:
  """Negative scale-invariant signal-to-noise ratio.

  The loss of the separation papers: `neg_si_sdr` of the signals without their
  means, so that neither a gain nor an offset of the estimate changes it.

  Args:
    estimate: Separated signal, shape `[..., T]`.
    reference: Target signal, same shape.
    length: Valid samples of both, shape `[...]`; the rest does not count. None
      takes all T. The other ratios need none: zeros do not change them.
    eps: Energy added to both energies before the log; bounds value and gradient
      on silence and on an exact estimate.
    soft_threshold_db: Ratio that is good enough: the loss levels out at its
      negative. None for no limit.

  Returns:
    Loss in dB, shape `[...]`, float32 or better. Not reduced: take the mean
    where you train.

  Raises:
    ValueError: If the two shapes differ.

  References:
    Luo and Mesgarani, Conv-TasNet: surpassing ideal time-frequency magnitude
    masking for speech separation, 2019.

  Example:
    >>> import jax.numpy as jnp
    >>> reference = jnp.array([1.0, -1.0, 0.0])
    >>> estimate = 5.0 + reference + jnp.array([0.1, 0.1, -0.2])
    >>> print(f"{neg_si_snr(estimate, reference):.2f}")
    -15.23
  """
  estimate, reference = paired(estimate, reference)
  return neg_si_sdr(
    centered(estimate, length),
    centered(reference, length),
    eps=eps,
    soft_threshold_db=soft_threshold_db,
  )


def neg_si_sdr(
  estimate: Float[Array, "*batch time"],
  reference: Float[Array, "*batch time"],
  *,
  eps: float = 1e-8,
  soft_threshold_db: float | int | None = None,
) -> Float[Array, "*batch"]:
  """Negative scale-invariant signal-to-distortion ratio.

  The reference is rescaled to the least-squares fit of the estimate, so a gain
  on the estimate changes nothing, as long as the energy of its error is far
  above `eps`. Signals are not mean-centred.

  Args:
    estimate: Separated signal, shape `[..., T]`.
    reference: Target signal, same shape.
    eps: See `neg_si_snr`.
    soft_threshold_db: See `neg_si_snr`.

  Returns:
    Loss in dB, shape `[...]`, float32 or better. Not reduced.

  References:
    Le Roux et al., SDR - half-baked or well done?, 2019, eq. (4).

  Example:
    >>> import jax.numpy as jnp
    >>> reference = jnp.array([1.0, 0.0])
    >>> print(f"{neg_si_sdr(jnp.array([3.0, 0.3]), reference):.2f}")
    -20.00
  """
  estimate, reference = paired(estimate, reference)
  target = projection(estimate, reference, eps=eps)
  return _neg_ratio(
    energy(target), energy(estimate - target), eps, soft_threshold_db
  )


def neg_snr(
  estimate: Float[Array, "*batch time"],
  reference: Float[Array, "*batch time"],
  *,
  mixture: Float[Array, "*batch time"] | None = None,
  eps: float = 1e-8,
  soft_threshold_db: float | int | None = None,
) -> Float[Array, "*batch"]:
  """Negative signal-to-noise ratio.

  The noise is all that the estimate differs by from the reference, level
  included: the estimate has to come out as loud as the reference.

  Args:
    estimate: Separated signal, shape `[..., T]`.
    reference: Target signal, same shape.
    mixture: What the estimate was separated from, same shape. It takes the
      place of references that are silent, which is all zeros; then give
      `soft_threshold_db` too, or a silent estimate has -80 dB and more. None
      leaves silent references to `eps`, with losses of up to 80 dB.
    eps: See `neg_si_snr`.
    soft_threshold_db: See `neg_si_snr`.

  Returns:
    Loss in dB, shape `[...]`, float32 or better. Not reduced.

  Raises:
    ValueError: If shapes differ.

  References:
    Wisdom et al., Unsupervised sound separation using mixture invariant
    training, 2020 (the soft threshold); Wisdom et al., What's all the FUSS
    about free universal sound separation data?, 2021 (silent references).

  Example:
    >>> import jax.numpy as jnp
    >>> reference = jnp.array([1.0, 0.0])
    >>> print(f"{neg_snr(jnp.array([1.0, 0.1]), reference):.2f}")
    -20.00
  """
  estimate, reference = paired(estimate, reference)
  signal_power = energy(reference)
  if mixture is not None:
    # The same formula: in place of the reference, the mixture is to be louder
    # than what the estimate gets wrong.
    mixture = jnp.asarray(mixture)
    if mixture.shape != estimate.shape:
      raise ValueError(
        f"mixture {mixture.shape} must have the shape of the estimate"
        f" {estimate.shape}"
      )
    whole = energy(mixture)
    signal_power = jnp.where(signal_power > 0, signal_power, whole)
  return _neg_ratio(
    signal_power, energy(estimate - reference), eps, soft_threshold_db
  )


def neg_sdr(
  estimate: Float[Array, "*batch time"],
  reference: Float[Array, "*batch time"],
  *,
  eps: float = 1e-8,
  soft_threshold_db: float | int | None = None,
) -> Float[Array, "*batch"]:
  """Negative scale-dependent signal-to-distortion ratio.

  The signal is the reference rescaled to the least-squares fit of the estimate
  as in `neg_si_sdr`, the distortion is what the estimate differs by from the
  reference as in `neg_snr`. It differs from `neg_snr` by the gain of the
  estimate in dB: too soft an estimate costs more, down to silence.

  Args:
    estimate: Separated signal, shape `[..., T]`.
    reference: Target signal, same shape.
    eps: See `neg_si_snr`.
    soft_threshold_db: See `neg_si_snr`.

  Returns:
    Loss in dB, shape `[...]`, float32 or better. Not reduced.

  References:
    Le Roux et al., SDR - half-baked or well done?, 2019 (SD-SDR).

  Example:
    >>> import jax.numpy as jnp
    >>> reference = jnp.array([1.0, 0.0])
    >>> print(f"{neg_sdr(jnp.array([0.5, 0.0]), reference):.2f}")
    -0.00
  """
  estimate, reference = paired(estimate, reference)
  target = projection(estimate, reference, eps=eps)
  return _neg_ratio(
    energy(target), energy(estimate - reference), eps, soft_threshold_db
  )


def _neg_ratio(signal_power, noise_power, eps, soft_threshold_db):
  """Minus the ratio in dB, levelling out at the threshold if there is one."""
  if soft_threshold_db is not None:
    share = 10.0 ** (-soft_threshold_db / 10.0)
    noise_power = noise_power + share * signal_power
  return -power_ratio_db(signal_power, noise_power, eps=eps)
