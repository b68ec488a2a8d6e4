"""The arithmetic of one TCN block, and its gradient written by hand.

The matmuls of a block are few and large; what costs time around them is
reading and writing feature maps of the hidden width. Forward, the second
normalisation is folded into the matmul that follows it. Backward, automatic
differentiation would keep a dozen hidden maps per block and transpose the
large factor of each weight gradient; this one keeps a single map, the output
of the first matmul, and recomputes the rest. Forward-mode differentiation is
not available.

On two shared cores, the gradient of ConvTasNet for 2 x 2 s took 4.4 s and
402 MB this way, 6.2 s and 2,460 MB left to JAX, and 6.1 to 7.8 s and at least
2,356 MB with the policies of `jax.checkpoint`, which XLA undoes on CPUs; see
`experiments/benchmarks/gradients.py`.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from jaxsep.models._streaming import FrameStream
from jaxsep.models.norms import feature_sums, statistics_from_sums, valid_frames


@dataclasses.dataclass(frozen=True)
class BlockOptions:
  """What is fixed when a block is traced; see `TemporalConvNet`.

  With `keep_hidden`, the gradient keeps the output of the first matmul; else it
  is computed again.
  """

  dilation: int
  causal: bool
  keep_hidden: bool
  norm: str
  padding: str = "zeros"


def conv_block(
  params,
  x,
  options: BlockOptions,
  num_frames=None,
  stream: FrameStream | None = None,
):
  """Expand, PReLU, norm, depthwise convolution, PReLU, norm, heads.

  `params` are float32: `expand` and `depthwise`, each with `kernel`, `bias`,
  `slope`, `norm_scale` and `norm_bias`, and `heads` with `kernel` and `bias`.
  The features `x [B, N, C]` have the type to compute in; `num_frames [B]` of
  them are not padding, or they are the next frames of a `stream`. Both heads
  are returned next to each other, float32, `[B, N, C + skip]`.
  """
  if stream is None and options.padding == "zeros":
    return _conv_block(params, x, num_frames, options)
  # Streams are not trained, and other paddings are those of converted models:
  # their gradient is left to JAX.
  return _forward(params, x, num_frames, options, stream)[0]


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _conv_block(params, x, num_frames, options):
  return _forward(params, x, num_frames, options)[0]


def _forward(params, x, num_frames, options, stream=None):
  expand, depthwise = params["expand"], params["depthwise"]
  hidden = _linear(x, expand)
  active = _prelu(hidden, expand["slope"])
  sums, statistics = _statistics(active, options, num_frames, stream)
  conv = _normalised_conv(
    hidden, statistics, expand, depthwise, options, num_frames, stream
  )
  active = _prelu(conv, depthwise["slope"])
  conv_sums, statistics = _statistics(active, options, num_frames, stream)
  if stream is not None and x.shape[1] < params["heads"]["kernel"].shape[1]:
    # To fold the norm into the kernel costs more than few frames do.
    normalised = _normalise(active, statistics, depthwise).astype(conv.dtype)
    product = _matmul(normalised, params["heads"]["kernel"], jnp.float32)
    heads = product + _as_row(params["heads"]["bias"])
  else:
    heads = _normalised_linear(
      active.astype(conv.dtype), statistics, depthwise, params["heads"]
    )
  kept = hidden if options.keep_hidden else None
  return heads, (params, x, num_frames, kept, sums, conv_sums)


def _statistics(active, options, num_frames, stream):
  """The sums of a norm, and the statistics made of them or by a stream."""
  if stream is not None and options.norm == "cumulative":
    return None, stream.cumulative_statistics(active)
  # Mixed from many channels, their mean is not far above their deviation; a
  # shift would cost a pass over each map.
  sums = feature_sums(active, options.norm, num_frames, shifted=False)
  return sums, statistics_from_sums(sums, options.norm)


def _backward(options, residuals, d_heads):
  params, x, num_frames, hidden, sums, conv_sums = residuals
  depthwise, heads = params["depthwise"], params["heads"]
  # A zero that the compiler cannot see through makes what is recomputed depend
  # on the incoming gradient; otherwise XLA on the CPU recognises the forward
  # pass and keeps its results until now. One per example, so that devices need
  # not communicate.
  zero = jnp.minimum(jnp.abs(d_heads[:, :1, :1]), 0.0)
  expand = params["expand"] | {"slope": params["expand"]["slope"] + zero}
  if hidden is None:
    hidden = _linear(x + zero.astype(x.dtype), expand)
  norm = _Norm(sums, options, num_frames)
  conv = _normalised_conv(
    hidden, norm.statistics, expand, depthwise, options, num_frames
  )
  d_conv, d_depthwise, d_heads = _normalised_linear_gradient(
    conv, _Norm(conv_sums, options, num_frames), depthwise, heads, d_heads
  )
  d_hidden, d_expand, d_kernel = _normalised_conv_gradient(
    hidden, norm, expand, depthwise, d_conv
  )
  d_depthwise |= {"kernel": d_kernel, "bias": _sum_examples(d_conv)}
  d_expand |= {
    "kernel": _weight_gradient(x, d_hidden),
    "bias": _sum_examples(d_hidden),
  }
  d_x = _matmul(d_hidden, expand["kernel"].T, x.dtype)
  d_params = {"expand": d_expand, "depthwise": d_depthwise, "heads": d_heads}
  return d_params, d_x, None


_conv_block.defvjp(_forward, _backward)


class _Norm:
  """A norm in the backward pass."""

  def __init__(self, sums, options, num_frames):
    def statistics(total, energy):
      return statistics_from_sums(
        sums._replace(total=total, energy=energy), options.norm
      )

    self.options, self.num_frames, self.shift = options, num_frames, sums.shift
    self.statistics, self._pullback = jax.vjp(
      statistics, sums.total, sums.energy
    )

  def sums(self, d_normalised, active):
    """What the gradients of mean and scale are made of."""
    mean, scale = self.statistics
    axes = (2,) if self.options.norm != "global" else (1, 2)
    d_normalised = d_normalised.astype(jnp.float32)
    total = jnp.sum(d_normalised, axis=axes, keepdims=True)
    # The statistics are applied after the sum: inside, XLA on the CPU would
    # write them out as maps of the hidden width.
    inner = jnp.sum(d_normalised * active, axis=axes, keepdims=True)
    return total, (inner - mean * total) * scale

  def gradient(self, active, d_normalised, d_sums):
    """Gradient of `_standardise`, also through the statistics."""
    _, scale = self.statistics
    d_total, d_energy = self._pullback((-scale * d_sums[0], d_sums[1] / scale))
    d_features = d_total + 2 * d_energy * (active - self.shift)
    if self.num_frames is not None and self.options.norm == "global":
      valid = valid_frames(self.num_frames, active.shape[1])
      d_features = jnp.where(valid, d_features, 0.0)
    return scale * d_normalised + d_features


def _normalised_conv(
  hidden, statistics, expand, depthwise, options, num_frames, stream=None
):
  """Normalised PReLU of the hidden map, convolved along time."""
  normalised = _normalise(_prelu(hidden, expand["slope"]), statistics, expand)
  kernel = depthwise["kernel"]
  # Shifted copies, scaled and added: they fuse into one loop, where a grouped
  # convolution is slow on CPUs and GPUs alike.
  normalised = normalised.astype(hidden.dtype)
  if stream is None:
    taps = _taps(normalised, len(kernel), options, num_frames)
  else:
    taps = stream.taps(normalised, len(kernel), dilation=options.dilation)
  conv = sum(tap * _as_row(row) for tap, row in zip(taps, kernel, strict=True))
  return (conv + _as_row(depthwise["bias"])).astype(hidden.dtype)


def _normalised_conv_gradient(hidden, norm, expand, depthwise, d_conv):
  """Gradients of `_normalised_conv`: the input, `expand` and the kernel."""
  active = _prelu(hidden, expand["slope"])
  normalised = _standardise(active, norm.statistics)
  gain, kernel = expand["norm_scale"], depthwise["kernel"]
  # The convolution run backwards in time.
  taps = _taps(d_conv, len(kernel), norm.options, reverse=True)
  if norm.num_frames is not None:
    valid = valid_frames(norm.num_frames, hidden.shape[1])
    taps = [jnp.where(valid, tap, 0.0) for tap in taps]
  # Sums over frames, by example and channel, of each tap and of each tap
  # times the input; from these follow the kernel and the norm.
  sums = jnp.stack([jnp.sum(tap, axis=1) for tap in taps])
  products = jnp.stack([jnp.sum(tap * normalised, axis=1) for tap in taps])
  bias = expand["norm_bias"][None, None]
  d_kernel = jnp.sum(products * gain[None, None] + sums * bias, axis=1)
  sums = jnp.sum(kernel[:, None] * sums, axis=0)
  products = jnp.sum(kernel[:, None] * products, axis=0)
  d_expand = {
    "norm_scale": jnp.sum(products, axis=0),
    "norm_bias": jnp.sum(sums, axis=0),
  }
  gained = kernel * gain[None]
  d_normalised = sum(
    tap * _as_row(row) for tap, row in zip(taps, gained, strict=True)
  )
  if norm.options.norm != "global":
    d_sums = norm.sums(d_normalised, active)
  else:
    d_sums = (sums @ gain)[:, None, None], (products @ gain)[:, None, None]
  d_active = norm.gradient(active, d_normalised, d_sums)
  d_hidden, d_expand["slope"] = _prelu_gradient(
    hidden, expand["slope"], d_active
  )
  return d_hidden, d_expand, d_kernel


def _normalised_linear(active, statistics, depthwise, heads):
  """Both heads of the normalised map, which is never written out."""
  # With map z, gain g, bias b and kernel W, and scalars per frame:
  # norm(z) W = ((z gW) - mean (g W)) scale + b W.
  mean, scale = statistics
  kernel = depthwise["norm_scale"][:, None] * heads["kernel"]
  offset = depthwise["norm_bias"] @ heads["kernel"] + heads["bias"]
  # The mean is taken off through the kernel as it was rounded.
  kernel = kernel.astype(active.dtype)
  product = _matmul(active, kernel, jnp.float32)
  total = jnp.sum(kernel, axis=0, dtype=jnp.float32)
  product = (product - mean * _as_row(total)) * scale
  return product + _as_row(offset)


def _normalised_linear_gradient(conv, norm, depthwise, heads, d_heads):
  """Gradients through PReLU, norm and heads: `conv`, its norm, the heads."""
  active = _prelu(conv, depthwise["slope"])
  mean, scale = norm.statistics
  gain = depthwise["norm_scale"]
  # Of the normalised map before its gain, transposed, without writing it out.
  scaled = d_heads * scale
  gram = _weight_gradient(scaled.astype(conv.dtype), active.astype(conv.dtype))
  gram -= _sum_examples(scaled * mean)[:, None]
  d_offset = _sum_examples(d_heads)
  d_kernel = (
    gram * gain[None] + d_offset[:, None] * depthwise["norm_bias"][None]
  )
  d_norm = {
    "norm_scale": jnp.sum(gram * heads["kernel"].T, axis=0),
    "norm_bias": heads["kernel"] @ d_offset,
  }
  kernel = gain[:, None] * heads["kernel"]
  d_normalised = _matmul(d_heads.astype(conv.dtype), kernel.T, jnp.float32)
  d_active = norm.gradient(
    active, d_normalised, norm.sums(d_normalised, active)
  )
  d_conv, d_norm["slope"] = _prelu_gradient(conv, depthwise["slope"], d_active)
  return d_conv, d_norm, {"kernel": d_kernel.T, "bias": d_offset}


def _standardise(active, statistics):
  mean, scale = statistics
  return (active - mean) * scale


def _normalise(active, statistics, stage):
  """The whole norm, with its gain and bias."""
  normalised = _standardise(active, statistics) * _as_row(stage["norm_scale"])
  return normalised + _as_row(stage["norm_bias"])


def _prelu(x, slope):
  x = x.astype(jnp.float32)
  return jnp.where(x >= 0, x, slope * x)


def _prelu_gradient(x, slope, d_active):
  """Gradients of the input, in its type, and of the slope."""
  d_x = jnp.where(x >= 0, d_active, slope * d_active)
  return d_x.astype(x.dtype), jnp.sum(jnp.where(x >= 0, 0.0, x * d_active))


def _taps(x, taps, options, num_frames=None, *, reverse=False):
  """The copies of `x` that the taps of a convolution see, or its reverse."""
  context = (taps - 1) * options.dilation
  left = context if options.causal else context // 2
  padding = (context - left, left) if reverse else (left, context - left)
  if options.padding == "late":
    padding = (context + context // 2, 0)
  length = x.shape[1]
  if options.padding == "reflect":
    padded = _reflect(x, padding, num_frames)
  else:
    if num_frames is not None:
      x = jnp.where(valid_frames(num_frames, length), x, 0)
    padded = jnp.pad(x, ((0, 0), padding, (0, 0)))
  starts = [tap * options.dilation for tap in range(taps)]
  return [
    jax.lax.slice_in_dim(padded, start, start + length, axis=1).astype(
      jnp.float32
    )
    for start in (reversed(starts) if reverse else starts)
  ]


def _reflect(x, padding, num_frames):
  """Pads with the frames mirrored at both ends, which are not repeated."""
  if num_frames is None:
    return jnp.pad(x, ((0, 0), padding, (0, 0)), mode="reflect")
  last = jnp.maximum(num_frames - 1, 0)[:, None]
  places = jnp.arange(-padding[0], x.shape[1] + padding[1])[None]
  places = places % jnp.maximum(2 * last, 1)
  places = jnp.minimum(places, 2 * last - places)
  return jnp.take_along_axis(x, places[..., None], axis=1)


def _linear(x, params):
  bias = params["bias"].astype(x.dtype)
  return _matmul(x, params["kernel"], x.dtype) + _as_row(bias)


def _matmul(x, kernel, dtype):
  return jnp.matmul(x, kernel.astype(x.dtype), preferred_element_type=dtype)


def _weight_gradient(small, large):
  """Sum over examples and frames of outer products, float32."""
  # XLA on the CPU transposes the first factor in memory: give it the smaller.
  return jnp.einsum(
    "bnc,bnh->ch", small, large, preferred_element_type=jnp.float32
  )


def _sum_examples(x):
  return jnp.sum(x.astype(jnp.float32), axis=(0, 1))


def _as_row(vector):
  return vector[None, None, :]
