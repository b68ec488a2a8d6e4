"""Separates a signal as it comes, with carried state."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Protocol

import flax.linen as nn
import jax

from jaxsep.typing import Array, Float, PyTree


class StreamingModel(Protocol):
  """What a module has to have so that `stream` can run it.

  Attributes:
    hop_length: Samples that a chunk must be a multiple of.
    stream_latency: Samples that the estimates are behind the mixture.
    is_causal: Whether the model can do without the future.
  """

  hop_length: int
  stream_latency: int
  is_causal: bool

  def stream_init(self, batch: int) -> PyTree:
    """The state before the first sample.

    Args:
      batch: Mixtures at a time.

    Returns:
      The state, a tree of arrays.
    """
    ...

  def stream_step(
    self, state: PyTree, mixture: Float[Array, "batch time"]
  ) -> tuple[PyTree, Float[Array, "batch sources time"]]:
    """Separates the next samples, any multiple of `hop_length`.

    Args:
      state: What came before.
      mixture: The next samples.

    Returns:
      The state after them, and the estimates delayed by `stream_latency`.
    """
    ...

  def stream_finish(
    self, state: PyTree, rest: Float[Array, "batch rest"] | None = None
  ) -> Float[Array, "batch sources _"]:
    """Ends the stream.

    Args:
      state: What came before.
      rest: What follows of the mixture, less than `hop_length`.

    Returns:
      The last `stream_latency` samples of the estimates, and those of the rest.
    """
    ...


@dataclasses.dataclass(frozen=True)
class Stream:
  """A model as pure functions of chunks and a carried state; see `stream`.

  Attributes:
    init: `init(params, batch) -> state` makes the state before the first
      sample of `batch` mixtures.
    step: `step(params, state, samples [B, n]) -> (state, estimates [B, S, n])`
      separates what comes next. It leaves the state it is given as it is.
    finish: `finish(params, state) -> estimates [B, S, latency]` gives what is
      still owed after the last sample. Samples after the last chunk that do not
      fill a hop, `finish(params, state, rest [B, r])`, give r estimates more.
      It leaves the state as it is.
    hop_length: `n` is a multiple of this.
    latency: Samples that the estimates are behind the mixture.
  """

  init: Callable[[PyTree, int], PyTree]
  step: Callable[[PyTree, PyTree, Any], tuple[PyTree, jax.Array]]
  finish: Callable[..., jax.Array]
  hop_length: int
  latency: int


def stream(model: nn.Module) -> Stream:
  """Functions that separate a signal chunk by chunk, as it comes.

  The estimates are those of the model on the whole mixture at once, delayed by
  `latency` samples: the first `latency` samples are zeros, and `finish` gives
  as many at the end. A chunk may be of any multiple of `hop_length` samples,
  another one each time; each new size is compiled once, when it is first met.
  What is left at the end and fills no hop is for `finish`.
  Before an output sample is out, `latency` samples after it must be in, and
  the rest of their hop.

  `step` and `finish` are compiled and change nothing: a state may be kept, and
  gone back to.

  The state is a plain tree of arrays: it can be saved, and sent to another
  device. NaN, Inf or a sample beyond measure, such as 1e20, spoils its row for
  as long as the convolutions look back, and then is forgotten.

  Models in bfloat16 round chunks and the whole differently: their estimates
  agree to about 2 % of the largest sample.

  Args:
    model: A causal model: `ConvTasNet(causal=True)`, which is one hop late, or
      `SpectrogramTasNet(causal=True)`, which is a window less a hop late.

  Returns:
    The functions `init`, `step` and `finish`, and two numbers.

  Raises:
    ValueError: If the model needs the future, or has no step.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxsep import models
    >>> model = models.ConvTasNet(
    ...     num_filters=8, bottleneck_channels=4, hidden_channels=4,
    ...     skip_channels=4, num_blocks=1, num_repeats=1, causal=True)
    >>> mixture = jnp.sin(0.1 * jnp.arange(800))[None]
    >>> params = model.init(jax.random.key(0), mixture)["params"]
    >>> live = stream(model)
    >>> state, parts = live.init(params, 1), []
    >>> for chunk in jnp.split(mixture, 5, axis=1):
    ...   state, estimates = live.step(params, state, chunk)
    ...   parts.append(estimates)
    >>> parts.append(live.finish(params, state))
    >>> jnp.concatenate(parts, axis=-1)[..., live.latency :].shape
    (1, 2, 800)
  """
  name = type(model).__name__
  streaming: Any = model
  if not hasattr(model, "stream_step"):
    raise ValueError(
      f"{name} cannot stream: it separates whole recordings only; use"
      " inference.separate, or a causal ConvTasNet or SpectrogramTasNet"
    )
  if not streaming.is_causal:
    raise ValueError(
      f"this {name} cannot stream: it needs the future of the mixture; use"
      " inference.separate, or a model trained with causal=True and no global"
      " norm"
    )
  return Stream(
    init=functools.partial(_init, model),
    step=functools.partial(_step, model),
    finish=functools.partial(_finish, model),
    hop_length=streaming.hop_length,
    latency=streaming.stream_latency,
  )


def _init(model, params, batch):
  if batch < 1:
    raise ValueError(f"batch must be at least 1, got {batch}")
  return model.apply({"params": params}, batch, method="stream_init")


@functools.partial(jax.jit, static_argnames="model")
def _step(model, params, state, samples):
  hop = model.hop_length
  if samples.ndim != 2 or not samples.shape[1] or samples.shape[1] % hop:
    raise ValueError(
      f"samples {samples.shape} must be [batch, n], n a positive multiple of"
      f" the hop of {hop} samples"
    )
  return model.apply({"params": params}, state, samples, method="stream_step")


@functools.partial(jax.jit, static_argnames="model")
def _finish(model, params, state, rest=None):
  hop = model.hop_length
  if rest is not None and (rest.ndim != 2 or rest.shape[1] >= hop):
    raise ValueError(
      f"rest {rest.shape} must be [batch, n], n less than the hop of {hop}"
      " samples; whole hops are for step"
    )
  return model.apply({"params": params}, state, rest, method="stream_finish")
