"""SpectrogramTasNet: masks on spectra, and the way back."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from random_params import random_params
from separator_checks import (
  OTHER_SHAPES,
  check_bfloat16,
  check_examples_do_not_meet,
  check_finite_at_all_levels,
  check_length_comes_back,
  check_level_changes_nothing_else,
  check_padding_changes_nothing,
  check_refuses_options,
  check_refuses_shape,
  check_sees_the_future,
  check_sharded,
  count,
  learn,
  nest,
  signal,
)

from jaxsep.models import SpectrogramTasNet, TemporalConvNet

MASKER = {
  "bottleneck_channels": 8,
  "hidden_channels": 16,
  "skip_channels": 8,
  "num_blocks": 2,
  "num_repeats": 2,
}
SMALL = {"n_fft": 64, "hop_length": 16, **MASKER}


@functools.cache
def small(**options):
  """A small model, its parameters, and itself as a compiled function."""
  model = nest(SpectrogramTasNet, **{**SMALL, **options})
  params = random_params(model, signal(1, 200))["params"]
  return model, params, jax.jit(lambda p, x: model.apply({"params": p}, x))


def spectra_of(model, params, mixture):
  apply = functools.partial(model.apply, method="estimate_spectra")
  return jax.jit(apply)({"params": params}, mixture)


# Reference.


@pytest.mark.parametrize(
  ("compression", "mask_activation", "causal"),
  [
    ("log", "sigmoid", False),
    ("power", "relu", False),
    (None, "sigmoid", True),
  ],
)
def test_equals_pytorch(compression, mask_activation, causal):
  # The masks come from the network that has tests of its own.
  model, params, apply = small(
    compression=compression, mask_activation=mask_activation, causal=causal
  )
  mixture = np.array(signal(2, 999))
  window = torch.hann_window(64, dtype=torch.float64)
  options = {"n_fft": 64, "hop_length": 16, "window": window}
  spectrum = torch.stft(
    torch.from_numpy(mixture).double(),
    pad_mode="constant",
    return_complex=True,
    **options,
  )
  magnitude = spectrum.abs()
  features = {
    "log": torch.log(1e-8 + magnitude),
    "power": magnitude**0.3,
    None: magnitude,
  }[compression]
  masker = TemporalConvNet(
    causal=causal, mask_activation=mask_activation, **MASKER
  )
  masks = jax.jit(masker.apply)(
    {"params": params["masker"]},
    features.mT.numpy().astype(np.float32),
  )
  masks = torch.from_numpy(np.array(masks)).mT
  masked = masks * spectrum[:, None]
  np.testing.assert_allclose(
    jnp.abs(spectra_of(model, params, mixture)),
    (masks * magnitude[:, None]).mT,
    atol=2e-4,
  )
  expected = torch.stack(
    [torch.istft(masked[:, i], length=999, **options) for i in range(2)], 1
  )
  error = np.abs(apply(params, mixture) - expected.numpy())
  assert error.max() < 1e-4 * np.abs(expected.numpy()).max()


@pytest.mark.parametrize(
  ("options", "expected"),
  [({}, 4_885_557), ({"n_fft": 512}, 4_935_221), ({"causal": True}, 4_885_557)],
)
def test_number_of_parameters(options, expected):
  shape = jax.ShapeDtypeStruct((1, 300), jnp.float32)
  model = nest(SpectrogramTasNet, **options)
  params = jax.eval_shape(model.init, jax.random.key(0), shape)
  assert count(params) == expected


def test_receptive_field():
  assert SpectrogramTasNet().receptive_field == 1530 * 64 + 256


# Laws.


def test_estimates_have_the_phase_of_the_mixture():
  model, params, _ = small()
  mixture = signal(2, 500)
  spectra = spectra_of(model, params, mixture)
  spectrum = model.analyze(mixture)[:, None]
  ratio = spectra / spectrum
  np.testing.assert_allclose(ratio.imag, 0.0, atol=1e-5)
  assert ratio.real.min() >= 0 and ratio.real.max() <= 1
  assert ratio.real.max() - ratio.real.min() > 0.1


def test_softmax_masks_add_up_to_the_mixture():
  _, params, apply = small(mask_activation="softmax", num_sources=3)
  mixture = signal(2, 501)
  np.testing.assert_allclose(
    apply(params, mixture).sum(axis=1), mixture, atol=1e-4
  )


def test_synthesis_undoes_analysis():
  model, _, _ = small()
  voices = signal(2, 3, 333)
  back = model.synthesize(model.analyze(voices), length=333)
  np.testing.assert_allclose(back, voices, atol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_examples_of_a_batch_do_not_meet(causal):
  _, params, apply = small(causal=causal)
  check_examples_do_not_meet(apply, params, time=250)


@pytest.mark.parametrize("causal", [False, True])
def test_padding_changes_nothing(causal):
  model, params, _ = small(causal=causal)
  check_padding_changes_nothing(model, params)


def test_causal_model_ignores_the_future():
  model, params, apply = small(causal=True)
  mixture = signal(1, 600)
  before = apply(params, mixture)
  for now in (0, 37, 200, 400):
    changed = mixture.at[:, now + model.stft.n_fft :].multiply(-100.0)
    after = apply(params, changed)
    np.testing.assert_allclose(
      after[..., : now + 1], before[..., : now + 1], atol=1e-6
    )
    assert not np.allclose(after[..., now + 65 :], before[..., now + 65 :])


def test_other_model_sees_the_future():
  _, params, apply = small()
  check_sees_the_future(apply, params, time=600)


@pytest.mark.parametrize("compression", ["log", "power", None])
def test_level_changes_nothing_else(compression):
  _, params, apply = small(compression=compression)
  check_level_changes_nothing_else(apply, params, time=600, atol=2e-3)


# Edges.


@pytest.mark.parametrize("length", [1, 16, 63, 129])
def test_any_length_comes_back_whole(length):
  _, params, apply = small()
  estimate = check_length_comes_back(apply, params, length)
  # Not even the first and the last sample are lost.
  assert jnp.all(jnp.abs(estimate).max(axis=(0, 1)) > 0)


@pytest.mark.parametrize("compression", ["log", "power"])
def test_silent_and_loud_mixtures_are_finite(compression):
  _, params, apply = small(compression=compression)
  silent, *_ = check_finite_at_all_levels(apply, params, time=300)
  assert silent == 0


# Transforms.


def test_bfloat16_is_close_to_float32():
  half = small(dtype=jnp.bfloat16)
  check_bfloat16(small()[1:], half[1:], time=800, most=0.02)


def test_sharded_batch_equals_unsharded():
  _, params, apply = small()
  check_sharded(apply, params, time=300)


def test_learns_one_batch():
  model, params, _ = small()
  time = jnp.arange(1600) / 8000
  pitch = jnp.array([[500.0], [2000.0]])
  reference = jnp.sin(2 * jnp.pi * pitch * time[None])[None]
  mixture = reference.sum(axis=1)
  target = jnp.abs(model.analyze(reference))

  def loss(params):
    spectra = model.apply(
      {"params": params}, mixture, method="estimate_spectra"
    )
    return jnp.mean((jnp.abs(spectra) - target) ** 2)

  params, value = learn(loss, params, steps=100)
  assert value < 0.01 * jnp.mean(target**2)
  estimate = model.apply({"params": params}, mixture)
  assert jnp.mean((estimate - reference) ** 2) < 0.01


# Failures.


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("shape", OTHER_SHAPES)
def test_refuses_other_shapes(shape):
  model, params, _ = small()
  check_refuses_shape(model, params, shape)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"compression": "cube"}, "unknown compression"),
    ({"mask_activation": "tanh"}, "unknown mask_activation"),
    ({"hop_length": 65}, "use a shorter hop_length"),
    ({"kernel_size": 4}, "kernel_size must be odd"),
    ({"num_sources": 0}, "num_sources"),
  ],
)
def test_refuses_impossible_options(options, message):
  check_refuses_options(
    nest(SpectrogramTasNet, **{**SMALL, **options}), message
  )
