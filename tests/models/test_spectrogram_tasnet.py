"""SpectrogramTasNet: masks on spectra, and the way back."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from random_params import random_params

import jaxsep
from jaxsep import audio, cli, inference
from jaxsep.models import SpectrogramTasNet, TemporalConvNet

MASKER = {
  "bottleneck_channels": 8,
  "hidden_channels": 16,
  "skip_channels": 8,
  "num_blocks": 2,
  "num_repeats": 2,
}
SMALL = {"n_fft": 64, "hop_length": 16, **MASKER}


def signal(*shape, seed=0):
  return jax.random.normal(jax.random.key(seed), shape)


@functools.cache
def small(**options):
  """A small model, its parameters, and itself as a compiled function."""
  model = SpectrogramTasNet(**{**SMALL, **options})
  params = random_params(model, signal(1, 200))["params"]
  return model, params, jax.jit(lambda p, x: model.apply({"params": p}, x))


def spectra_of(model, params, mixture):
  apply = functools.partial(model.apply, method="estimate_spectra")
  return jax.jit(apply)({"params": params}, mixture)


def count(params):
  return sum(value.size for value in jax.tree.leaves(params))


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
  model = SpectrogramTasNet(**options)
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
  mixture = signal(3, 250)
  alone = jnp.concatenate([apply(params, row[None]) for row in mixture])
  np.testing.assert_allclose(apply(params, mixture), alone, atol=2e-5)


def test_causal_model_ignores_the_future():
  model, params, apply = small(causal=True)
  mixture = signal(1, 600)
  before = apply(params, mixture)
  for now in (0, 37, 200, 400):
    changed = mixture.at[:, now + model.n_fft :].multiply(-100.0)
    after = apply(params, changed)
    np.testing.assert_allclose(
      after[..., : now + 1], before[..., : now + 1], atol=1e-6
    )
    assert not np.allclose(after[..., now + 65 :], before[..., now + 65 :])


def test_other_model_sees_the_future():
  _, params, apply = small()
  mixture = signal(1, 600)
  difference = apply(params, mixture.at[:, 500:].multiply(10.0)) - apply(
    params, mixture
  )
  assert jnp.abs(difference[..., :100]).max() > 1e-3


@pytest.mark.parametrize("compression", ["log", "power", None])
def test_level_changes_nothing_else(compression):
  _, params, apply = small(compression=compression)
  mixture = signal(2, 600)
  np.testing.assert_allclose(
    apply(params, 8.0 * mixture),
    8.0 * apply(params, mixture),
    rtol=1e-3,
    atol=2e-3,
  )


# Edges.


@pytest.mark.parametrize("length", [1, 16, 63, 129])
def test_any_length_comes_back_whole(length):
  _, params, apply = small()
  estimate = apply(params, signal(2, length))
  assert estimate.shape == (2, 2, length)
  assert jnp.all(jnp.isfinite(estimate))
  # Not even the first and the last sample are lost.
  assert jnp.all(jnp.abs(estimate).max(axis=(0, 1)) > 0)


@pytest.mark.parametrize("compression", ["log", "power"])
def test_silent_and_loud_mixtures_are_finite(compression):
  _, params, apply = small(compression=compression)

  def total(params, mixture):
    return jnp.sum(apply(params, mixture) ** 2)

  gradient_of = jax.jit(jax.value_and_grad(total, argnums=(0, 1)))
  for level in (0.0, 1e-6, 1e4):
    mixture = (level * signal(2, 300)).at[:, :100].set(0.0)
    value, gradient = gradient_of(params, mixture)
    assert jnp.isfinite(value) and (level > 0 or value == 0)
    assert all(jnp.all(jnp.isfinite(g)) for g in jax.tree.leaves(gradient))


# Transforms.


def test_bfloat16_is_close_to_float32():
  _, params, apply = small()
  _, half_params, half_apply = small(dtype=jnp.bfloat16)
  assert all(v.dtype == jnp.float32 for v in jax.tree.leaves(half_params))
  mixture = signal(2, 800)
  estimate, exact = half_apply(params, mixture), apply(params, mixture)
  assert estimate.dtype == jnp.float32
  error = jnp.sqrt(jnp.mean((estimate - exact) ** 2) / jnp.mean(exact**2))
  assert 1e-6 < error < 0.02


def test_sharded_batch_equals_unsharded():
  _, params, apply = small()
  mixture = signal(8, 300)
  mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
  spread = jax.device_put(mixture, NamedSharding(mesh, PartitionSpec("data")))
  copied = jax.device_put(params, NamedSharding(mesh, PartitionSpec()))
  np.testing.assert_allclose(
    apply(copied, spread), apply(params, mixture), rtol=1e-4, atol=1e-5
  )


def test_learns_one_batch():
  model, params, _ = small()
  time = jnp.arange(1600) / 8000
  pitch = jnp.array([[500.0], [2000.0]])
  reference = jnp.sin(2 * jnp.pi * pitch * time[None])[None]
  mixture = reference.sum(axis=1)
  target = jnp.abs(model.analyze(reference))
  optimizer = optax.adam(1e-2)

  def loss(params):
    spectra = model.apply(
      {"params": params}, mixture, method="estimate_spectra"
    )
    return jnp.mean((jnp.abs(spectra) - target) ** 2)

  @jax.jit
  def step(params, state):
    value, gradient = jax.value_and_grad(loss)(params)
    update, state = optimizer.update(gradient, state)
    return optax.apply_updates(params, update), state, value

  state = optimizer.init(params)
  for _ in range(100):
    params, state, value = step(params, state)
  assert value < 0.01 * jnp.mean(target**2)
  estimate = model.apply({"params": params}, mixture)
  assert jnp.mean((estimate - reference) ** 2) < 0.01


def test_is_saved_and_separates_recordings(tmp_path):
  model, params, apply = small(compression=None, hop_length=32)
  jaxsep.save(tmp_path / "model", model, params, sample_rate_hz=8000)
  loaded = jaxsep.load(tmp_path / "model")
  assert loaded.model == model
  recording = 0.1 * np.asarray(signal(5123))
  mixture = recording[None, :500]
  np.testing.assert_array_equal(
    jax.jit(loaded.model.apply)({"params": loaded.params}, mixture),
    apply(params, mixture),
  )
  voices = inference.separate(
    loaded.model, loaded.params, recording, chunk_length=2000
  )
  assert voices.shape == (2, 5123) and np.isfinite(voices).all()
  assert np.abs(voices).max() > 0.01
  # The same by the command, which reads and writes files.
  path = tmp_path / "meeting.wav"
  with audio.Writer(path, sample_rate_hz=8000, encoding="float") as writer:
    writer.write(recording[None])
  folder = tmp_path / "out"
  words = ["separate", f"--model={tmp_path / 'model'}", "--chunk_s=0.25"]
  assert cli.main([*words, str(path), f"--output_dir={folder}"]) == 0
  for index, voice in enumerate(voices):
    written, rate = audio.read(folder / f"meeting_{index + 1}.wav")
    assert rate == 8000
    np.testing.assert_allclose(written[0], voice, atol=1e-5)


# Failures.


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("shape", [(100,), (1, 2, 100), (2, 0)])
def test_refuses_other_shapes(shape):
  _, params, _ = small()
  with pytest.raises(ValueError, match=r"\[batch, time\]"):
    SpectrogramTasNet(**SMALL).apply({"params": params}, jnp.zeros(shape))


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"compression": "cube"}, "compression must be one of"),
    ({"mask_activation": "tanh"}, "mask_activation must be one of"),
    ({"hop_length": 65}, "use a shorter hop_length"),
    ({"window": "box"}, "window 'box' must be one of"),
    ({"kernel_size": 4}, "kernel_size must be odd"),
    ({"num_sources": 0}, "num_sources"),
  ],
)
def test_refuses_impossible_options(options, message):
  model = SpectrogramTasNet(**{**SMALL, **options})
  with pytest.raises(ValueError, match=message):
    jax.eval_shape(model.init, jax.random.key(0), signal(1, 100))
