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

MODELS = {"conv": conv_tasnet, "spectrogram": spectrogram_tasnet}
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
def test_any_chunks_equal_the_whole(name):
  check_equal(name, {}, [1, 7])


@pytest.mark.parametrize(
  ("name", "options", "num_samples"),
  [
    (
      "conv",
      dict(
        num_sources=3,
        padding="none",
        network=masker(kernel_size=4, skip_channels=0, use_bias=False),
      ),
      483,
    ),
    (
      "conv",
      dict(
        encoder_activation="relu",
        network=masker(conv_padding="late", input_norm="channel"),
      ),
      480,
    ),
    ("conv", {"network": masker(norm="channel", kernel_size=1)}, 480),
    (
      "spectrogram",
      dict(
        num_sources=3,
        compression="power",
        network=masker(skip_channels=0, mask_activation="softmax"),
      ),
      484,
    ),
    (
      "spectrogram",
      dict(
        compression=None,
        stft=dsp.Stft(n_fft=50, hop_length=16),
        network=masker(kernel_size=4),
      ),
      480,
    ),
    # An odd window ends with its last whole hop: no frame is left to come.
    (
      "spectrogram",
      {"stft": dsp.Stft(n_fft=25, hop_length=13, window="rectangular")},
      390,
    ),
    ("conv", {}, 11),  # A hop is 8 samples, a filter 16.
    ("conv", {"padding": "none"}, 3),
    ("spectrogram", {}, 15),  # A hop is 16 samples, a window 64.
    ("spectrogram", {}, 80),
  ],
)
def test_any_options_and_length(name, options, num_samples):
  check_equal(name, options, [15], num_samples)


@both
def test_bfloat16(name):
  # Half precision rounds the norms of the whole and of chunks differently.
  network = masker(dtype=jnp.bfloat16)
  check_equal(name, {"network": network}, [15], atol=0.02)


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


@both
def test_half_a_minute_equals_the_whole(name):
  check_equal(name, {}, [400], 30 * 6400, atol=1e-4)


def test_the_count_of_frames_does_not_overflow():
  live, variables, _ = small()
  state, _ = live.step(variables, live.init(variables, 2), signal(2, 480))
  late = jax.tree.map(
    lambda x: jnp.full_like(x, 2**30 - 90) if x.dtype == jnp.int32 else x, state
  )
  for _ in range(3):
    late, estimates = live.step(variables, late, signal(2, 480))
    assert jnp.isfinite(estimates).all()
    counts = [x for x in jax.tree.leaves(late) if x.dtype == jnp.int32]
    assert all((0 < x).all() and (x <= 2**30).all() for x in counts)


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
  state, _ = live.step(variables, state, signal(2, live.hop_length))
  assert jax.tree.map(lambda x: (x.shape, x.dtype), state) == before


def blocks_of(name, blocks, **options):
  """What `stream_blocks` gives for a recording, and the model on the whole."""
  model, variables, apply = with_variables(MODELS[name]())
  parts = inference.stream_blocks(
    model, variables, blocks, sample_rate_hz=8000, **options
  )
  mixture = np.concatenate(blocks)
  whole = apply(variables, mixture[None])[0]
  return np.concatenate(list(parts), axis=1), whole


@pytest.fixture
def as_the_model(monkeypatch):
  """Leaves the estimates at the model's level."""
  monkeypatch.setattr(
    inference.RunningGains, "apply", lambda self, mixture, estimates: estimates
  )


