"""A model that extracts the speaker of an enrolment clip."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from stream_checks import in_chunks

import jaxsep
from jaxsep import inference


def bands(signal, before=None):
  """The low and the high half of the spectrum, by a filter of two taps."""
  if before is None:
    before = jnp.zeros_like(signal[:, :1])
  delayed = jnp.concatenate([before, signal[:, :-1]], axis=1)
  return jnp.stack([signal + delayed, signal - delayed], axis=1) / 2


class Enrolled(nn.Module):
  """Gives the band in which the enrolled speaker speaks, and the other one."""

  num_sources: int = 2
  hop_length: int = 4
  stream_latency: int = 0
  is_causal: bool = True
  gain: float = 1.0

  def setup(self):
    self.sharpness = self.param("sharpness", nn.initializers.constant(9.0), ())

  def example_inputs(self):
    return {"mixture": jnp.zeros((1, 8)), "enrollment": jnp.zeros((1, 8))}

  def embed(self, enrollment):
    low, high = jnp.moveaxis(jnp.square(bands(enrollment)).mean(-1), 1, 0)
    share = self.sharpness * (low - high) / (low + high)
    return nn.sigmoid(share)[:, None, None]

  def choose(self, both, is_low):
    return self.gain * (is_low * both + (1 - is_low) * both[:, ::-1])

  def __call__(self, mixture, *, enrollment, length=None, train=False):
    return self.choose(bands(mixture), self.embed(enrollment))

  def stream_init(self, batch, *, enrollment):
    return self.embed(enrollment), jnp.zeros((batch, 1))

  def stream_step(self, state, mixture):
    is_low, before = state
    estimates = self.choose(bands(mixture, before), is_low)
    return (is_low, mixture[:, -1:]), estimates

  def stream_finish(self, state, rest=None):
    rest = jnp.zeros((len(state[1]), 0)) if rest is None else rest
    return self.stream_step(state, rest)[1]


def tone(frequency, length=3000):
  return np.sin(frequency * np.arange(length, dtype=np.float32))


SPEAKERS = np.stack([tone(0.05), 0.5 * tone(3.0)])
MIXTURE = SPEAKERS.sum(0)


@pytest.fixture
def loaded(tmp_path):
  model = Enrolled()
  variables = jax.jit(model.init)(jax.random.key(0), **model.example_inputs())
  jaxsep.save(tmp_path / "m", model, variables, sample_rate_hz=8000)
  return jaxsep.load(tmp_path / "m", model_class=Enrolled)


@pytest.mark.parametrize(("speaker", "batch_size"), [(0, 1), (1, 3)])
def test_the_enrolled_speaker_comes_first(loaded, speaker, batch_size):
  estimate = inference.separate(
    loaded.model,
    loaded.variables,
    MIXTURE,
    cut=inference.Overlapping(800),
    sample_rate_hz=8000,
    batch_size=batch_size,
    enrollment=SPEAKERS[speaker][None, :500],
  )
  expected = SPEAKERS if speaker == 0 else SPEAKERS[::-1]
  np.testing.assert_allclose(estimate[:, 9:], expected[:, 9:], atol=0.1)


@pytest.mark.parametrize("num_clips", [1, 2])
def test_streams_with_an_enrolment(loaded, num_clips):
  clips = SPEAKERS[:num_clips, :500]
  mixtures = jnp.stack([MIXTURE, -MIXTURE])
  live = inference.stream(loaded.model)
  parts = in_chunks(live, loaded.variables, mixtures, [70, 5], enrollment=clips)
  whole = loaded.model.apply(
    loaded.variables,
    mixtures,
    enrollment=jnp.broadcast_to(clips, (2, 500)),
  )
  np.testing.assert_allclose(parts, whole, atol=1e-5)


@pytest.mark.parametrize("level", [1e-3, 10.0])
def test_streams_blocks_with_an_enrolment(loaded, level):
  """At the level of the recording, whatever that of the model is."""
  blocks = np.array_split(np.float32(level) * MIXTURE, 3)
  for order in (1, -1):
    parts = inference.stream_blocks(
      Enrolled(gain=-30.0),
      loaded.variables,
      blocks,
      sample_rate_hz=8000,
      enrollment=SPEAKERS[::order][:1, :500],
    )
    estimate = np.concatenate(list(parts), axis=1) / level
    expected = SPEAKERS[::order]
    np.testing.assert_allclose(estimate[:, 9:], expected[:, 9:], atol=0.1)


def test_conditions_of_another_batch_are_refused(loaded):
  model, variables = loaded.model, loaded.variables
  clips = np.zeros((3, 500), np.float32)
  with pytest.raises(ValueError, match=r"enrollment \(3, 500\) must .* \[1, "):
    inference.separate(
      model, variables, MIXTURE, sample_rate_hz=8000, enrollment=clips
    )
  with pytest.raises(ValueError, match=r"must have the shape \[2, ...\] or"):
    inference.stream(model).init(variables, 2, enrollment=clips)
