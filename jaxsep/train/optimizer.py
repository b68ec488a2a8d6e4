"""Adam or Muon, clipping and schedules."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from jaxsep.train.config import OptimizerConfig


def make_schedule(
  config: OptimizerConfig, *, num_steps: int
) -> Callable[[Any], Any]:
  """Makes the function from a step to its learning rate.

  The `"plateau"` schedule is constant here: what plateaus make of it is a
  factor in the state, since it depends on the evaluations.

  Args:
    config: See `OptimizerConfig`.
    num_steps: Where a decay ends when the config does not say.

  Returns:
    A function of the step, an integer or an int32 array.

  Raises:
    ValueError: If an option is unknown or out of range.

  Example:
    >>> config = OptimizerConfig(learning_rate=1.0, warmup_steps=4)
    >>> [float(make_schedule(config, num_steps=9)(step)) for step in (0, 3, 8)]
    [0.25, 1.0, 1.0]
  """
  _check(config)
  peak, end = config.learning_rate, config.end_learning_rate
  warmup = config.warmup_steps
  decay_steps = num_steps if config.decay_steps is None else config.decay_steps
  span = max(decay_steps - warmup, 1)

  def schedule(step):
    # A quotient of float32 may fall short of the whole number that it is.
    stairs = jnp.asarray(step, jnp.int32) // (config.decay_every or 1)
    step = jnp.asarray(step, jnp.float32)
    done = jnp.clip((step - warmup) / span, 0.0, 1.0)
    if config.schedule == "cosine":
      rate = end + (peak - end) * 0.5 * (1.0 + jnp.cos(jnp.pi * done))
    elif config.schedule == "linear":
      rate = peak + (end - peak) * done
    elif config.schedule == "rsqrt":
      knee = max(warmup, 1)
      rate = peak * jnp.sqrt(knee / jnp.maximum(step + 1.0, knee))
    elif config.schedule == "staircase":
      rate = peak * config.decay_rate ** stairs.astype(jnp.float32)
    else:
      rate = jnp.full_like(step, peak)
    # Step 0 already learns; the first step at the full rate is warmup - 1.
    return rate * jnp.minimum((step + 1.0) / max(warmup, 1), 1.0)

  return schedule


def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
  """Makes the update direction: clipped, scaled, weights decayed.

  The learning rate is not in it; the step applies it, so that a plateau can
  change it without another compilation.

  Args:
    config: See `OptimizerConfig`.

  Returns:
    An optax transformation.

  Raises:
    ValueError: If an option is unknown or out of range.

  References:
    Kingma and Ba, Adam: a method for stochastic optimization, 2015.

    Jordan et al., Muon: an optimizer for hidden layers in neural networks,
    2024; with the update size of Liu et al., Muon is scalable for LLM
    training, 2025, eq. (4).
  """
  _check(config)
  parts = []
  if config.clip_norm is not None:
    parts.append(optax.clip_by_global_norm(config.clip_norm))
  adam = optax.scale_by_adam(b1=config.b1, b2=config.b2, eps=config.eps)
  if config.name == "muon":
    parts.append(optax.partition({"kernel": _muon(), "other": adam}, _kernels))
  else:
    parts.append(adam)
  if config.weight_decay:
    parts.append(optax.add_decayed_weights(config.weight_decay))
  return optax.chain(*parts)


def _muon():
  """Momentum brought near an orthogonal matrix, of the size of Adam's."""

  def scale(updates):
    # Entries of an orthogonal matrix are the larger the smaller it is; these
    # have a root mean square of 0.2 whatever the shape, as Adam's.
    return jax.tree.map(lambda u: 0.2 * max(u.shape) ** 0.5 * u, updates)

  def numbers(updates):
    inputs_by_outputs = optax.contrib.MuonDimensionNumbers(0, 1)
    return jax.tree.map(lambda _: inputs_by_outputs, updates)

  return optax.chain(
    optax.contrib.scale_by_muon(weight_dimension_numbers=numbers),
    optax.stateless(lambda updates, _: scale(updates)),
  )


def _kernels(params):
  """Says of each parameter if it is a matrix, inputs by outputs."""

  def label(x):
    # Depthwise kernels have the form of a matrix without being one.
    is_matrix = x.ndim == 2 and min(x.shape) >= _SMALLEST_KERNEL
    return "kernel" if is_matrix else "other"

  return jax.tree.map(label, params)


#: Rows and columns from which on a parameter counts as a matrix.
_SMALLEST_KERNEL = 8

_OPTIMIZERS = ("adam", "muon")
_SCHEDULES = (
  "constant",
  "cosine",
  "linear",
  "rsqrt",
  "staircase",
  "plateau",
)


def _check(config):
  """Refuses options that cannot be meant."""
  if config.name not in _OPTIMIZERS:
    raise ValueError(
      f"name is {config.name!r}; it is one of {', '.join(_OPTIMIZERS)}"
    )
  if config.schedule not in _SCHEDULES:
    raise ValueError(
      f"schedule is {config.schedule!r}; it is one of {', '.join(_SCHEDULES)}"
    )
  for name in ("learning_rate", "num_microbatches", "plateau_patience"):
    if not getattr(config, name) > 0:
      raise ValueError(f"{name} is {getattr(config, name)}; it is above 0")
  if config.clip_norm is not None and not config.clip_norm > 0:
    raise ValueError(
      f"clip_norm is {config.clip_norm}; it is above 0, or None to not clip"
    )
  if not 0 < config.plateau_factor < 1:
    raise ValueError(
      f"plateau_factor is {config.plateau_factor}; it is between 0 and 1"
    )
  if not 0 < config.decay_rate <= 1:
    raise ValueError(
      f"decay_rate is {config.decay_rate}; it is above 0 and at most 1"
    )
  if config.schedule == "staircase" and not (config.decay_every or 0) > 0:
    raise ValueError(
      f"decay_every is {config.decay_every}; a staircase needs steps above 0"
    )
  for name in ("warmup_steps", "weight_decay", "end_learning_rate"):
    if getattr(config, name) < 0:
      raise ValueError(f"{name} is {getattr(config, name)}; it is at least 0")
  decay_steps = config.decay_steps
  if decay_steps is not None and decay_steps <= config.warmup_steps:
    raise ValueError(
      f"decay_steps is {decay_steps}, but the warm-up alone takes "
      f"{config.warmup_steps} steps"
    )
