"""Fed in chunks equals fed whole."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from stream_checks import in_chunks, with_params

from jaxsep import inference
from jaxsep.models import ConvTasNet, _streaming

SMALL = {
  "num_filters": 16,
  "bottleneck_channels": 8,
  "hidden_channels": 16,
  "skip_channels": 8,
  "num_blocks": 2,
  "num_repeats": 1,
  "causal": True,
}


def signal(*shape, seed=0):
  return jax.random.normal(jax.random.key(seed), shape)


def small(**options):
  return with_params(ConvTasNet(**{**SMALL, **options}))


def check_equal(options, num_hops, num_samples=480, batch=2, atol=1e-5):
  model, params, apply = small(**options)
  live = inference.stream(model)
  mixture = signal(batch, num_samples)
  whole = apply(params, mixture)
  parts = in_chunks(live, params, mixture, num_hops)
  assert live.latency == model.hop_length
  np.testing.assert_array_equal(parts[..., : live.latency], 0)
  np.testing.assert_allclose(
    parts[..., live.latency :], whole, atol=atol * jnp.abs(whole).max()
  )


# Reference: the whole at once.


@pytest.mark.parametrize("num_hops", [[1], [7, 5], [60]])
def test_any_chunks_equal_the_whole(num_hops):
  check_equal({"num_blocks": 3, "num_repeats": 2}, num_hops)


@pytest.mark.parametrize(
  ("options", "num_hops"),
  [
    ({"num_sources": 3, "filter_length": 4}, [5]),
    ({"num_sources": 1, "norm": "channel", "kernel_size": 1}, [6]),
    ({"kernel_size": 4, "num_repeats": 2}, [4]),
    ({"padding": "none"}, [1]),
    ({"padding": "none", "skip_channels": 0, "use_bias": False}, [5]),
    ({"conv_padding": "late", "input_norm": "channel"}, [4]),
    ({"num_blocks": 4, "encoder_activation": "relu"}, [12]),
  ],
)
def test_any_causal_conv_tasnet(options, num_hops):
  check_equal(options, num_hops)


@pytest.mark.parametrize(
  ("padding", "num_samples"), [("both", 1), ("both", 63), ("none", 63)]
)
def test_a_rest_that_fills_no_hop(padding, num_samples):
  check_equal({"padding": padding}, [3], num_samples=num_samples)


@pytest.mark.parametrize(
  ("padding", "num_samples"),
  [("both", 3), ("none", 3), ("none", 8), ("none", 11)],
)
def test_short_mixtures(padding, num_samples):
  """A hop is 8 samples, a filter 16."""
  check_equal({"padding": padding}, [1], num_samples=num_samples)


def test_bfloat16():
  # Half precision rounds the norm of the whole and of few frames differently.
  check_equal({"dtype": jnp.bfloat16}, [4], atol=0.02)
  model, params, _ = small(dtype=jnp.bfloat16)
  state = inference.stream(model).init(params, 1)
  assert {ring.dtype for ring in state.masker.contexts} == {
    jnp.dtype("bfloat16")
  }


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


def test_ten_minutes_of_statistics():
  # At 1 kHz, with a mean that is large beside the deviation.
  generator = np.random.default_rng(0)
  frames = np.float32(3 + generator.standard_normal((600_000, 4)))
  (mean, scale), state = carried(frames, chunk=20)
  expected_mean, expected_scale = running(frames, 0, 0.0, 0.0)
  np.testing.assert_allclose(mean, expected_mean, rtol=1e-6)
  np.testing.assert_allclose(scale, expected_scale, rtol=3e-5)
  assert state.count == 600_000


@pytest.mark.parametrize("count", [2**25, 2**29])
def test_statistics_after_hours_still_move(count):
  # By less per frame than float32 resolves; a float32 count stops at 2**24.
  frames = np.full((200_000, 2), 3.0, np.float32)
  (mean, scale), _ = carried(frames, chunk=1, count=count, mean=2.0, power=5.0)
  expected_mean, expected_scale = running(frames, count, 2.0, 5.0)
  np.testing.assert_allclose(
    mean[-1] - 2, expected_mean[-1] - 2, rtol=1e-3, atol=2.4e-7
  )
  np.testing.assert_allclose(scale[-1], expected_scale[-1], rtol=1e-6)


def test_count_ends_before_it_overflows():
  most = _streaming.MOST_FRAMES
  frames = np.ones((100, 2), np.float32)
  _, state = carried(frames, chunk=10, count=most - 35, mean=1.0, power=2.0)
  assert most - 10 <= state.count[0] <= most
  assert jnp.isfinite(state.statistics).all()


# Laws.


def test_rows_do_not_meet():
  model, params, _ = small()
  live = inference.stream(model)
  mixture = signal(2, 160)
  both = in_chunks(live, params, mixture, [4])
  other = mixture.at[1].multiply(-100.0)
  np.testing.assert_array_equal(in_chunks(live, params, other, [4])[0], both[0])


def test_the_state_has_a_constant_size():
  model, params, _ = small()
  live = inference.stream(model)
  state = live.init(params, 2)
  before = jax.tree.map(lambda x: (x.shape, x.dtype), state)
  assert len(jax.tree.leaves(state)) < 12
  for length in (8, 80):
    state, _ = live.step(params, state, signal(2, length))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), state) == before


# Edges.


def test_silence_at_the_start_and_throughout():
  model, params, apply = small()
  live = inference.stream(model)
  mixture = signal(2, 480).at[:, :240].set(0.0).at[1].set(0.0)
  parts = in_chunks(live, params, mixture, [4])
  whole = apply(params, mixture)
  assert jnp.isfinite(parts).all()
  np.testing.assert_allclose(parts[..., 8:], whole, atol=1e-4)
  np.testing.assert_array_equal(parts[1], 0)


@pytest.mark.parametrize("value", [1e20, 3e38, np.inf, np.nan])
@pytest.mark.parametrize("start", [0, 240])
def test_one_sample_beyond_measure_is_forgotten(value, start):
  model, params, _ = small()
  live = inference.stream(model)
  mixture = signal(1, 800)
  usual = in_chunks(live, params, mixture, [4])
  parts = in_chunks(live, params, mixture.at[0, start].set(value), [4])
  # The frames that the convolutions reach back to are past by then.
  end = live.latency + start + model.receptive_field
  assert jnp.isfinite(parts[..., end:]).all()
  if start:
    np.testing.assert_array_equal(parts[..., :start], usual[..., :start])
    rest = np.abs(parts - usual)[..., end:].max()
    assert rest < 0.05 * np.abs(usual).max()
  else:
    late = np.abs(parts - usual)[..., 600:].max()
    assert late < 0.2 * np.abs(usual).max()


# Transforms.


def test_a_state_can_be_gone_back_to():
  model, params, _ = small()
  live = inference.stream(model)
  old, _ = live.step(params, live.init(params, 1), signal(1, 64))
  first = live.step(params, old, signal(1, 32))
  live.step(params, old, 2 * signal(1, 64))
  again = live.step(params, old, signal(1, 32))
  for one, two in zip(
    jax.tree.leaves(first), jax.tree.leaves(again), strict=True
  ):
    np.testing.assert_array_equal(one, two)


def test_within_a_scan():
  model, params, apply = small()
  live = inference.stream(model)
  mixture = signal(2, 320)

  @jax.jit
  def run(params, mixture):
    chunks = jnp.moveaxis(mixture.reshape(2, -1, 32), 1, 0)
    state = live.init(params, 2)
    state, parts = jax.lax.scan(
      functools.partial(live.step, params), state, chunks
    )
    return jnp.concatenate([*parts, live.finish(params, state)], axis=-1)

  np.testing.assert_allclose(
    run(params, mixture)[..., 8:], apply(params, mixture), atol=1e-5
  )


def test_one_compilation_per_size(monkeypatch):
  traced = []
  step = ConvTasNet.stream_step

  def counted(self, state, mixture):
    traced.append(mixture.shape[1])
    return step(self, state, mixture)

  monkeypatch.setattr(ConvTasNet, "stream_step", counted)
  model, params, _ = small(num_blocks=1)
  for _ in range(2):
    live = inference.stream(model)
    state = live.init(params, 1)
    for length in (16, 16, 24, 16):
      state, _ = live.step(params, state, signal(1, length))
  assert traced == [16, 24]


# Failures.


@pytest.mark.parametrize(
  "options", [{"causal": False}, {"norm": "global"}, {"input_norm": "global"}]
)
def test_refuses_a_model_that_needs_the_future(options):
  with pytest.raises(ValueError, match="needs the future") as error:
    inference.stream(ConvTasNet(**{**SMALL, **options}))
  assert "\n" not in str(error.value)


def test_refuses_a_model_without_a_step():
  with pytest.raises(ValueError, match="Dense cannot stream"):
    inference.stream(nn.Dense(1))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
  ("shape", "match"),
  [
    ((1, 12), "multiple of the hop of 8"),
    ((1, 0), "multiple of the hop"),
    ((8,), "must be"),
    ((2, 8), "the batch of the state, 1"),
  ],
)
def test_refuses_other_chunks(shape, match):
  model, params, _ = small()
  live = inference.stream(model)
  with pytest.raises(ValueError, match=match):
    live.step(params, live.init(params, 1), jnp.zeros(shape))
  with pytest.raises(ValueError, match="batch must be at least 1"):
    live.init(params, 0)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("shape", [(1, 8), (5,)])
def test_refuses_another_rest(shape):
  model, params, _ = small()
  live = inference.stream(model)
  with pytest.raises(ValueError, match="n less than the hop of 8"):
    live.finish(params, live.init(params, 1), jnp.zeros(shape))