@both
@pytest.mark.usefixtures("as_the_model")
@pytest.mark.parametrize(
  ("length", "chunk_length"), [(1, 480), (480, 160), (4007, None)]
)
def test_blocks_equal_the_whole(name, length, chunk_length):
  mixture = np.asarray(signal(length))
  blocks = np.split(mixture, [length // 6, length // 6, length // 2])
  got, whole = blocks_of(name, blocks, chunk_length=chunk_length)
  assert got.shape == whole.shape
  # The end is separated as if silence followed, which frames of an STFT see.
  end = length if name == "conv" else max(0, length - 48)
  atol = 1e-5 * abs(whole).max()
  np.testing.assert_allclose(got[:, :end], whole[:, :end], atol=atol)


@pytest.mark.usefixtures("as_the_model")
def test_blocks_are_put_in_order(monkeypatch):
  def exchanged(self, sources):
    return sources[::-1]

  monkeypatch.setattr(inference.LiveOrder, "apply", exchanged)
  got, whole = blocks_of("conv", [np.asarray(signal(900))])
  np.testing.assert_allclose(got, whole[::-1], atol=1e-5 * abs(whole).max())


@both
def test_levels_are_of_the_same_time(name, monkeypatch):
  heard = []

  def apply(self, mixture, estimates):
    heard.append(mixture)
    return estimates

  monkeypatch.setattr(inference.RunningGains, "apply", apply)
  model, variables, _ = with_variables(MODELS[name]())
  mixture = np.asarray(signal(480))
  list(
    inference.stream_blocks(model, variables, [mixture], sample_rate_hz=8000)
  )
  latency = inference.stream(model).latency
  heard = np.concatenate(heard)
  np.testing.assert_array_equal(heard[:latency], 0)
  np.testing.assert_array_equal(heard[latency:][:480], mixture)


@pytest.mark.usefixtures("as_the_model")
def test_quiet_blocks_are_heard_as_loud_ones():
  # At -70 dB the norms' floors would be off by 2 %.
  level = 10 ** (-70 / 20)
  mixture = np.pad(np.asarray(signal(4007)), (320, 0))
  got, _ = blocks_of("conv", [np.float32(level) * mixture])
  _, expected = blocks_of("conv", [np.float32(0.1) * mixture])
  atol = 1e-3 * abs(expected).max()
  np.testing.assert_allclose(got * (0.1 / level), expected, atol=atol)


def test_silent_and_empty_blocks():
  got, _ = blocks_of("conv", [np.zeros(700, np.float32)])
  np.testing.assert_array_equal(got, np.zeros((2, 700)))
  model, variables, _ = with_variables(conv_tasnet())
  assert not list(
    inference.stream_blocks(model, variables, [], sample_rate_hz=8000)
  )


# Edges.


@both
def test_silence(name):
  live, variables, apply = small(name)
  parts = in_chunks(live, variables, jnp.zeros((2, 484)), [15])
  np.testing.assert_array_equal(parts, 0)
  mixture = signal(2, 484).at[:, :240].set(0.0)
  parts = in_chunks(live, variables, mixture, [15])
  whole = apply(variables, mixture)
  np.testing.assert_allclose(parts[..., live.latency :], whole, atol=1e-4)


@both
@pytest.mark.parametrize(
  ("value", "start"), [(1e20, 0), (3e38, 240), (np.inf, 0), (np.nan, 240)]
)
def test_one_huge_sample_is_forgotten(name, value, start):
  live, variables, _ = small(name)
  mixture = signal(2, 960)
  usual = in_chunks(live, variables, mixture, [15])
  spoilt = mixture.at[0, start].set(value)
  parts = in_chunks(live, variables, spoilt, [15])
  # The frames that the convolutions reach back to are past by then.
  end = live.latency + start + MODELS[name]().receptive_field
  assert jnp.isfinite(parts[0, :, end:]).all()
  np.testing.assert_array_equal(parts[1], usual[1])
  # A log spectrum that is huge, but finite, counts in later statistics.
  if start == 240 and (name == "conv" or np.isnan(value)):
    np.testing.assert_array_equal(parts[..., :start], usual[..., :start])
    rest = np.abs(parts - usual)[..., end:].max()
    assert rest < 0.05 * np.abs(usual).max()


# Transforms.


def test_an_older_state_stays_valid():
  live, variables, _ = small()
  chunk = signal(2, 120)
  old, _ = live.step(variables, live.init(variables, 2), chunk)
  first = live.step(variables, old, chunk)
  live.step(variables, old, 2 * chunk)
  again = live.step(variables, old, chunk)
  jax.tree.map(np.testing.assert_array_equal, first, again)


def test_within_a_scan():
  live, variables, apply = small()
  mixture = signal(2, 480)

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
    nn.Dense(1),
  ],
)
def test_refuses_a_model_that_needs_the_future(model):
  with pytest.raises(ValueError, match="cannot stream: it needs the future"):
    inference.stream(model)


def test_refuses_blocks_that_cannot_be_separated():
  model, variables, _ = with_variables(conv_tasnet())
  run = functools.partial(inference.stream_blocks, model, sample_rate_hz=8000)
  with pytest.raises(ValueError, match=r"multiple of the hop of 8 .* got 12"):
    run(variables, [], chunk_length=12)
  with pytest.raises(ValueError, match="NaN or Inf at sample 3"):
    list(run(variables, [np.float32([0, 0, 0, np.nan])]))
  broken = jax.tree.map(lambda leaf: np.nan * leaf, variables)
  with pytest.raises(FloatingPointError, match="parameters are damaged"):
    list(run(broken, [np.ones(480, np.float32)]))


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
