"""The arithmetic of one TCN block, and its gradient written by hand.

The matmuls of a block are few and large; what costs time around them is
reading and writing feature maps of the hidden width. Forward, the second
normalisation is folded into the matmul that follows it. Backward, automatic
differentiation would keep a dozen hidden maps per block and transpose the
large factor of each weight gradient; this one keeps a single map, the output
of the first matmul, and recomputes the rest. Forward-mode differentiation is
not available.

Letters in the comments: `z` is a map after its PReLU, `g` and `b` are the gain
and bias of a norm, `W` is a kernel.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from jaxsep.models.norms import feature_sums, statistics_from_sums


@dataclasses.dataclass(frozen=True)
class BlockOptions:
  """What is fixed when a block is traced.

  Attributes:
    dilation: Frames between two taps of the depthwise convolution.
    causal: Whether frames see only the past.
    keep_hidden: Whether the gradient keeps the output of the first matmul;
      else it is computed again.
    norm: `"global"`, `"cumulative"` or `"channel"`.
    padding: What the convolution sees beyond the ends; see `TemporalConvNet`.
  """

  dilation: int
  causal: bool
  keep_hidden: bool
  norm: str
  padding: str = "zeros"

  @property
  def per_frame(self) -> bool:
    """Whether each frame has statistics of its own."""
    return self.norm != "global"


def conv_block(params, x, options: BlockOptions):
  """Expand, PReLU, norm, depthwise convolution, PReLU, norm, heads.

  Args:
    params: `expand` and `depthwise`, each with `kernel`, `bias`, `slope`,
      `norm_scale` and `norm_bias`, and `heads` with `kernel` and `bias`;
      float32.
    x: Features `[B, N, C]`, in the type to compute in.
    options: What is fixed at trace time.

  Returns:
    Both heads next to each other, float32, shape `[B, N, C + skip]`.
  """
  if options.padding != "zeros":
    # Of converted models alone, so their gradient is left to JAX.
    return _forward(params, x, options)[0]
  return _conv_block(params, x, options)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv_block(params, x, options):
  return _forward(params, x, options)[0]


def _forward(params, x, options):
  expand, depthwise = params["expand"], params["depthwise"]
  hidden = linear(x, expand)
  sums = feature_sums(prelu(hidden, expand["slope"]), causal=options.per_frame)
  statistics = _statistics(hidden, options)(*sums)
  conv = normalised_conv(hidden, statistics, expand, depthwise, options)
  active = prelu(conv, depthwise["slope"])
  conv_sums = feature_sums(active, causal=options.per_frame)
  statistics = _statistics(conv, options)(*conv_sums)
  heads = normalised_linear(
    active.astype(conv.dtype), statistics, depthwise, params["heads"]
  )
  kept = hidden if options.keep_hidden else None
  return heads, (params, x, kept, sums, conv_sums)


def _backward(options, residuals, d_heads):
  params, x, hidden, sums, conv_sums = residuals
  depthwise, heads = params["depthwise"], params["heads"]
  # A zero that the compiler cannot see through. It makes what is recomputed
  # depend on the incoming gradient; otherwise XLA on the CPU recognises the
  # expressions of the forward pass and keeps their results until now. One
  # per example, so that devices need not talk.
  zero = jnp.minimum(jnp.abs(d_heads[:, :1, :1]), 0.0)
  expand = params["expand"] | {"slope": params["expand"]["slope"] + zero}
  if hidden is None:
    hidden = linear(x + zero.astype(x.dtype), expand)
  statistics, pullback = jax.vjp(_statistics(hidden, options), *sums)
  conv = normalised_conv(hidden, statistics, expand, depthwise, options)
  conv_statistics, conv_pullback = jax.vjp(
    _statistics(conv, options), *conv_sums
  )
  d_conv, d_depthwise, d_heads = _normalised_linear_gradient(
    conv, conv_statistics, conv_pullback, depthwise, heads, d_heads, options
  )
  d_hidden, d_expand, d_kernel = _normalised_conv_gradient(
    hidden, statistics, pullback, expand, depthwise, d_conv, options
  )
  d_depthwise |= {"kernel": d_kernel, "bias": _sum_examples(d_conv)}
  d_expand |= {
    "kernel": _weight_gradient(x, d_hidden),
    "bias": _sum_examples(d_hidden),
  }
  d_x = matmul(d_hidden, expand["kernel"].T, x.dtype)
  return {"expand": d_expand, "depthwise": d_depthwise, "heads": d_heads}, d_x


_conv_block.defvjp(_forward, _backward)


def normalised_conv(
  hidden, statistics, expand, depthwise, options, stream=None
):
  """Normalised PReLU of the hidden map, convolved along time."""
  normalised = normalise(prelu(hidden, expand["slope"]), statistics)
  normalised *= as_row(expand["norm_scale"])
  normalised += as_row(expand["norm_bias"])
  kernel = depthwise["kernel"]
  # Shifted copies, scaled and added: they fuse into one loop, where a grouped
  # convolution is slow on CPUs and GPUs alike.
  normalised = normalised.astype(hidden.dtype)
  if stream is None:
    taps = _taps(normalised, len(kernel), options)
  else:
    taps = stream.taps(normalised, len(kernel), dilation=options.dilation)
  conv = sum(tap * as_row(row) for tap, row in zip(taps, kernel, strict=True))
  return (conv + as_row(depthwise["bias"])).astype(hidden.dtype)


def _normalised_conv_gradient(
  hidden, statistics, pullback, expand, depthwise, d_conv, options
):
  """Gradients of `normalised_conv`: the input, `expand` and the kernel."""
  active = prelu(hidden, expand["slope"])
  normalised = normalise(active, statistics)
  gain, kernel = expand["norm_scale"], depthwise["kernel"]
  # The convolution run backwards in time.
  taps = _taps(d_conv, len(kernel), options, reverse=True)
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
    tap * as_row(row) for tap, row in zip(taps, gained, strict=True)
  )
  if options.per_frame:
    d_sums = _sums(d_normalised, active, statistics, options)
  else:
    d_sums = (sums @ gain)[:, None, None], (products @ gain)[:, None, None]
  d_active = _normalise_gradient(
    active, statistics, pullback, d_normalised, d_sums
  )
  d_hidden, d_expand["slope"] = _prelu_gradient(
    hidden, expand["slope"], d_active
  )
  return d_hidden, d_expand, d_kernel


def normalised_linear(active, statistics, depthwise, heads):
  """Both heads of the normalised map, which is never written out."""
  # norm(z) W = ((z gW) - mean (g W)) scale + b W, with scalars per frame.
  mean, scale = statistics
  kernel = depthwise["norm_scale"][:, None] * heads["kernel"]
  offset = depthwise["norm_bias"] @ heads["kernel"] + heads["bias"]
  # The mean is taken off through the kernel as it was rounded.
  kernel = kernel.astype(active.dtype)
  product = matmul(active, kernel, jnp.float32)
  total = jnp.sum(kernel, axis=0, dtype=jnp.float32)
  product = (product - mean * as_row(total)) * scale
  return product + as_row(offset)


def _normalised_linear_gradient(
  conv, statistics, pullback, depthwise, heads, d_heads, options
):
  """Gradients through PReLU, norm and heads: `conv`, its norm, the heads."""
  active = prelu(conv, depthwise["slope"])
  mean, scale = statistics
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
  d_normalised = matmul(d_heads.astype(conv.dtype), kernel.T, jnp.float32)
  d_sums = _sums(d_normalised, active, statistics, options)
  d_active = _normalise_gradient(
    active, statistics, pullback, d_normalised, d_sums
  )
  d_conv, d_norm["slope"] = _prelu_gradient(conv, depthwise["slope"], d_active)
  return d_conv, d_norm, {"kernel": d_kernel.T, "bias": d_offset}


def _statistics(features, options):
  """The function from the sums of `features` to mean and reciprocal scale."""
  _, frames, channels = features.shape
  return functools.partial(
    statistics_from_sums,
    values_per_sum=channels if options.per_frame else frames * channels,
    causal=options.norm == "cumulative",
  )


def normalise(active, statistics):
  mean, scale = statistics
  return (active - mean) * scale


def _sums(d_normalised, active, statistics, options):
  """What the gradients of mean and scale are made of."""
  mean, scale = statistics
  axes = (2,) if options.per_frame else (1, 2)
  d_normalised = d_normalised.astype(jnp.float32)
  total = jnp.sum(d_normalised, axis=axes, keepdims=True)
  # Statistics outside of the sum: inside, XLA on the CPU would write them out
  # as maps of the hidden width.
  inner = jnp.sum(d_normalised * active, axis=axes, keepdims=True)
  return total, (inner - mean * total) * scale


def _normalise_gradient(active, statistics, pullback, d_normalised, d_sums):
  """Gradient of `normalise`, also through the statistics."""
  _, scale = statistics
  d_total, d_energy = pullback((-scale * d_sums[0], d_sums[1] / scale))
  return scale * d_normalised + d_total + 2 * d_energy * active


def prelu(x, slope):
  x = x.astype(jnp.float32)
  return jnp.where(x >= 0, x, slope * x)


def _prelu_gradient(x, slope, d_active):
  """Gradients of the input, in its type, and of the slope."""
  d_x = jnp.where(x >= 0, d_active, slope * d_active)
  return d_x.astype(x.dtype), jnp.sum(jnp.where(x >= 0, 0.0, x * d_active))


def _taps(x, taps, options, *, reverse=False):
  """The copies of `x` that the taps of a convolution see, or its reverse."""
  context = (taps - 1) * options.dilation
  left = context if options.causal else context // 2
  padding = (context - left, left) if reverse else (left, context - left)
  mode = "constant"
  if options.padding == "late":
    padding = (context + context // 2, 0)
  elif options.padding == "reflect":
    mode = "reflect"
  padded = jnp.pad(x, ((0, 0), padding, (0, 0)), mode=mode)
  starts = [tap * options.dilation for tap in range(taps)]
  return [
    jax.lax.slice_in_dim(padded, start, start + x.shape[1], axis=1).astype(
      jnp.float32
    )
    for start in (reversed(starts) if reverse else starts)
  ]


def linear(x, params):
  bias = params["bias"].astype(x.dtype)
  return matmul(x, params["kernel"], x.dtype) + as_row(bias)


def matmul(x, kernel, dtype):
  return jnp.matmul(x, kernel.astype(x.dtype), preferred_element_type=dtype)


def _weight_gradient(small, large):
  """Sum over examples and frames of outer products, float32."""
  # XLA on the CPU transposes the first factor in memory: give it the smaller.
  return jnp.einsum(
    "bnc,bnh->ch", small, large, preferred_element_type=jnp.float32
  )


def _sum_examples(x):
  return jnp.sum(x.astype(jnp.float32), axis=(0, 1))


def as_row(vector):
  return vector[None, None, :]
