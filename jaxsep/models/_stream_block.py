"""One TCN block on the next frames of a stream; see `_conv_block.py`."""

import jax.numpy as jnp

from jaxsep.models import _conv_block as block
from jaxsep.models._streaming import FrameStream
from jaxsep.models.norms import feature_sums, statistics_from_sums


def stream_block(params, x, options: block.BlockOptions, stream: FrameStream):
  """As `conv_block`, given what came before.

  Args:
    params: See `conv_block`.
    x: The next frames `[B, N, C]`, in the type to compute in.
    options: What is fixed at trace time.
    stream: What came before, and what will have.

  Returns:
    Both heads next to each other, float32, shape `[B, N, C + skip]`.
  """
  expand, depthwise, heads = (
    params[name] for name in ("expand", "depthwise", "heads")
  )
  statistics = stream.cumulative_statistics
  if options.norm == "channel":
    statistics = _channel_statistics
  hidden = block.linear(x, expand)
  active = block.prelu(hidden, expand["slope"])
  conv = block.normalised_conv(
    hidden, statistics(active), expand, depthwise, options, stream=stream
  )
  active = block.prelu(conv, depthwise["slope"])
  if x.shape[1] >= heads["kernel"].shape[1]:
    return block.normalised_linear(
      active.astype(conv.dtype), statistics(active), depthwise, heads
    )
  # To fold the norm into the kernel costs more than few frames do.
  normalised = block.normalise(active, statistics(active))
  normalised *= block.as_row(depthwise["norm_scale"])
  normalised += block.as_row(depthwise["norm_bias"])
  product = block.matmul(
    normalised.astype(conv.dtype), heads["kernel"], jnp.float32
  )
  return product + block.as_row(heads["bias"])


def _channel_statistics(features):
  return statistics_from_sums(feature_sums(features, "channel"), "channel")
