"""What is asked of every separator `[B, T] -> [B, S, T]`, whatever is in it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from separators import SMALL, learn, nest, signal, small

from jaxsep.models import ConvTasNet, DPTNet, SpectrogramTasNet, TFGridNet


@functools.cache
def compiled_gradient(model_class, **options):
  """The energy of the first example's estimates with gradients, and all."""
  model, *_ = small(model_class, **options)

  @jax.jit
  def run(variables, mixture, length=None):
    def energy(inputs):
      estimate = model.apply(*inputs, length=length)
      return jnp.sum(estimate[0] ** 2), estimate

    return jax.value_and_grad(energy, has_aux=True)([variables, mixture])

  return run


every_model = pytest.mark.parametrize(
  "model_class", [ConvTasNet, SpectrogramTasNet, DPTNet, TFGridNet]
)


# Reference.

# The sizes of the paper's first version, with one slope before the masks.
FIRST_VERSION = {
  "num_filters": 256,
  "filter_length": 20,
  "bottleneck_channels": 256,
  "num_repeats": 4,
  "skip_channels": 0,
  "use_bias": False,
}


@pytest.mark.parametrize(
  ("model_class", "options", "expected"),
  [
    (ConvTasNet, {}, 5_050_545),
    (ConvTasNet, FIRST_VERSION, 8_710_721),
    (SpectrogramTasNet, {}, 4_885_557),
    (SpectrogramTasNet, {"n_fft": 512}, 4_935_221),
    # PyTorch has a second bias of 512 in the 24 directions of the LSTMs.
    (DPTNet, {}, 2_834_945 - 24 * 512),
  ],
)
def test_number_of_parameters(model_class, options, expected):
  model = nest(model_class, **options)
  inputs = model.example_inputs()
  shapes = jax.eval_shape(model.init, jax.random.key(0), **inputs)
  assert sum(value.size for value in jax.tree.leaves(shapes)) == expected


def test_receptive_field_of_the_paper():
  assert ConvTasNet().receptive_field == 12_256
  assert nest(ConvTasNet, num_repeats=4).receptive_field == 2040 * 8 + 16
  assert SpectrogramTasNet().receptive_field == 1530 * 64 + 256


# Laws.

ONE = {"num_blocks": 1}
LATE, REFLECTED = {"conv_padding": "late"}, {"conv_padding": "reflect"}


@pytest.mark.parametrize(
  ("model_class", "options"),
  [
    (ConvTasNet, {}),
    (ConvTasNet, {"causal": True, "padding": "none"}),
    (ConvTasNet, ONE | {"causal": True, "norm": "global"} | LATE),
    (ConvTasNet, ONE | {"norm": "channel", "padding": "none"} | REFLECTED),
    (ConvTasNet, ONE | {"norm": "cumulative", "remat": True}),
    (SpectrogramTasNet, {}),
    (DPTNet, {}),
    (DPTNet, {"norm": "global", "chunk_padding": "chunk", "padding": "none"}),
    (TFGridNet, {}),
  ],
)
def test_padding_and_other_examples_change_nothing(model_class, options):
  """A padded batch gives what its examples give alone."""
  _, variables, apply = small(model_class, **options)
  mixture = signal(2, 200)
  estimate = apply(variables, mixture, length=jnp.array([113, 17]))
  for row, length in enumerate((113, 17)):
    wanted = apply(variables, mixture[:, :length])[row]
    assert jnp.all(estimate[row, :, length:] == 0)
    atol = 1e-5 * jnp.abs(wanted).max()
    np.testing.assert_allclose(estimate[row, :, :length], wanted, atol=atol)


@every_model
def test_gradient_of_a_padded_example_is_that_of_it_alone(model_class):
  _, variables, _ = small(model_class)
  gradient_of = compiled_gradient(model_class)
  mixture, lengths = signal(2, 200), jnp.array([113, 17])
  _, (slopes, of_batch) = gradient_of(variables, mixture, lengths)
  _, expected = gradient_of(variables, mixture[:1, :113])
  # The gradients are those of the first example's energy.
  assert jnp.all(of_batch[0, 113:] == 0) and jnp.all(of_batch[1] == 0)
  gradient = [slopes, of_batch[:1, :113]]
  for found, wanted in zip(
    jax.tree.leaves(gradient), jax.tree.leaves(expected), strict=True
  ):
    atol = 1e-3 * jnp.abs(wanted).max() + 1e-6
    np.testing.assert_allclose(found, wanted, atol=atol)


