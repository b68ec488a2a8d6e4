"""Recordings of any length, with models whose answer is known."""

import flax.linen as nn
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from stream_checks import conv_tasnet, masker, with_variables

from jaxsep import inference

CHUNK = 4000
RATE = {"sample_rate_hz": 8000}
SIZES = RATE | {"cut": inference.Overlapping(CHUNK, 1000)}


class Bands(nn.Module):
  """Separates by frequency; puts the sources in any order, at odd scales.

  Order and gains follow from the samples, differently for each chunk. The
  gains are between 20 and 26 dB, and the sign is wrong.

  Attributes:
    num_sources: Number of bands of equal width.
    shuffled: Whether to change order and scale at all.
  """

  num_sources: int = 2
  shuffled: bool = True

  @nn.compact
  def __call__(self, mixture, *, length=None):
    TRACES.append(mixture.shape)
    length = mixture.shape[-1]
    spectrum = jnp.fft.rfft(mixture)
    band = jnp.arange(spectrum.shape[-1]) * self.num_sources
    band = jnp.minimum(band // spectrum.shape[-1], self.num_sources - 1)
    mask = band[None, :] == jnp.arange(self.num_sources)[:, None]
    bands = jnp.fft.irfft(spectrum[:, None] * mask[None], length)
    if self.shuffled:
      seed = (jnp.abs(mixture[:, length // 2]) * 1e7).astype(jnp.uint32)
      bands = jax.vmap(self._shuffle)(bands, seed)
    return bands

  def _shuffle(self, bands, seed):
    order, gain = jax.random.split(jax.random.key(seed))
    shape = (self.num_sources, 1)
    gains = -(10.0 ** jax.random.uniform(gain, shape, minval=1.0, maxval=1.3))
    return jax.random.permutation(order, bands * gains)


TRACES: list[tuple[int, ...]] = []


class Fixed(nn.Module):
  """Answers with the mixture times given gains, plus given constants."""

  gains: tuple[float, ...] = (0.5, 0.5)
  offset: float = 0.0

  @nn.compact
  def __call__(self, mixture, *, length=None):
    gains = jnp.array(self.gains)[None, :, None]
    return mixture[:, None] * gains + self.offset


def talk(length, *, num_sources=2, seed=0, pause=0.3):
  """Sources in bands of their own, each with words and pauses `[S, T]`."""
  generator = np.random.default_rng(seed)
  spectrum = np.fft.rfft(generator.normal(0, 0.1, (num_sources, length)))
  width = spectrum.shape[1] / num_sources
  for source, row in enumerate(spectrum):
    row[: int((source + 0.15) * width)] = 0
    row[int((source + 0.85) * width) :] = 0
  word = 500
  says = generator.random((num_sources, length // word + 1)) > pause
  sources = (
    np.fft.irfft(spectrum, length) * np.repeat(says, word, 1)[:, :length]
  )
  return sources.astype(np.float32)


def separate(model, mixture, **options):
  return inference.separate(model, {}, mixture, **SIZES, **options)


def error_db(estimate, reference):
  """Error of the best order that holds for the whole recording."""
  cost = ((estimate[:, None] - reference[None]) ** 2).sum(-1)
  best = cost.min(axis=0)
  assert sorted(cost.argmin(axis=0)) == list(range(len(reference)))
  return 10 * np.log10(best / (reference**2).sum(-1) + 1e-12)


# Laws.


@pytest.mark.parametrize(("num_sources", "batch_size"), [(2, 1), (3, 3)])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_speaker_stays_in_its_output(num_sources, batch_size, seed):
  """30 chunks and more, each in another order, at another scale."""
  reference = talk(30 * 3000 + 777, num_sources=num_sources, seed=seed)
  model = Bands(num_sources=num_sources)
  estimate = separate(model, reference.sum(0), batch_size=batch_size)
  assert estimate.shape == reference.shape
  assert error_db(estimate, reference).max() < -15


@pytest.mark.parametrize("overlap", [0, 1, 100])
@pytest.mark.parametrize("pause", [0.0, 0.3])
def test_a_short_overlap_swaps_no_speakers(overlap, pause):
  """Where the model itself never does."""
  reference = talk(60000, pause=pause)
  cut = inference.Overlapping(CHUNK, overlap)
  chunks = list(cut([reference[0]]))
  starts = np.array([chunk.start for chunk in chunks[:-1]])
  if overlap == 0:
    np.testing.assert_array_equal(np.diff(starts), CHUNK)
  model = Bands(shuffled=False)
  estimate = inference.separate(model, {}, reference.sum(0), cut=cut, **RATE)
  assert error_db(estimate, reference).max() < -25


def taking_turns():
  reference = talk(120000, pause=0.0)
  turn = np.arange(120000) // 6500 % 2 == 0
  return reference * np.stack([turn, ~turn])


def with_pauses():
  reference = talk(80000)
  reference[:, 20000:33000] = 0
  reference[:, 50000:61234] *= 1e-4
  return reference


def between_silences():
  return np.pad(talk(20000), ((0, 0), (15000, 17000)))


@pytest.mark.parametrize("make", [taking_turns, with_pauses, between_silences])
def test_a_speaker_survives_a_silence_longer_than_a_chunk(make):
  reference = make()
  estimate = separate(Bands(), reference.sum(0))
  assert error_db(estimate, reference).max() < -15
  if make is between_silences:
    np.testing.assert_array_equal(estimate[:, :8000], 0)
    np.testing.assert_array_equal(estimate[:, -8000:], 0)


def joined(reference, starts, estimates):
  """What `CrossFade` makes of chunks of a recording, from their estimates."""
  join = inference.CrossFade(len(reference), **RATE)
  parts = []
  for start, estimate in zip(starts, estimates, strict=True):
    samples = reference[:, start : start + estimate.shape[1]].sum(0)
    chunk = inference.Chunk(start, samples)
    parts.append(join.add(chunk, estimate))
  return np.concatenate([*parts, join.flush()], axis=1)


def test_three_speakers_keep_the_last_order_where_nothing_else_is_known():
  noise = np.random.default_rng(0).standard_normal((3, 5000))
  noise = noise.astype(np.float32)
  # In equal bands, and without an overlap at the second seam.
  parts = [
    noise[:, :2000],
    noise[[1, 2, 0], 1000:3000],
    noise[[1, 2, 0], 3000:],
  ]
  estimate = joined(noise, [0, 1000, 3000], parts)
  assert error_db(estimate, noise).max() < -10


def test_leakage_into_soft_speakers_decides_nothing():
  reference = talk(7000, num_sources=3, pause=0.0)
  turn = np.arange(7000) // 1000 % 3
  reference *= turn == np.arange(3)[:, None]
  # Alone in the overlap, the first speaker is heard in the other outputs.
  leakage = np.random.default_rng(0).normal(0, 0.018, (2, 1000))
  first, second = reference[:, :4000].copy(), reference[[0, 2, 1], 3000:]
  first[1:, 3000:] = second[1:, :1000] = leakage
  estimate = joined(reference, [0, 3000], [first, second])
  assert error_db(estimate, reference).max() < -10


def test_only_the_middle_half_of_an_overlap_is_mixed():
  one, other = np.float32([[1.0], [-1.0]]).repeat(400, axis=1)[:, None]
  join = inference.CrossFade(1, **RATE)
  parts = [
    join.add(inference.Chunk(start, samples[0]), samples)
    for start, samples in ((0, one), (200, other))
  ]
  seam = np.concatenate([*parts, join.flush()], axis=1)[0]
  np.testing.assert_array_equal(seam[:250], 1)
  np.testing.assert_array_equal(seam[350:], -1)
  assert (np.abs(seam[251:349]) < 1).all()


def test_an_overlap_is_longer_where_it_would_be_silent():
  speech = talk(80000, pause=0.0).sum(0)
  for start in range(2000, 80000, 5000):
    speech[start : start + 2000] = 0
  chunks = list(inference.Overlapping(CHUNK, 1000)([speech]))
  ends = [chunk.start + CHUNK for chunk in chunks]
  for chunk, end in zip(chunks[1:], ends, strict=False):
    assert end - chunk.start >= 1000
    assert np.count_nonzero(speech[chunk.start : end]) > 400


def windows(blocks):
  """Windows of 1200 samples every 800, as for meetings."""
  recording = np.concatenate(list(blocks))
  for start in range(0, len(recording), 800):
    yield inference.Chunk(start, recording[start : start + 1200])


class FirstParts:
  """Keeps the first 800 samples of each chunk as they are."""

  def __init__(self, num_sources, *, sample_rate_hz):
    self.num_sources = num_sources

  def add(self, chunk, estimate):
    return estimate[:, :800]

  def flush(self):
    return np.zeros((self.num_sources, 0), np.float32)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_other_ways_to_cut_and_join(batch_size):
  mixture = talk(6100).sum(0)
  estimate = inference.separate(
    Fixed(gains=(1.0, -3.0)),
    {},
    mixture,
    cut=windows,
    join=FirstParts,
    batch_size=batch_size,
    **RATE,
  )
  expected = np.stack([mixture, -3 * mixture])
  np.testing.assert_allclose(estimate, expected, atol=1e-5)


@hypothesis.given(
  length=st.integers(1, 3000),
  share=st.floats(0, 0.99),
  places=st.lists(st.integers(0, 3000), max_size=4),
)
@hypothesis.settings(deadline=None, max_examples=20)
def test_never_trimmed(length, share, places):
  """Any length, in any blocks: as long as it was, and the sum is the input."""
  mixture = talk(length, pause=0.0).sum(0)
  options = RATE | {"cut": inference.Overlapping(300, int(share * 300))}
  counts = []
  whole = inference.separate(
    Fixed(), {}, mixture, progress=counts.append, **options
  )
  assert whole.shape == (2, length)
  assert sum(counts) == length
  np.testing.assert_allclose(whole.sum(0), mixture, atol=1e-5)
  blocks = np.split(mixture, sorted(min(place, length) for place in places))
  parts = list(inference.separate_blocks(Fixed(), {}, blocks, **options))
  np.testing.assert_array_equal(np.concatenate(parts, -1), whole)


@pytest.mark.parametrize("factor", [10.0, 1e-20, 1e20])
def test_levels_follow_the_recording(factor):
  mixture = talk(30000).sum(0)
  factor = np.float32(factor)
  usual = separate(Bands(shuffled=False), mixture)
  scaled = separate(Bands(shuffled=False), factor * mixture)
  np.testing.assert_allclose(scaled / factor, usual, atol=1e-5)


class Scaled(nn.Module):
  """Separates by frequency; its outputs have scales of their own."""

  scales: tuple[float, ...]
  by_output: bool = True
  turns: bool = True

  @nn.compact
  def __call__(self, mixture, *, length=None):
    scales = jnp.array(self.scales)[:, None]
    bands = Bands(shuffled=False)(mixture)
    if not self.by_output:
      bands = bands * scales[None]
    if self.turns:
      turn = jnp.sin(1e5 * mixture[:, mixture.shape[-1] // 2]) > 0
      bands = jnp.where(turn[:, None, None], bands, bands[:, ::-1])
    return bands * scales[None] if self.by_output else bands


@pytest.mark.parametrize("scale", [-1e-3, 100.0])
@pytest.mark.parametrize("by_output", [True, False])
def test_levels_do_not_depend_on_the_scale_of_each_output(scale, by_output):
  """The scale belongs to the output, or to the speaker who changes places."""
  reference = talk(60000)
  model = Scaled((1.0, scale), by_output)
  estimate = separate(model, reference.sum(0))
  assert error_db(estimate, reference).max() < -15


def test_a_soft_speaker_keeps_the_scale_of_its_output():
  """In chunks where it is 20 dB below the other."""
  reference = talk(60000, pause=0.0)
  reference[1, 30000:] *= 0.1
  model = Scaled((1.0, 0.05), turns=False)
  estimate = separate(model, reference.sum(0))
  error = error_db(estimate[:, 34000:], reference[:, 34000:])
  assert error.max() < -10


def test_levels_follow_the_recording_over_time():
  """Somebody turns the microphone up by 40 dB, and down again."""
  reference = talk(60000)
  reference[:, 20000:40000] *= 100
  estimate = separate(Bands(), reference.sum(0))
  for part in (slice(2000, 15000), slice(25000, 35000), slice(48000, 60000)):
    error = error_db(estimate[:, part], reference[:, part])
    assert error.max() < -12


def test_what_the_model_leaves_out_stays_out():
  """A model that is right is left alone; a dropped source is not put back."""
  reference = talk(40000, num_sources=4, pause=0.0)
  mixture = reference.sum(0)
  right = Bands(num_sources=4, shuffled=False)
  estimate = separate(right, mixture)
  np.testing.assert_allclose(estimate.sum(0), mixture, atol=2e-3)
  assert error_db(estimate, reference).max() < -25

  class First(nn.Module):
    @nn.compact
    def __call__(self, mixture, *, length=None):
      return Bands(num_sources=4, shuffled=False)(mixture)[:, :2]

  fewer = separate(First(), mixture)
  assert error_db(fewer, estimate[:2]).max() < -20


# Edges.


@pytest.mark.parametrize("length", [1, 9000])
def test_silence_gives_silence(length):
  mixture = np.zeros(length, np.float32)
  estimate = separate(Fixed(offset=1.0), mixture)
  np.testing.assert_array_equal(estimate, np.zeros((2, length)))


@pytest.mark.parametrize("length", [1, 333, 2500])
def test_a_short_recording_is_separated_as_without_padding(length):
  model, variables, _ = with_variables(
    conv_tasnet(masker(causal=False, norm="global"))
  )
  mixture = talk(length, pause=0.0).sum(0)
  padded = inference.separate(model, variables, mixture, **SIZES)
  cut = inference.Overlapping(length)  # A chunk as long as the recording.
  exact = inference.separate(model, variables, mixture, cut=cut, **RATE)
  np.testing.assert_allclose(padded, exact, atol=1e-5 * np.abs(exact).max())


# One compilation, in any length.


def traces(model, lengths, **options):
  TRACES.clear()
  for length in lengths:
    separate(model, talk(length).sum(0), **options)
  return list(TRACES)


def unseen():
  """A model for which nothing is compiled yet."""

  class Unseen(Bands):
    pass

  return Unseen()


@pytest.mark.parametrize("batch_size", [1, 4])
def test_one_trace(batch_size):
  lengths = [200000, 20001, 54321]
  seen = traces(unseen(), lengths, batch_size=batch_size)
  assert seen == [(batch_size, CHUNK)]


def test_few_traces_for_short_recordings():
  seen = traces(unseen(), [1, 255, 700, 1400, 2300, 2900, 3990])
  assert len(seen) == len(set(seen)) <= 6
  for length in (700, 1400, 2900):
    filled = min(shape[1] for shape in seen if shape[1] >= length)
    assert filled <= 1.5 * length


# Failures.


def test_options_out_of_range():
  for options, match in [
    ((0,), "chunk_length must be positive, got 0"),
    ((100, 100), "overlap must be from 0 to below chunk_length 100"),
    ((100, -1), "overlap must be"),
  ]:
    with pytest.raises(ValueError, match=match):
      inference.Overlapping(*options)
  with pytest.raises(ValueError, match="batch_size must be positive"):
    inference.separate_blocks(Bands(), {}, [], batch_size=0, **RATE)
  with pytest.raises(ValueError, match="has no samples"):
    inference.separate(Bands(), {}, np.zeros(0, np.float32), **RATE)


@pytest.mark.usefixtures("unchecked")
def test_samples_that_are_not_one_channel():
  good = talk(9000).sum(0)
  for samples, match in [
    (np.zeros((9000, 2)), r"\(9000, 2\) must be \[time\]; take one"),
    (np.float32(1.0), r"\(\) must be \[time\]"),
  ]:
    with pytest.raises(ValueError, match=match):
      separate(Bands(), samples)
    with pytest.raises(ValueError, match=match):
      list(inference.separate_blocks(Bands(), {}, [good, samples], **SIZES))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers(value):
  mixture = talk(9000).sum(0)
  mixture[4321] = value
  with pytest.raises(ValueError, match="NaN or Inf at sample 4321"):
    separate(Bands(), mixture)
