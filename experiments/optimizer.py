"""Optimizers and schedules by name, from optax's own."""

import dataclasses
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from experiments import options
from jaxsep import train


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
  """An optimizer with clipping and a schedule.

  Attributes:
    name: `"adam"`, `"adamw"`, or `"muon"`, which updates matrices by
      orthogonalised momentum and everything else as Adam does. Muon's updates
      have the size of Adam's, so the same learning rates are a fair start.
    learning_rate: The highest learning rate of the schedule.
    schedule: `"constant"`; `"cosine"` or `"linear"`, which decay to
      `end_learning_rate` at `decay_steps`; `"rsqrt"`, which decays with the
      root of the step; or `"staircase"`, multiplied by `decay_rate` every
      `decay_every` steps from step 0 on, as DPTNet's authors do every two
      epochs.
    warmup_steps: Steps of a linear warm-up, which any schedule may have.
    hold_steps: Steps at the highest rate, after the warm-up, before a decay.
    decay_steps: Where a decay ends; None means at the run's `num_steps`.
    end_learning_rate: Where `"cosine"` and `"linear"` end.
    decay_rate: What a stair multiplies the learning rate by.
    decay_every: Steps of a stair.
    plateau: Smaller updates when evaluations bring no improvement; None never
      scales them.
    clip_norm: Gradients with a larger global L2 norm are scaled down to it;
      None does not clip.
    b1: Decay of Adam's mean.
    b2: Decay of Adam's variance.
    eps: Added to the root of Adam's variance.
    weight_decay: Decoupled weight decay of AdamW and Muon, times the learning
      rate.
  """

  name: Literal["adam", "adamw", "muon"] = "adam"
  learning_rate: float = 1e-3
  schedule: Literal["constant", "cosine", "linear", "rsqrt", "staircase"] = (
    "constant"
  )
  warmup_steps: int = 0
  hold_steps: int = 0
  decay_steps: int | None = None
  end_learning_rate: float = 0.0
  decay_rate: float = 0.98
  decay_every: int | None = None
  plateau: train.Plateau | None = None
  clip_norm: float | None = 5.0
  b1: float = 0.9
  b2: float = 0.999
  eps: float = 1e-8
  weight_decay: float = 0.0

  def __post_init__(self):
    def check(name, is_good, wanted="above 0"):
      if not is_good:
        raise ValueError(f"{name} is {getattr(self, name)}; it is {wanted}")

    most = 0 if self.name == "adam" else math.inf
    stair = self.decay_every if self.schedule == "staircase" else 1
    end = math.inf if self.decay_steps is None else self.decay_steps
    clip = 1 if self.clip_norm is None else self.clip_norm
    decay = self.weight_decay
    adamw = "at least 0, and 0 for adam: choose adamw"
    start = self.warmup_steps + self.hold_steps
    after = f"above warmup_steps + hold_steps, {start}"
    check("learning_rate", self.learning_rate > 0)
    check("decay_rate", 0 < self.decay_rate <= 1, "above 0 and at most 1")
    check("clip_norm", clip > 0)
    check("warmup_steps", self.warmup_steps >= 0, "at least 0")
    check("end_learning_rate", self.end_learning_rate >= 0, "at least 0")
    check("weight_decay", 0 <= decay <= most, adamw)
    check("decay_every", (stair or 0) > 0, "above 0, the steps of a stair")
    check("hold_steps", self.hold_steps >= 0, "at least 0")
    check("decay_steps", end > start, after)

  def decay_end(self, num_steps: int) -> int | None:
    """The step where the learning rate ends to decay, if it does."""
    decays = self.schedule in ("cosine", "linear")
    return (self.decay_steps or num_steps) if decays else None

  def make(
    self, num_steps: int
  ) -> tuple[optax.GradientTransformation, optax.Schedule, Any]:
    """Makes what `train.fit` takes as `optimizer`, `schedule` and `plateau`.

    The learning rate is in the optimizer.

    References:
      Kingma and Ba, Adam: a method for stochastic optimization, 2015.

      Loshchilov and Hutter, Decoupled weight decay regularization, 2019.

      Jordan et al., Muon: an optimizer for hidden layers in neural networks,
      2024; with the update size of Liu et al., Muon is scalable for LLM
      training, 2025, eq. (4).
    """
    schedule = make_schedule(self, num_steps)
    scale = optax.scale_by_adam(b1=self.b1, b2=self.b2, eps=self.eps)
    if self.name == "muon":
      scale = optax.partition({"matrix": _muon(), "other": scale}, _kinds)
    optimizer = optax.chain(
      optax.clip_by_global_norm(self.clip_norm or math.inf),
      scale,
      optax.add_decayed_weights(self.weight_decay),
      optax.scale_by_learning_rate(schedule),
    )
    return optimizer, schedule, self.plateau


options.register(OptimizerConfig, train.Plateau)


def make_schedule(config: OptimizerConfig, num_steps: int) -> optax.Schedule:
  """Makes the function from a step, counted from 0, to its learning rate."""
  peak, warmup = config.learning_rate, config.warmup_steps
  start = warmup + config.hold_steps
  span = max((config.decay_steps or num_steps) - start, 1)
  if config.schedule == "cosine":
    decay = optax.cosine_decay_schedule(
      peak, span, alpha=config.end_learning_rate / peak
    )
  elif config.schedule == "linear":
    decay = optax.linear_schedule(peak, config.end_learning_rate, span)
  else:
    decay = optax.constant_schedule(peak)

  def schedule(step):
    # Step 0 already learns; the first step at the full rate is warmup - 1.
    rate = decay(jnp.maximum(step - start, 0))
    if config.schedule == "staircase":
      # In integers: optax divides floats, which can miss the exact step.
      stairs = jnp.asarray(step, jnp.int32) // int(config.decay_every or 1)
      rate = rate * config.decay_rate ** stairs.astype(jnp.float32)
    elif config.schedule == "rsqrt":
      knee = max(warmup, 1)
      rate = rate * jnp.sqrt(knee / jnp.maximum(step + 1.0, knee))
    return rate * jnp.minimum((step + 1.0) / max(warmup, 1), 1.0)

  return schedule


def _muon():
  """Muon with updates of the size of Adam's, 0.2 in root mean square."""

  def numbers(updates):
    inputs_by_outputs = optax.contrib.MuonDimensionNumbers(-2, -1)
    return jax.tree.map(lambda _: inputs_by_outputs, updates)

  def scaled(updates, _):
    return jax.tree.map(lambda u: 0.2 * max(u.shape[-2:]) ** 0.5 * u, updates)

  return optax.chain(
    optax.contrib.scale_by_muon(weight_dimension_numbers=numbers),
    optax.stateless(scaled),
  )


def _kinds(params):
  """Says of each parameter if Muon takes it: a matrix of at least 8 by 8.

  Stacked layers have a matrix each.
  """

  def kind(path, x):
    # A depthwise kernel, taps by channels, multiplies no vector.
    names = [getattr(key, "key", key) for key in path]
    is_depthwise = "depthwise" in names or names[-2:] == ["conv", "kernel"]
    is_matrix = x.ndim == 2 + ("layers" in names) and not is_depthwise
    return "matrix" if is_matrix and min(x.shape[-2:]) >= 8 else "other"

  return jax.tree_util.tree_map_with_path(kind, params)