@pytest.mark.parametrize(
  ("model_class", "options", "atol"),
  [
    (ConvTasNet, {}, 1e-4),
    (ConvTasNet, {"causal": True}, 1e-4),
    (SpectrogramTasNet, {}, 2e-3),
    (SpectrogramTasNet, {"compression": "power"}, 2e-3),
    (SpectrogramTasNet, {"compression": None}, 2e-3),
    (DPTNet, {}, 1e-4),
    (TFGridNet, {}, 1e-4),
  ],
)
def test_level_changes_nothing_else(model_class, options, atol):
  _, variables, apply = small(model_class, **options)
  mixture = signal(2, 300)
  louder = apply(variables, 8 * mixture)
  expected = 8 * apply(variables, mixture)
  np.testing.assert_allclose(louder, expected, rtol=1e-3, atol=atol)


@pytest.mark.parametrize("model_class", [ConvTasNet, SpectrogramTasNet])
def test_causal_model_ignores_the_future(model_class):
  model, variables, apply = small(model_class, causal=True)
  assert model.is_causal and not small(model_class)[0].is_causal
  window = model.hop_length + model.stream_latency
  mixture = signal(1, 600)
  before = apply(variables, mixture)
  for now in (0, 37, 200, 400):
    changed = mixture.at[:, now + window :].multiply(-100.0)
    after = apply(variables, changed)
    earlier = np.s_[..., : now + 1]
    np.testing.assert_allclose(after[earlier], before[earlier], atol=1e-6)
    # The change is seen right after the latency.
    later = np.s_[..., now + window + 1 :]
    assert not np.allclose(after[later], before[later])


def test_causal_convolutions_with_global_norms_are_not_causal():
  model, variables, apply = small(ConvTasNet, causal=True, norm="global")
  assert not model.is_causal
  mixture = signal(1, 400)
  changed = mixture.at[:, -100:].multiply(10.0)
  difference = apply(variables, changed) - apply(variables, mixture)
  assert jnp.abs(difference[..., :100]).max() > 1e-3


# Edges.


@pytest.mark.parametrize("length", [1, 17])
@pytest.mark.parametrize(
  ("model_class", "options"),
  [
    (ConvTasNet, {}),
    (ConvTasNet, {"causal": True}),
    (SpectrogramTasNet, {}),
    (DPTNet, {}),
    (DPTNet, {"filter_length": 2, "padding": "none"}),
  ],
)
def test_any_length_comes_back_whole(model_class, options, length):
  _, variables, apply = small(model_class, **options)
  estimate = apply(variables, signal(2, length))
  assert estimate.shape == (2, 2, length)
  assert jnp.all(jnp.isfinite(estimate))
  # Not even the first and the last sample are lost.
  assert jnp.all(jnp.abs(estimate).max(axis=(0, 1)) > 0)


@pytest.mark.parametrize(
  ("model_class", "options"),
  [
    (ConvTasNet, {}),
    (ConvTasNet, {"causal": True, "padding": "none"}),
    (SpectrogramTasNet, {}),
    (SpectrogramTasNet, {"compression": "power"}),
    (DPTNet, {}),
  ],
)
def test_silent_and_loud_mixtures_are_finite(model_class, options):
  _, variables, _ = small(model_class, **options)
  gradient_of = compiled_gradient(model_class, **options)
  for level in (0.0, 1e-6, 1e4):
    mixture = (level * signal(1, 113)).at[:, :60].set(0.0)
    (value, _), gradient = gradient_of(variables, mixture)
    assert jnp.isfinite(value) and (level or value == 0)
    assert all(jnp.all(jnp.isfinite(g)) for g in jax.tree.leaves(gradient))


# Transforms.


@pytest.mark.parametrize(
  ("model_class", "options", "most"),
  [
    (ConvTasNet, {}, 0.02),
    (ConvTasNet, {"causal": True}, 0.02),
    (DPTNet, {}, 0.05),
  ],
)
def test_bfloat16_is_close_to_float32(model_class, options, most):
  _, variables, apply = small(model_class, **options)
  _, half_variables, half = small(model_class, dtype=jnp.bfloat16, **options)
  for value in jax.tree.leaves(half_variables):
    assert value.dtype == jnp.float32
  mixture = signal(2, 300)
  estimate, exact = half(variables, mixture), apply(variables, mixture)
  assert estimate.dtype == jnp.float32
  error = jnp.sqrt(jnp.mean((estimate - exact) ** 2) / jnp.mean(exact**2))
  assert 1e-6 < error < most


