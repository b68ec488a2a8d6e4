"""SpectrogramTasNet: fed in chunks equals fed whole, both ends included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from stream_checks import in_chunks, with_params

import jaxsep
from jaxsep import audio, cli, inference
from jaxsep.models import SpectrogramTasNet

SMALL = {
  "n_fft": 64,
  "hop_length": 16,
  "bottleneck_channels": 8,
  "hidden_channels": 16,
  "skip_channels": 8,
  "num_blocks": 2,
  "num_repeats": 1,
  "causal": True,
}


def signal(*shape):
  return jax.random.normal(jax.random.key(0), shape)


def small(**options):
  return with_params(SpectrogramTasNet(**{**SMALL, **options}))


def check_equal(options, num_hops, num_samples=None, atol=1e-5):
  model, params, apply = small(**options)
  live = inference.stream(model)
  num_samples = num_samples or 30 * model.hop_length + 4
  mixture = signal(2, num_samples)
  whole = apply(params, mixture)
  parts = in_chunks(live, params, mixture, num_hops)
  np.testing.assert_array_equal(parts[..., : live.latency], 0)
  np.testing.assert_allclose(
    parts[..., live.latency :], whole, atol=atol * jnp.abs(whole).max()
  )


# Reference: the whole at once.


@pytest.mark.parametrize("num_hops", [[1], [3, 7], [30]])
def test_any_chunks_equal_the_whole(num_hops):
  check_equal({}, num_hops)


# A sample, less than a hop, half a window, a whole number of hops.
@pytest.mark.parametrize("num_samples", [1, 15, 32, 80])
def test_any_length_equals_the_whole(num_samples):
  check_equal({}, [1], num_samples)


@pytest.mark.parametrize(
  ("options", "num_rest"),
  [
    ({"num_sources": 3, "compression": "power", "skip_channels": 0}, 4),
    ({"compression": None, "kernel_size": 4, "n_fft": 50}, 0),
    # An odd window ends with its last whole hop: no frame is left to come.
    ({"n_fft": 25, "hop_length": 13, "window": "rectangular"}, 0),
    ({"n_fft": 25, "hop_length": 13, "mask_activation": "softmax"}, 4),
  ],
)
def test_any_options(options, num_rest):
  hop = options.get("hop_length", 16)
  check_equal(options, [15], num_samples=30 * hop + num_rest)


def test_bfloat16():
  check_equal({"dtype": jnp.bfloat16}, [15], atol=0.02)


def test_tones_and_digital_silence():
  # Between the tones, bins hold rounding alone, which the logarithm enlarges.
  model, params, apply = small()
  time = np.arange(484) / 8000
  tones = np.sin(2 * np.pi * np.array([[500.0], [1210.0]]) * time)
  tones[:, 200:300] = 0
  mixture = np.float32(np.round(tones * 32767) / 32768)
  live = inference.stream(model)
  parts = in_chunks(live, params, mixture, [15])
  whole = apply(params, mixture)
  np.testing.assert_allclose(parts[..., live.latency :], whole, atol=1e-4)


# Laws.


def test_is_a_window_less_a_hop_late():
  assert inference.stream(SpectrogramTasNet(causal=True)).latency == 256 - 64


def test_rows_do_not_meet():
  model, params, _ = small()
  live = inference.stream(model)
  mixture = signal(2, 484)
  both = in_chunks(live, params, mixture, [15])
  other = mixture.at[1].multiply(-100.0)
  alone = in_chunks(live, params, other, [15])
  np.testing.assert_array_equal(alone[0], both[0])


def test_the_state_has_a_constant_size():
  model, params, _ = small()
  live = inference.stream(model)
  state = live.init(params, 2)
  before = jax.tree.map(lambda x: (x.shape, x.dtype), state)
  for length in (16, 240):
    state, _ = live.step(params, state, signal(2, length))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), state) == before


# Edges.


def test_silence_is_finite_and_silent():
  model, params, _ = small()
  live = inference.stream(model)
  parts = in_chunks(live, params, jnp.zeros((2, 484)), [15])
  np.testing.assert_array_equal(parts, 0)


def test_nan_leaves_the_state_with_its_window():
  model, params, _ = small()
  live = inference.stream(model)
  mixture = signal(2, 484).at[0, 40].set(jnp.nan)
  parts = in_chunks(live, params, mixture, [15])
  assert not jnp.isfinite(parts[0]).all()
  end = live.latency + 40 + model.receptive_field
  assert jnp.isfinite(parts[0, :, end:]).all()
  assert jnp.isfinite(parts[1]).all()


# The command.


def test_separates_a_file_as_it_is_read(tmp_path, monkeypatch):
  monkeypatch.setattr(
    inference.RunningGains, "apply", lambda self, mixture, voices: voices
  )
  model, params, apply = small(compression=None)
  jaxsep.save(tmp_path / "model", model, params, sample_rate_hz=8000)
  mixture = 0.1 * np.asarray(signal(1, 1234))
  path = tmp_path / "x.wav"
  with audio.Writer(path, sample_rate_hz=8000, encoding="float") as writer:
    writer.write(mixture)
  words = ["separate", f"--model={tmp_path / 'model'}", "--stream"]
  words += ["--chunk_s=0.1", str(path), f"--output_dir={tmp_path}"]
  assert cli.main(words) == 0
  files = [tmp_path / f"x_{number}.wav" for number in (1, 2)]
  voices = np.concatenate([audio.read(file)[0] for file in files])
  # Of a pipe's end, the command learns too late: as if silence came after it.
  mixture = np.pad(mixture, ((0, 0), (0, model.n_fft)))
  whole = apply(params, mixture)[0, :, :1234]
  np.testing.assert_allclose(voices, whole, atol=1e-4)


# Failures.


def test_refuses_a_model_that_needs_the_future():
  with pytest.raises(ValueError, match="this SpectrogramTasNet cannot stream"):
    inference.stream(SpectrogramTasNet())


def test_refuses_another_batch():
  model, params, _ = small()
  live = inference.stream(model)
  with pytest.raises(ValueError, match="the batch of the state, 1"):
    live.step(params, live.init(params, 1), jnp.zeros((2, 16)))
