import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_params import random_params
from separators import bytes_kept, signal

from jaxsep.models import TemporalConvNet, _conv_block

SMALL = {
  "bottleneck_channels": 4,
  "hidden_channels": 8,
  "skip_channels": 4,
  "num_blocks": 2,
  "num_repeats": 2,
}


def block_params(channels, hidden, heads, taps=3):
  """Parameters of a block, all random, one slope negative."""
  keys = iter(jax.random.split(jax.random.key(1), 20))

  def draw(*shape):
    return jax.random.normal(next(keys), shape)

  def stage(fan_in, slope):
    return {
      "kernel": draw(fan_in, hidden),
      "bias": draw(hidden),
      "slope": jnp.float32(slope),
      "norm_scale": draw(hidden),
      "norm_bias": draw(hidden),
    }

  return {
    "expand": stage(channels, 0.3),
    "depthwise": stage(taps, -0.2),
    "heads": {"kernel": draw(hidden, heads), "bias": draw(heads)},
  }


def plain_block(params, x, *, dilation, causal, kind):
  """The block as the paper writes it, for automatic differentiation."""

  def norm(z, stage):
    z = jnp.where(z >= 0, z, stage["slope"] * z)
    if kind == "cumulative":
      count = z.shape[2] * jnp.arange(1, z.shape[1] + 1)[None, :, None]
      mean = jnp.cumsum(z.sum(2, keepdims=True), axis=1) / count
      power = jnp.cumsum((z**2).sum(2, keepdims=True), axis=1) / count
    else:
      axes = (1, 2) if kind == "global" else (2,)
      mean = z.mean(axes, keepdims=True)
      power = (z**2).mean(axes, keepdims=True)
    z = (z - mean) / jnp.sqrt(power - mean**2 + 1e-8)
    return z * stage["norm_scale"][None, None] + stage["norm_bias"][None, None]

  expand, depthwise, heads = (
    params[name] for name in ("expand", "depthwise", "heads")
  )
  z = norm(x @ expand["kernel"] + expand["bias"][None, None], expand)
  context = (len(depthwise["kernel"]) - 1) * dilation
  left = context if causal else context // 2
  z = jax.lax.conv_general_dilated(
    z,
    depthwise["kernel"][:, None],
    window_strides=(1,),
    padding=[(left, context - left)],
    rhs_dilation=(dilation,),
    dimension_numbers=("NWC", "WIO", "NWC"),
    feature_group_count=z.shape[2],
  )
  z = norm(z + depthwise["bias"][None, None], depthwise)
  return z @ heads["kernel"] + heads["bias"][None, None]


@pytest.mark.parametrize(
  ("dilation", "taps", "keep_hidden"), [(2, 5, True), (32, 3, False)]
)
@pytest.mark.parametrize(
  ("causal", "kind"),
  [(False, "global"), (True, "cumulative"), (True, "channel")],
)
def test_block_and_its_gradient(dilation, taps, causal, kind, keep_hidden):
  params = block_params(6, 10, 14, taps)
  x, weight = signal(3, 17, 6), signal(3, 17, 14)
  options = _conv_block.BlockOptions(dilation, causal, keep_hidden, kind)

  def ours(params, x):
    return jnp.sum(_conv_block.conv_block(params, x, options) * weight)

  def plain(params, x):
    heads = plain_block(params, x, dilation=dilation, causal=causal, kind=kind)
    return jnp.sum(heads * weight)

  value, gradient = jax.jit(jax.value_and_grad(ours, (0, 1)))(params, x)
  expected = jax.jit(jax.value_and_grad(plain, (0, 1)))(params, x)
  np.testing.assert_allclose(value, expected[0], rtol=1e-4)
  for (path, actual), desired in zip(
    jax.tree.leaves_with_path(gradient),
    jax.tree.leaves(expected[1]),
    strict=True,
  ):
    scale = np.abs(desired).max()
    np.testing.assert_allclose(
      actual / scale, desired / scale, atol=2e-5, err_msg=str(path)
    )


@pytest.mark.parametrize(("causal", "num_repeats"), [(False, 2), (True, 1)])
def test_receptive_field_is_what_a_frame_depends_on(causal, num_repeats):
  # Global statistics would reach everywhere.
  sizes = SMALL | {"num_repeats": num_repeats}
  model = TemporalConvNet(**sizes, causal=causal, norm="channel")
  field = model.receptive_field
  assert field == 1 + num_repeats * 2 * 3
  x = signal(1, 3 * field, 5)
  params = random_params(model, x)
  middle = 2 * field
  frame = lambda x: model.apply(params, x)[0, 0, middle].sum()  # noqa: E731
  gradient = jax.jit(jax.grad(frame))(x)
  seen = np.flatnonzero(np.abs(gradient[0]).max(axis=1))
  first = middle - field + 1 if causal else middle - field // 2
  np.testing.assert_array_equal(seen, np.arange(first, first + field))


def test_masks_of_a_spectrogram():
  x, sizes = jnp.abs(signal(2, 20, 33)), SMALL | {"num_repeats": 1}
  params = random_params(TemporalConvNet(**sizes), x, num_sources=3)

  def masks(mask_activation):
    model = TemporalConvNet(**sizes, mask_activation=mask_activation)
    apply = functools.partial(model.apply, num_sources=3)
    return jax.jit(apply)(params, x)

  linear = masks(None)
  assert linear.shape == (2, 3, 20, 33)
  np.testing.assert_allclose(
    masks("sigmoid"), jax.nn.sigmoid(linear), rtol=1e-5
  )
  np.testing.assert_allclose(masks("relu"), jax.nn.relu(linear), rtol=1e-5)


def test_remat_changes_no_gradient():
  sizes, x = SMALL | {"num_repeats": 1}, signal(2, 40, 5)
  params = random_params(TemporalConvNet(**sizes), x)

  def gradient(**options):
    model = TemporalConvNet(**sizes, **options)
    return jax.jit(jax.grad(lambda p: jnp.sum(model.apply(p, x) ** 2)))(params)

  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
    gradient(remat=True),
    gradient(),
  )


@pytest.mark.parametrize(("remat", "most"), [(False, 1.3), (True, 0.3)])
def test_gradient_keeps_one_hidden_map_per_block_or_none(remat, most):
  x = signal(2, 500, 4)

  def maps_kept(num_blocks):
    sizes = SMALL | {"hidden_channels": 64, "num_blocks": num_blocks}
    model = TemporalConvNet(**sizes, remat=remat)
    kept = bytes_kept(lambda p: model.apply(p, x), random_params(model, x))
    return kept / (2 * 500 * 64 * 4)

  # Automatic differentiation keeps about a dozen.
  assert (maps_kept(4) - maps_kept(2)) / 4 < most


def test_a_causal_kernel_may_be_even():
  causal = TemporalConvNet(**SMALL, kernel_size=2, causal=True)
  jax.eval_shape(causal.init, jax.random.key(0), signal(1, 10, 5))