@pytest.mark.parametrize("model_class", [ConvTasNet, DPTNet])
def test_gradient_of_a_sharded_batch_equals_that_of_an_unsharded(model_class):
  model, variables, _ = small(model_class, num_blocks=1)
  mixture = signal(8, 60)
  mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
  spread = jax.device_put(mixture, NamedSharding(mesh, PartitionSpec("data")))
  copied = jax.device_put(variables, NamedSharding(mesh, PartitionSpec()))

  @jax.jit
  def run(variables, mixture):
    loss = lambda v: jnp.mean(model.apply(v, mixture) ** 2)  # noqa: E731
    return jax.value_and_grad(loss)(variables)

  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4),
    run(copied, spread),
    run(variables, mixture),
  )


@pytest.mark.parametrize(
  ("model_class", "options"),
  [
    (ConvTasNet, {"num_filters": 32, "num_repeats": 2}),
    (SpectrogramTasNet, {}),
    (DPTNet, {"num_filters": 32, "filter_length": 16}),
  ],
)
def test_learns_one_batch(model_class, options):
  model, variables, _ = small(model_class, **options)
  if model_class is DPTNet:  # Random values are too large for it.
    variables = jax.jit(model.init)(jax.random.key(0), **model.example_inputs())
  pitch, time = jnp.array([[200.0], [1500.0]]), jnp.arange(800) / 8000
  reference = jnp.sin(2 * jnp.pi * pitch * time[None])[None]
  mixture = reference.sum(axis=1)

  def loss(variables):
    return jnp.mean((model.apply(variables, mixture) - reference) ** 2)

  assert learn(loss, variables, steps=150) < 0.01  # from 0.5


# Failures.


@every_model
@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("shape", [(100,), (1, 2, 100), (2, 0)])
def test_refuses_other_shapes(model_class, shape):
  model, variables, _ = small(model_class)
  with pytest.raises(ValueError, match=r"\[batch, time\]"):
    model.apply(variables, jnp.zeros(shape))


@pytest.mark.parametrize(
  ("model_class", "options", "message"),
  [
    (ConvTasNet, {"filter_length": 15}, "filter_length must be even"),
    (ConvTasNet, {"mask_activation": "sine"}, "unknown activation 'sine'"),
    (ConvTasNet, {"encoder_activation": "sine"}, "unknown activation 'sine'"),
    (ConvTasNet, {"kernel_size": 4}, "kernel_size must be odd"),
    (ConvTasNet, {"num_sources": 0}, "num_sources"),
    (ConvTasNet, {"num_blocks": 0}, "num_blocks"),
    (ConvTasNet, {"dtype": jnp.int8}, "dtype"),
    (ConvTasNet, {"skip_channels": -1}, "skip_channels must be at least 0"),
    (ConvTasNet, {"norm": "batch"}, "unknown norm 'batch'"),
    (ConvTasNet, {"input_norm": "batch"}, "unknown norm 'batch'"),
    (ConvTasNet, {"padding": "left"}, "padding is 'both' or 'none'"),
    (ConvTasNet, {"conv_padding": "late"}, "conv_padding is"),
    (
      ConvTasNet,
      {"causal": True, "conv_padding": "reflect"},
      "conv_padding is",
    ),
    (SpectrogramTasNet, {"compression": "cube"}, "unknown compression"),
    (SpectrogramTasNet, {"mask_activation": "tanh"}, "unknown mask_activation"),
    (SpectrogramTasNet, {"hop_length": 65}, "use a shorter hop_length"),
    (DPTNet, {"chunk_length": 15}, "chunk_length must be even"),
    (DPTNet, {"norm": "batch"}, "unknown norm 'batch'"),
    (DPTNet, {"num_heads": 3}, "num_heads must divide the 8 features"),
    (DPTNet, {"dropout": 1.0}, "dropout must be in"),
    (DPTNet, {"hidden_size": 0}, "hidden_size"),
    (DPTNet, {"mask_activation": "sine"}, "unknown activation 'sine'"),
    (DPTNet, {"project_features": False}, r"feature_size \(8\) must be num_fi"),
    (DPTNet, {"chunk_padding": "all"}, "padding is 'hop' or 'chunk'"),
    (DPTNet, {"num_blocks": 0}, "num_blocks"),
  ],
)
def test_refuses_impossible_options(model_class, options, message):
  model = nest(model_class, **SMALL[model_class] | options)
  with pytest.raises(ValueError, match=message):
    jax.eval_shape(model.init, jax.random.key(0), signal(1, 100))
