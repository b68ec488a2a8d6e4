import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_params import random_params
from separator_checks import (
  OTHER_SHAPES,
  check_bfloat16,
  check_examples_do_not_meet,
  check_finite_at_all_levels,
  check_learns_two_tones,
  check_length_comes_back,
  check_level_changes_nothing_else,
  check_padding_changes_nothing,
  check_refuses_options,
  check_refuses_shape,
  check_sees_the_future,
  check_sharded,
  count,
  nest,
  signal,
)

from jaxsep.models import ConvTasNet

SMALL = {
  "num_filters": 16,
  "bottleneck_channels": 8,
  "hidden_channels": 16,
  "skip_channels": 8,
  "num_blocks": 2,
  "num_repeats": 2,
}


@functools.cache
def small(**options):
  """A small model, its parameters, and itself as a compiled function."""
  model = nest(ConvTasNet, **{**SMALL, **options})
  params = random_params(model, signal(1, 100))["params"]
  return model, params, jax.jit(lambda p, x: model.apply({"params": p}, x))


# Reference: parity with Asteroid and SpeechBrain is tested in conversion.


@pytest.mark.parametrize(
  ("options", "expected"),
  [
    ({}, 5_050_545),
    ({"causal": True}, 5_050_545),
    # Three sources: one more mask of 512 features from 128 skips.
    ({"num_sources": 3}, 5_050_545 + 129 * 512),
    ({"skip_channels": 0}, 3_474_609),
    # The sizes of the paper's first version, with one slope before the masks.
    (
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
  ],
)
def test_number_of_parameters(options, expected):
  shape = jax.ShapeDtypeStruct((1, 100), jnp.float32)
  params = jax.eval_shape(
    nest(ConvTasNet, **options).init, jax.random.key(0), shape
  )
  assert count(params) == expected


def test_receptive_field_of_the_paper():
  model = ConvTasNet()
  assert model.receptive_field == 12_256
  assert model.hop_length == 8
  assert nest(ConvTasNet, num_repeats=4).receptive_field == 2040 * 8 + 16


# Laws.


@pytest.mark.parametrize("causal", [False, True])
def test_examples_of_a_batch_do_not_meet(causal):
  _, params, apply = small(causal=causal)
  check_examples_do_not_meet(apply, params, time=250)


@pytest.mark.parametrize(
  "options",
  [
    {},
    {"causal": True, "padding": "none"},
    {"causal": True, "norm": "global", "conv_padding": "late"},
    {"norm": "channel", "conv_padding": "reflect", "padding": "none"},
    {"norm": "cumulative", "remat": True},
  ],
)
def test_padding_changes_nothing(options):
  model, params, _ = small(**options)
  check_padding_changes_nothing(model, params)


def test_causal_model_ignores_the_future():
  model, params, apply = small(causal=True)
  mixture = signal(1, 400)
  before = apply(params, mixture)
  for now in (0, 37, 200, 383):
    changed = mixture.at[:, now + model.filter_length :].multiply(-1e4)
    after = apply(params, changed)
    np.testing.assert_array_equal(after[..., : now + 1], before[..., : now + 1])
    # The change is seen right after the latency.
    assert now > 380 or not np.allclose(
      after[..., now + 17 :], before[..., now + 17 :]
    )


def test_late_convolutions_do_not_see_now():
  # Beside the frame itself: what is half a kernel away.
  options = {"norm": "channel", "num_blocks": 1, "num_repeats": 1}
  for late in (False, True):
    model, params, _ = small(
      causal=True, conv_padding="late" if late else "zeros", **options
    )
    features = signal(1, 9, 16)

    def frame(features, model=model, params=params):
      masks = model.apply(
        {"params": params}, features, method=lambda self, x: self.masker(x)
      )
      return jnp.sum(masks[0, 0, 6])

    seen = jnp.abs(jax.grad(frame)(features)[0]).max(axis=-1)
    expected = [3, 4, 5] if late else [4, 5, 6]
    assert np.flatnonzero(seen).tolist() == expected


def test_causal_convolutions_with_global_norms_are_not_causal():
  model, params, apply = small(causal=True, norm="global")
  assert not model.is_causal
  check_sees_the_future(apply, params, time=400)


def test_softmax_masks_add_up_to_one():
  model, params, apply = small(num_sources=3, mask_activation="softmax")
  mixture = signal(1, 100)
  unmasked = model.apply(
    {"params": params},
    mixture,
    method=lambda self, x: self.decoder(self.encoder(x), length=x.shape[1]),
  )
  total = apply(params, mixture).sum(axis=1)
  np.testing.assert_allclose(total, unmasked, atol=1e-5)


def test_without_padding_an_end_that_fills_no_hop_is_silent():
  _, params, apply = small(padding="none")
  mixture = signal(1, 107)
  estimate = apply(params, mixture)
  assert estimate.shape == (1, 2, 107)
  assert jnp.all(estimate[..., 104:] == 0)
  np.testing.assert_allclose(
    estimate[..., :104], apply(params, mixture[:, :104]), atol=1e-6
  )


def test_other_model_sees_the_future():
  _, params, apply = small(causal=False)
  check_sees_the_future(apply, params, time=400)


@pytest.mark.parametrize("causal", [False, True])
def test_level_changes_nothing_else(causal):
  _, params, apply = small(causal=causal)
  check_level_changes_nothing_else(apply, params, time=300)


# Edges.


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("length", [1, 8, 17])
def test_any_length_comes_back_whole(length, causal):
  _, params, apply = small(causal=causal)
  estimate = check_length_comes_back(apply, params, length)
  # Not even the first and the last sample are lost.
  assert jnp.all(jnp.abs(estimate).max(axis=(0, 1)) > 0)


@pytest.mark.parametrize("causal", [False, True])
def test_silent_and_loud_mixtures_are_finite(causal):
  _, params, apply = small(causal=causal)
  check_finite_at_all_levels(apply, params, time=300)


def test_one_source():
  _, params, apply = small(num_sources=1)
  assert apply(params, signal(1, 50)).shape == (1, 1, 50)


# Transforms.


@pytest.mark.parametrize("causal", [False, True])
def test_bfloat16_is_close_to_float32(causal):
  half = small(causal=causal, dtype=jnp.bfloat16)
  assert half[0].masker.dtype == jnp.bfloat16
  check_bfloat16(small(causal=causal)[1:], half[1:], time=800, most=0.02)


def test_one_trace_for_one_shape():
  model, params, _ = small()
  traces = []

  @jax.jit
  def apply(params, mixture):
    traces.append(mixture.shape)
    return model.apply({"params": params}, mixture)

  for seed in range(3):
    apply(params, signal(2, 64, seed=seed))
  apply(params, signal(2, 65))
  assert traces == [(2, 64), (2, 65)]


def test_sharded_batch_equals_unsharded():
  _, params, apply = small()
  check_sharded(apply, params, time=200, gradient_atol=1e-5)


def test_learns_one_batch():
  _, params, apply = small(num_filters=32)
  check_learns_two_tones(apply, params, most=0.005)


# Failures.


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("shape", OTHER_SHAPES)
def test_refuses_other_shapes(shape):
  model, params, _ = small()
  check_refuses_shape(model, params, shape)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"filter_length": 15}, "filter_length must be even"),
    ({"mask_activation": "swish"}, "unknown activation 'swish'"),
    ({"encoder_activation": "swish"}, "unknown activation 'swish'"),
    ({"kernel_size": 4}, "kernel_size must be odd"),
    ({"num_sources": 0}, "num_sources"),
    ({"num_blocks": 0}, "num_blocks"),
    ({"dtype": jnp.int8}, "dtype"),
    ({"skip_channels": -1}, "skip_channels must be at least 0"),
    ({"norm": "batch"}, "unknown norm 'batch'"),
    ({"input_norm": "batch"}, "unknown norm 'batch'"),
    ({"padding": "left"}, "padding is 'both' or 'none'"),
    ({"conv_padding": "late"}, "conv_padding is one of"),
    ({"causal": True, "conv_padding": "reflect"}, "conv_padding is one of"),
  ],
)
def test_refuses_impossible_options(options, message):
  check_refuses_options(nest(ConvTasNet, **{**SMALL, **options}), message)
