"""Adam, clipping and schedules."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import optax

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
    step = jnp.asarray(step, jnp.float32)
    done = jnp.clip((step - warmup) / span, 0.0, 1.0)
    if config.schedule == "cosine":
      rate = end + (peak - end) * 0.5 * (1.0 + jnp.cos(jnp.pi * done))
    elif config.schedule == "linear":
      rate = peak + (end - peak) * done
    elif config.schedule == "rsqrt":
      knee = max(warmup, 1)
      rate = peak * jnp.sqrt(knee / jnp.maximum(step + 1.0, knee))
    else:
      rate = jnp.full_like(step, peak)
    # Step 0 already learns; the first step at the full rate is warmup - 1.
    return rate * jnp.minimum((step + 1.0) / max(warmup, 1), 1.0)

  return schedule


def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
  """Makes the update direction: clipped, Adam-scaled, weights decayed.

  The learning rate is not in it; the step applies it, so that a plateau can
  change it without another compilation.

  Args:
    config: See `OptimizerConfig`.

  Returns:
    An optax transformation.

  Raises:
    ValueError: If an option is unknown or out of range.
  """
  _check(config)
  parts = []
  if config.clip_norm is not None:
    parts.append(optax.clip_by_global_norm(config.clip_norm))
  parts.append(optax.scale_by_adam(b1=config.b1, b2=config.b2, eps=config.eps))
  if config.weight_decay:
    parts.append(optax.add_decayed_weights(config.weight_decay))
  return optax.chain(*parts)


_SCHEDULES = ("constant", "cosine", "linear", "rsqrt", "plateau")


def _check(config):
  """Refuses options that cannot be meant."""
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
  for name in ("warmup_steps", "weight_decay", "end_learning_rate"):
    if getattr(config, name) < 0:
      raise ValueError(f"{name} is {getattr(config, name)}; it is at least 0")
  decay_steps = config.decay_steps
  if decay_steps is not None and decay_steps <= config.warmup_steps:
    raise ValueError(
      f"decay_steps is {decay_steps}, but the warm-up alone takes "
      f"{config.warmup_steps} steps"
    )
