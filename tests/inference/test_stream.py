"""A mixture in chunks gives the estimates of the whole."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from stream_checks import (
  conv_tasnet,
  in_chunks,
  masker,
  spectrogram_tasnet,
  with_variables,
)

from jaxsep import dsp, inference
from jaxsep.models import _streaming

MODELS = {"conv": conv_tasnet, "spectrogram": spectrogram_tasnet}
HALF = masker(dtype=jnp.bfloat16)
both = pytest.mark.parametrize("name", MODELS)


def signal(*shape):
  return jax.random.normal(jax.random.key(0), shape)


def small(name="conv", **options):
  model, variables, apply = with_variables(MODELS[name](**options))
  return inference.stream(model), variables, apply


def check_equal(name, options, num_hops, num_samples=484, atol=1e-5):
  live, variables, apply = small(name, **options)
  mixture = signal(2, num_samples)
  whole = apply(variables, mixture)
  parts = in_chunks(live, variables, mixture, num_hops)
  np.testing.assert_array_equal(parts[..., : live.latency], 0)
  np.testing.assert_allclose(
    parts[..., live.latency :], whole, atol=atol * jnp.abs(whole).max()
  )


# Reference: the whole at once.


@both
@pytest.mark.parametrize("num_hops", [[1], [7, 5]])
def test_any_chunks_equal_the_whole(name, num_hops):
  check_equal(name, {}, num_hops)


@pytest.mark.parametrize(
  ("name", "options", "num_samples"),
  [
    ("conv", {"num_sources": 3, "filter_length": 4}, 480),
    ("conv", {"network": masker(norm="channel", kernel_size=1)}, 480),
    ("conv", {"network": masker(kernel_size=4, num_repeats=2)}, 480),
    (
      "conv",
      {"padding": "none", "network": masker(skip_channels=0, use_bias=False)},
      483,
    ),
    (
      "conv",
      {"network": masker(conv_padding="late", input_norm="channel")},
      480,
    ),
    (
      "conv",
      {"network": masker(num_blocks=1), "encoder_activation": "relu"},
      480,
    ),
    (
      "spectrogram",
      {
        "num_sources": 3,
        "compression": "power",
        "network": masker(skip_channels=0),
      },
      484,
    ),
    (
      "spectrogram",
      {
        "compression": None,
        "stft": dsp.Stft(n_fft=50, hop_length=16),
        "network": masker(kernel_size=4),
      },
      480,
    ),
    # An odd window ends with its last whole hop: no frame is left to come.
    (
      "spectrogram",
      {"stft": dsp.Stft(n_fft=25, hop_length=13, window="rectangular")},
      390,
    ),
    (
      "spectrogram",
      {
        "stft": dsp.Stft(n_fft=25, hop_length=13),
        "network": masker(mask_activation="softmax"),
      },
      394,
    ),
  ],
)
def test_any_options(name, options, num_samples):
  check_equal(name, options, [15], num_samples)


@pytest.mark.parametrize(
  ("name", "options", "num_samples"),
  [
    # A hop is 8 samples, a filter 16.
    *(("conv", {}, length) for length in (1, 11)),
    *(("conv", {"padding": "none"}, length) for length in (3, 11)),
    # A hop is 16 samples, a window 64.
    *(("spectrogram", {}, length) for length in (1, 15, 80)),
  ],
)
def test_any_length(name, options, num_samples):
  check_equal(name, options, [1], num_samples)


@both
def test_bfloat16(name):
  # Half precision rounds the norm of the whole and of few frames differently.
  check_equal(name, {"network": HALF}, [4], atol=0.02)
  live, variables, _ = small(name, network=HALF)
  contexts = live.init(variables, 1).masker.contexts
  assert {context.dtype for context in contexts} == {jnp.dtype("bfloat16")}


def test_tones_and_digital_silence():
  # Between the tones, bins hold only rounding, which the logarithm enlarges.
  live, variables, apply = small("spectrogram")
  time = np.arange(484) / 8000
  tones = np.sin(2 * np.pi * np.array([[500.0], [1210.0]]) * time)
  tones[:, 200:300] = 0
  mixture = np.float32(np.round(tones * 32767) / 32768)
  parts = in_chunks(live, variables, mixture, [15])
  whole = apply(variables, mixture)
  np.testing.assert_allclose(parts[..., live.latency :], whole, atol=1e-4)


def running(frames, count, mean, power):
  """Statistics up to each frame `[N, C]`, in float64."""
  frames = np.asarray(frames, np.float64)
  counts = count + np.arange(1, len(frames) + 1)
  means = (count * mean + np.cumsum(frames.mean(1))) / counts
  powers = (count * power + np.cumsum((frames**2).mean(1))) / counts
  return means, 1 / np.sqrt(powers - means**2 + 1e-8)


def carried(frames, chunk, count=0, mean=0.0, power=0.0):
  """The same from a stream, chunk by chunk, and the last state."""
  state = _streaming.FrameState.zeros(
    1, num_norms=1, contexts=[(2, 1, 1)], dtype=jnp.float32
  )
  old = jnp.float32([mean, 0, power, 0])
  state = state._replace(
    count=jnp.int32([count]), statistics=state.statistics.at[0, 0].set(old)
  )

  @jax.jit
  def run(state, chunks):
    def step(state, chunk):
      stream = _streaming.FrameStream(state, chunk.shape[1])
      statistics = stream.cumulative_statistics(chunk)
      stream.taps(chunk[..., :1], 2, dilation=1)
      return stream.state(), statistics

    return jax.lax.scan(step, state, chunks)

  chunks = jnp.reshape(frames, (-1, 1, chunk, frames.shape[1]))
  state, statistics = run(state, chunks)
  return [np.ravel(values) for values in statistics], state


@pytest.mark.parametrize("count", [0, 2**25, 2**29])
def test_statistics_of_ten_minutes_and_after_hours(count):
  """At 1 kHz; later ones move by less per frame than float32 resolves."""
  generator = np.random.default_rng(0)
  frames = np.float32(3 + generator.standard_normal((600_000, 4)))
  (mean, scale), state = carried(frames, 20, count, mean=2.0, power=5.0)
  expected_mean, expected_scale = running(frames, count, 2.0, 5.0)
  np.testing.assert_allclose(mean, expected_mean, rtol=1e-6)
  np.testing.assert_allclose(scale, expected_scale, rtol=3e-5)
  np.testing.assert_allclose(
    mean[-1] - 2, expected_mean[-1] - 2, rtol=1e-3, atol=2.4e-7
  )
  assert state.count == count + 600_000


def test_count_ends_before_it_overflows():
  most = _streaming.MOST_FRAMES
  frames = np.ones((100, 2), np.float32)
  _, state = carried(frames, chunk=10, count=most - 35, mean=1.0, power=2.0)
  assert most - 10 <= state.count[0] <= most
  assert jnp.isfinite(state.statistics).all()


# Laws.


def test_latency_is_a_hop_or_a_window_less_a_hop():
  live = inference.stream(conv_tasnet())
  assert (live.latency, live.hop_length) == (8, 8)
  live = inference.stream(spectrogram_tasnet())
  assert (live.latency, live.hop_length) == (64 - 16, 16)


@both
def test_the_rows_of_a_batch_are_independent(name):
  live, variables, _ = small(name)
  mixture = signal(2, 480)
  two = in_chunks(live, variables, mixture, [15])
  other = mixture.at[1].multiply(-100.0)
  alone = in_chunks(live, variables, other, [15])
  np.testing.assert_array_equal(alone[0], two[0])


@both
def test_the_state_has_a_constant_size(name):
  live, variables, _ = small(name)
  state = live.init(variables, 2)
  before = jax.tree.map(lambda x: (x.shape, x.dtype), state)
  assert len(jax.tree.leaves(state)) < 12
  for num_hops in (1, 15):
    chunk = signal(2, num_hops * live.hop_length)
    state, _ = live.step(variables, state, chunk)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), state) == before


# Edges.


def test_silence_at_the_start():
  live, variables, apply = small()
  mixture = signal(2, 480).at[:, :240].set(0.0)
  parts = in_chunks(live, variables, mixture, [15])
  whole = apply(variables, mixture)
  np.testing.assert_allclose(parts[..., live.latency :], whole, atol=1e-4)


@both
def test_silence_throughout(name):
  live, variables, _ = small(name)
  parts = in_chunks(live, variables, jnp.zeros((2, 480)), [15])
  np.testing.assert_array_equal(parts, 0)


@pytest.mark.parametrize(
  ("name", "value", "start"),
  [
    *(
      ("conv", value, start)
      for value in (1e20, 3e38, np.inf, np.nan)
      for start in (0, 240)
    ),
    ("spectrogram", np.nan, 40),
  ],
)
def test_one_huge_sample_is_forgotten(name, value, start):
  live, variables, _ = small(name)
  mixture = signal(2, 800)
  usual = in_chunks(live, variables, mixture, [5])
  spoilt = mixture.at[0, start].set(value)
  parts = in_chunks(live, variables, spoilt, [5])
  # The frames that the convolutions reach back to are past by then.
  end = live.latency + start + MODELS[name]().receptive_field
  assert jnp.isfinite(parts[0, :, end:]).all()
  np.testing.assert_array_equal(parts[1], usual[1])
  if start == 240:
    np.testing.assert_array_equal(parts[..., :start], usual[..., :start])
    rest = np.abs(parts - usual)[..., end:].max()
    assert rest < 0.05 * np.abs(usual).max()


# Transforms.


def test_an_older_state_stays_valid():
  live, variables, _ = small()
  old, _ = live.step(variables, live.init(variables, 1), signal(1, 64))
  first = live.step(variables, old, signal(1, 32))
  live.step(variables, old, 2 * signal(1, 64))
  again = live.step(variables, old, signal(1, 32))
  jax.tree.map(np.testing.assert_array_equal, first, again)


def test_within_a_scan():
  live, variables, apply = small()
  mixture = signal(2, 320)

  @jax.jit
  def run(variables, mixture):
    chunks = jnp.moveaxis(mixture.reshape(2, -1, 32), 1, 0)
    state = live.init(variables, 2)
    state, parts = jax.lax.scan(
      functools.partial(live.step, variables), state, chunks
    )
    return jnp.concatenate([*parts, live.finish(variables, state)], axis=-1)

  np.testing.assert_allclose(
    run(variables, mixture)[..., 8:], apply(variables, mixture), atol=1e-5
  )


def test_one_compilation_per_size(monkeypatch):
  traced = []
  model, variables, _ = with_variables(conv_tasnet(masker(num_blocks=1)))
  step = type(model).stream_step

  def counted(self, state, mixture):
    traced.append(mixture.shape[1])
    return step(self, state, mixture)

  monkeypatch.setattr(type(model), "stream_step", counted)
  for _ in range(2):
    live = inference.stream(model)
    state = live.init(variables, 1)
    for length in (16, 16, 24, 16):
      state, _ = live.step(variables, state, signal(1, length))
  assert traced == [16, 24]


# Failures.


@pytest.mark.parametrize(
  "model",
  [
    conv_tasnet(masker(causal=False)),
    conv_tasnet(masker(norm="global")),
    conv_tasnet(masker(input_norm="global")),
    spectrogram_tasnet(masker(causal=False)),
  ],
)
def test_refuses_a_model_that_needs_the_future(model):
  with pytest.raises(ValueError, match="needs the future") as error:
    inference.stream(model)
  assert "\n" not in str(error.value)


def test_refuses_a_model_without_a_step():
  with pytest.raises(ValueError, match="Dense cannot stream"):
    inference.stream(nn.Dense(1))


@pytest.mark.usefixtures("unchecked")
def test_refuses_chunks_of_another_shape():
  live, variables, _ = small()
  state = live.init(variables, 1)
  for shape, match in [
    ((1, 12), "multiple of the hop of 8"),
    ((1, 0), "multiple of the hop"),
    ((8,), "must be"),
    ((2, 8), "the batch of the state, 1"),
  ]:
    with pytest.raises(ValueError, match=match):
      live.step(variables, state, jnp.zeros(shape))
  for shape in ((1, 8), (5,)):
    with pytest.raises(ValueError, match="n less than the hop of 8"):
      live.finish(variables, state, jnp.zeros(shape))
  with pytest.raises(ValueError, match="batch must be at least 1"):
    live.init(variables, 0)
