"""One TCN block on the next frames of a stream; see `_conv_block.py`."""

import jax.numpy as jnp

from jaxsep.models import _conv_block as block
from jaxsep.models._streaming import FrameStream
from jaxsep.models.norms import channel_statistics


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
  statistics = channel_statistics
  if options.norm == "cumulative":
    statistics = stream.cumulative_statistics
  hidden = block._linear(x, expand)
  active = block._prelu(hidden, expand["slope"])
  conv = block._normalised_conv(
    hidden, statistics(active), expand, depthwise, options, stream
  )
  active = block._prelu(conv, depthwise["slope"])
  if x.shape[1] >= heads["kernel"].shape[1]:
    return block._normalised_linear(
      active.astype(conv.dtype), statistics(active), depthwise, heads
    )
  # To fold the norm into the kernel costs more than few frames do.
  normalised = block._normalise(active, statistics(active))
  normalised *= block._row(depthwise["norm_scale"])
  normalised += block._row(depthwise["norm_bias"])
  product = block._matmul(
    normalised.astype(conv.dtype), heads["kernel"], jnp.float32
  )
  return product + block._row(heads["bias"])
