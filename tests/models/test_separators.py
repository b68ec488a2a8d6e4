"""What is asked of every separator `[B, T] -> [B, S, T]`, whatever is in it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from separators import SMALL, learn, nest, signal, small

from jaxsep.models import ConvTasNet, DPTNet, SpectrogramTasNet

every_model = pytest.mark.parametrize(
  "model_class", [ConvTasNet, SpectrogramTasNet, DPTNet]
)


# Reference.


@pytest.mark.parametrize(
  ("model_class", "options", "expected"),
  [
    (ConvTasNet, {}, 5_050_545),
    # The sizes of the paper's first version, with one slope before the masks.
    (
      ConvTasNet,
      {
        "num_filters": 256,
        "filter_length": 20,
        "bottleneck_channels": 256,
        "num_repeats": 4,
        "skip_channels": 0,
        "use_bias": False,
      },
      8_710_721,
    ),
    (SpectrogramTasNet, {}, 4_885_557),
    (SpectrogramTasNet, {"n_fft": 512}, 4_935_221),
    # PyTorch has a second bias of 512 in the 24 directions of the LSTMs.
    (DPTNet, {}, 2_834_945 - 24 * 512),
  ],
)
def test_number_of_parameters(model_class, options, expected):
  model = nest(model_class, **options)
  shapes = jax.eval_shape(
    model.init, jax.random.key(0), **model.example_inputs()
  )
  assert sum(value.size for value in jax.tree.leaves(shapes)) == expected


def test_receptive_field_of_the_paper():
  assert ConvTasNet().receptive_field == 12_256
  assert nest(ConvTasNet, num_repeats=4).receptive_field == 2040 * 8 + 16
  assert SpectrogramTasNet().receptive_field == 1530 * 64 + 256


# Laws.


@pytest.mark.parametrize(
  ("model_class", "options"),
  [
    (ConvTasNet, {}),
    (ConvTasNet, {"causal": True, "padding": "none"}),
    (ConvTasNet, {"causal": True, "norm": "global", "conv_padding": "late"}),
    (
      ConvTasNet,
      {"norm": "channel", "conv_padding": "reflect", "padding": "none"},
    ),
    (ConvTasNet, {"norm": "cumulative", "remat": True}),
    (SpectrogramTasNet, {}),
    (SpectrogramTasNet, {"causal": True}),
    (DPTNet, {}),
    (DPTNet, {"norm": "global", "chunk_padding": "chunk", "padding": "none"}),
    (DPTNet, {"norm": "channel", "remat": True, "inter_bidirectional": False}),
  ],
)
def test_padding_and_other_examples_change_nothing(model_class, options):
  """A padded batch gives what its examples give alone, and their gradients."""
  model, variables, _ = small(model_class, **options)
  mixture, lengths = signal(2, 200), [113, 17]

  @jax.jit
  def run(variables, mixture, length=None):
    def total(variables):
      estimate = model.apply(variables, mixture, length=length)
      return jnp.sum(estimate**2), estimate

    return jax.grad(total, has_aux=True)(variables)

  gradient, estimate = run(variables, mixture, jnp.array(lengths))
  gradients = []
  for index, length in enumerate(lengths):
    one, alone = run(variables, mixture[index : index + 1, :length])
    gradients.append(one)
    assert jnp.all(estimate[index, :, length:] == 0)
    atol = 1e-5 * jnp.abs(alone).max()
    np.testing.assert_allclose(estimate[index, :, :length], alone[0], atol=atol)
  for values in zip(*map(jax.tree.leaves, [gradient, *gradients]), strict=True):
    expected = sum(values[1:])
    np.testing.assert_allclose(
      values[0], expected, atol=1e-3 * jnp.abs(expected).max() + 1e-6
    )


@pytest.mark.parametrize(
  ("model_class", "options", "atol"),
  [
    (ConvTasNet, {}, 1e-4),
    (ConvTasNet, {"causal": True}, 1e-4),
    (SpectrogramTasNet, {}, 2e-3),
    (SpectrogramTasNet, {"compression": "power"}, 2e-3),
    (SpectrogramTasNet, {"compression": None}, 2e-3),
    (DPTNet, {}, 1e-4),
  ],
)
def test_level_changes_nothing_else(model_class, options, atol):
  _, variables, apply = small(model_class, **options)
  mixture = signal(2, 300)
  np.testing.assert_allclose(
    apply(variables, 8.0 * mixture),
    8.0 * apply(variables, mixture),
    rtol=1e-3,
    atol=atol,
  )


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
    np.testing.assert_allclose(
      after[..., : now + 1], before[..., : now + 1], atol=1e-6
    )
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
    (ConvTasNet, {"causal": True}),
    (SpectrogramTasNet, {}),
    (SpectrogramTasNet, {"compression": "power"}),
    (DPTNet, {}),
    (DPTNet, {"norm": "global"}),
  ],
)
def test_silent_and_loud_mixtures_are_finite(model_class, options):
  model, variables, _ = small(model_class, **options)

  def total(variables, mixture):
    return jnp.sum(model.apply(variables, mixture) ** 2)

  gradient_of = jax.jit(jax.value_and_grad(total, argnums=(0, 1)))
  for level in (0.0, 1e-6, 1e4):
    mixture = (level * signal(2, 200)).at[:, :100].set(0.0)
    value, gradient = gradient_of(variables, mixture)
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
  model, variables, _ = small(model_class)
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


def test_one_trace_for_one_shape():
  model, variables, _ = small(ConvTasNet)
  traces = []

  @jax.jit
  def apply(variables, mixture):
    traces.append(mixture.shape)
    return model.apply(variables, mixture)

  for length in (64, 64, 65):
    apply(variables, signal(2, length))
  assert traces == [(2, 64), (2, 65)]


@pytest.mark.parametrize(
  ("model_class", "options"),
  [
    (ConvTasNet, {"num_filters": 32, "num_repeats": 2}),
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

  # The references have a power of a half.
  assert learn(loss, variables, steps=150)[1] < 0.01


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
    (ConvTasNet, {"mask_activation": "swish"}, "unknown activation 'swish'"),
    (ConvTasNet, {"encoder_activation": "swish"}, "unknown activation 'swish'"),
    (ConvTasNet, {"kernel_size": 4}, "kernel_size must be odd"),
    (ConvTasNet, {"num_sources": 0}, "num_sources"),
    (ConvTasNet, {"num_blocks": 0}, "num_blocks"),
    (ConvTasNet, {"dtype": jnp.int8}, "dtype"),
    (ConvTasNet, {"skip_channels": -1}, "skip_channels must be at least 0"),
    (ConvTasNet, {"norm": "batch"}, "unknown norm 'batch'"),
    (ConvTasNet, {"input_norm": "batch"}, "unknown norm 'batch'"),
    (ConvTasNet, {"padding": "left"}, "padding is 'both' or 'none'"),
    (ConvTasNet, {"conv_padding": "late"}, "conv_padding is one of"),
    (
      ConvTasNet,
      {"causal": True, "conv_padding": "reflect"},
      "conv_padding is one of",
    ),
    (SpectrogramTasNet, {"compression": "cube"}, "unknown compression"),
    (SpectrogramTasNet, {"mask_activation": "tanh"}, "unknown mask_activation"),
    (SpectrogramTasNet, {"hop_length": 65}, "use a shorter hop_length"),
    (DPTNet, {"chunk_length": 15}, "chunk_length must be even"),
    (DPTNet, {"norm": "batch"}, "unknown norm 'batch'"),
    (DPTNet, {"num_heads": 3}, "num_heads must divide the 8 features"),
    (DPTNet, {"dropout": 1.0}, "dropout must be in"),
    (DPTNet, {"hidden_size": 0}, "hidden_size"),
    (DPTNet, {"mask_activation": "swish"}, "unknown activation 'swish'"),
    (DPTNet, {"project_features": False}, r"feature_size \(8\) must be num_fi"),
    (DPTNet, {"chunk_padding": "all"}, "padding is 'hop' or 'chunk'"),
    (DPTNet, {"num_blocks": 0}, "num_blocks"),
    (DPTNet, {"dtype": jnp.int8}, "dtype"),
  ],
)
def test_refuses_impossible_options(model_class, options, message):
  model = nest(model_class, **SMALL[model_class] | options)
  with pytest.raises(ValueError, match=message):
    jax.eval_shape(model.init, jax.random.key(0), signal(1, 100))
