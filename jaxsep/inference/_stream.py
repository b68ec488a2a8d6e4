"""Separates a signal as it comes, with carried state."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxsep.inference._even_level import MODEL_LEVEL
from jaxsep.inference._gains import RunningGains
from jaxsep.inference._live_order import LiveOrder
from jaxsep.inference._separate import checked, finite
from jaxsep.typing import Array, Float, PyTree

# An input is silence up to this RMS.
_SILENCE = 1e-4
_SHORT_CHUNK = 160
# The past counts half after this time in the level of the estimates.
_HALF_LIFE_S = 20.0


@dataclasses.dataclass(frozen=True)
class Stream:
  """A model as pure functions of chunks and a carried state; see `stream`.

  Attributes:
    init: `init(variables, batch, **conditions) -> state` makes the state
      before the first sample of `batch` mixtures. Conditions, such as
      `enrollment`, have the shape `[batch, ...]`, or `[1, ...]` for all.
    step: `step(variables, state, samples [B, n])` separates the next samples;
      it returns the new state and the estimates `[B, S, n]`. The old state
      stays valid.
    finish: `finish(variables, state, rest=None)` gives the estimates that are
      still missing after the last sample, `[B, S, latency + r]`. `rest [B, r]`
      holds the last samples, if they do not fill a hop.
    hop_length: `n` is a multiple of this.
    latency: Samples that the estimates are behind the mixture.
  """

  init: Callable[..., PyTree]
  step: Callable[[PyTree, PyTree, Any], tuple[PyTree, jax.Array]]
  finish: Callable[..., jax.Array]
  hop_length: int
  latency: int


def stream(model: nn.Module) -> Stream:
  """Functions that separate a signal chunk by chunk, as it comes.

  The estimates are those of the model on the whole mixture, delayed by
  `latency` samples: the first `latency` samples are zeros, and `finish` gives
  as many at the end. A chunk has any multiple of `hop_length` samples; each
  new size is compiled once. An output sample needs `latency` samples after it,
  and the rest of their hop.

  `step` and `finish` are compiled and pure. The state is a plain tree of
  arrays: it can be kept, saved, and sent to another device. NaN, Inf or a huge
  sample, such as 1e20, spoils its row for as long as the convolutions look
  back; a huge one also stays in running statistics, with a falling weight.

  bfloat16 models agree with the whole to about 2 % of the largest sample.

  Args:
    model: A `ConvTasNet` (latency: a hop) or a `SpectrogramTasNet` (latency:
      a window less a hop) with `masker=TemporalConvNet(causal=True)`; or any
      module with `hop_length`, `stream_latency`, `is_causal`, and
      `stream_init(batch, **conditions) -> state`, a tree of arrays;
      `stream_step(state, mixture [B, n]) -> (state, estimates [B, S, n])`;
      `stream_finish(state, rest=None) -> estimates [B, S, latency + r]`.

  Returns:
    The functions `init`, `step` and `finish`, `hop_length` and `latency`.

  Raises:
    ValueError: If the model needs the future, or has no step.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxsep import models
    >>> masker = models.TemporalConvNet(
    ...     num_blocks=1, num_repeats=1, causal=True)
    >>> model = models.ConvTasNet(masker=masker)
    >>> mixture = jnp.sin(0.1 * jnp.arange(800))[None]
    >>> variables = jax.jit(model.init)(jax.random.key(0), mixture)
    >>> live = stream(model)
    >>> state, parts = live.init(variables, 1), []
    >>> for chunk in jnp.split(mixture, 5, axis=1):
    ...   state, estimates = live.step(variables, state, chunk)
    ...   parts.append(estimates)
    >>> parts.append(live.finish(variables, state))
    >>> jnp.concatenate(parts, axis=-1)[..., live.latency :].shape
    (1, 2, 800)
  """
  if not (hasattr(model, "stream_step") and getattr(model, "is_causal", False)):
    raise ValueError(
      f"this {type(model).__name__} cannot stream: it needs the future of the"
      " mixture; separate whole recordings with it (inference.separate, or the"
      " command without --stream), or use a ConvTasNet or SpectrogramTasNet"
      " trained with causal=True and no global norm"
    )
  streaming: Any = model
  return Stream(
    init=functools.partial(_init, model),
    step=functools.partial(_step, model),
    finish=functools.partial(_finish, model),
    hop_length=streaming.hop_length,
    latency=streaming.stream_latency,
  )


def stream_blocks(
  model: nn.Module,
  variables: PyTree,
  blocks: Iterable[Float[Array, "_time"]],
  *,
  sample_rate_hz: int,
  chunk_length: int | None = None,
  **conditions: Any,
) -> Iterator[Float[np.ndarray, "sources _time"]]:
  """Separates a recording that comes in blocks, with a causal model.

  The twin of `separate_blocks` for live signals: an estimate is given as soon
  as its chunk and `latency` samples after it have come. The first sound sets
  the gain of a quiet recording for the model, `RunningGains` bring the
  estimates to the level of the mixture, and without conditions `LiveOrder`
  keeps speakers in their outputs. The end is separated as if silence followed.

  Args:
    model: A model that `stream` takes.
    variables: Its variables, `{"params": ...}`.
    blocks: Consecutive parts of one channel at the model's sample rate, each
      of shape `[any]`.
    sample_rate_hz: The model's rate.
    chunk_length: Samples per call of the model, a multiple of its hop; None
      for 160 (20 ms at 8 kHz), rounded up to whole hops. A length is compiled
      once. Longer chunks take less time, and come later.
    conditions: Further arguments of the model, such as `enrollment`: arrays of
      shape `[1, ...]`.

  Yields:
    Consecutive parts of the sources, shape `[S, any]`, without a delay;
    together as long as the blocks.

  Raises:
    ValueError: As in `stream`, if `chunk_length` is no multiple of the hop, or
      if a block is not one channel or holds NaN or Inf.
    FloatingPointError: If the model's output holds NaN or Inf.

  Example:
    >>> from jaxsep import models
    >>> masker = models.TemporalConvNet(
    ...     num_blocks=1, num_repeats=1, causal=True)
    >>> model = models.ConvTasNet(masker=masker)
    >>> variables = jax.jit(model.init)(
    ...     jax.random.key(0), **model.example_inputs())
    >>> blocks = np.sin(0.1 * np.arange(800, dtype=np.float32)).reshape(5, 160)
    >>> parts = list(stream_blocks(
    ...     model, variables, blocks, sample_rate_hz=8000))
    >>> np.concatenate(parts, axis=1).shape
    (2, 800)
  """
  live = stream(model)
  hop = live.hop_length
  chunk_length = chunk_length or -(-_SHORT_CHUNK // hop) * hop
  if chunk_length < 1 or chunk_length % hop:
    raise ValueError(
      f"chunk_length must be a positive multiple of the hop of {hop} samples,"
      f" got {chunk_length}"
    )
  parts = _separated(
    functools.partial(live.step, variables),
    live.init(variables, 1, **conditions),
    _chunks(checked(blocks), chunk_length, live.latency),
    live.latency,
    _HALF_LIFE_S * sample_rate_hz,
  )
  # Conditions, such as an enrollment, say which output is whose.
  return parts if conditions else _in_order(parts, sample_rate_hz)


def _in_order(parts, sample_rate_hz):
  keep: Any = None
  for part in parts:
    keep = keep or LiveOrder(len(part), sample_rate_hz=sample_rate_hz)
    yield keep.apply(part)


def _separated(step, state, chunks, latency, half_life):
  """Sources `[S, any]` at the level of the chunks, as long as the recording."""
  past = np.zeros(latency, np.float32)  # The mixture not separated yet.
  given, gain, levels = -latency, None, None
  for chunk, end in chunks:
    if gain is None:
      gain = _first_gain(chunk)
    scale = np.float32(gain or 1.0)
    state, estimates = step(state, scale * chunk[None])
    estimates = finite(np.asarray(estimates, np.float32)[0]) / scale
    if levels is None:
      levels = RunningGains(len(estimates), half_life=half_life)
    mixture = np.concatenate([past, chunk])
    past = mixture[len(chunk) :]
    sources = levels.apply(mixture[: len(chunk)], estimates)
    skipped = min(max(0, -given), len(chunk))
    kept = len(chunk) if end is None else end - given
    given += len(chunk)
    if kept > skipped:
      yield sources[:, skipped:kept]


def _first_gain(chunk):
  """The gain of a quiet input from its first sound on; None in silence.

  A model separates worse near the floors of its norms. The gain stays, because
  the state depends on it; a power of two adds no rounding.
  """
  sound = chunk[chunk != 0].astype(np.float64)
  level = np.sqrt(np.mean(np.square(sound))) if len(sound) else 0.0
  if not level > _SILENCE:
    return None
  return 2.0 ** max(0, round(math.log2(MODEL_LEVEL / level)))


def _chunks(blocks, length, latency):
  """Chunks of one length, with silence for the latency at the end.

  With each comes the length of the input, which is None until it has ended.
  """
  waiting, count = np.zeros(0, np.float32), 0
  for block in blocks:
    waiting = np.concatenate([waiting, block])
    count += len(block)
    whole = len(waiting) // length * length
    for start in range(0, whole, length):
      yield waiting[start : start + length], None
    waiting = waiting[whole:]
  owed = len(waiting) + latency if count else 0
  padded = np.pad(waiting, (0, -(-owed // length) * length - len(waiting)))
  for start in range(0, len(padded), length):
    yield padded[start : start + length], count


def _init(model, variables, batch, **conditions):
  if batch < 1:
    raise ValueError(f"batch must be at least 1, got {batch}")
  for name, value in conditions.items():
    value = jnp.asarray(value)
    if value.ndim < 1 or len(value) not in (1, batch):
      raise ValueError(
        f"{name} {value.shape} must have the shape [{batch}, ...] or [1, ...]"
      )
    conditions[name] = jnp.broadcast_to(value, (batch, *value.shape[1:]))
  return model.apply(variables, batch, **conditions, method="stream_init")


@functools.partial(jax.jit, static_argnames="model")
def _step(model, variables, state, samples):
  hop = model.hop_length
  if samples.ndim != 2 or not samples.shape[1] or samples.shape[1] % hop:
    raise ValueError(
      f"samples {samples.shape} must be [batch, n], n a positive multiple of"
      f" the hop of {hop} samples"
    )
  return model.apply(variables, state, samples, method="stream_step")


@functools.partial(jax.jit, static_argnames="model")
def _finish(model, variables, state, rest=None):
  hop = model.hop_length
  if rest is not None and (rest.ndim != 2 or rest.shape[1] >= hop):
    raise ValueError(
      f"rest {rest.shape} must be [batch, n], n less than the hop of {hop}"
      " samples; whole hops are for step"
    )
  return model.apply(variables, state, rest, method="stream_finish")
