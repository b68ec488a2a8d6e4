"""The band that a model does not hear, shared among its outputs."""

import numpy as np
import pytest

from jaxsep import inference

RATES = {"sample_rate_hz": 16000, "model_rate_hz": 8000}


def separated(mixture, separate, num_blocks=1, **rates):
  blocks = np.array_split(mixture[np.newaxis], num_blocks, axis=1)
  parts = inference.with_upper_band(blocks, separate, **(rates or RATES))
  return np.concatenate(list(parts), axis=1)


def by_halves(blocks, rate=8000):
  """The first second is speaker 1, the rest is speaker 2."""
  position = 0
  for block in blocks:
    is_first = position + np.arange(block.shape[1]) < rate
    yield np.concatenate([block * is_first, block * ~is_first])
    position += block.shape[1]


def noise(length):
  generator = np.random.default_rng(0)
  return (0.1 * generator.standard_normal(length)).astype(np.float32)


@pytest.mark.parametrize("rate", [11025, 16000, 44100])
@pytest.mark.parametrize("num_blocks", [1, 50])
def test_whoever_speaks_gets_the_upper_band(rate, num_blocks):
  mixture = noise(2 * rate + 7)
  rates = {"sample_rate_hz": rate, "model_rate_hz": 8000}
  sources = separated(mixture, by_halves, num_blocks, **rates)
  assert sources.shape == (2, len(mixture))
  np.testing.assert_allclose(sources.sum(axis=0), mixture, atol=1e-5)
  # But for the window around the change, and the ends.
  for source, part in zip(
    sources, (slice(rate), slice(rate, None)), strict=True
  ):
    alone = np.zeros_like(mixture)
    alone[part] = mixture[part]
    far = np.abs(np.arange(len(mixture)) - rate) > 0.05 * rate
    far[: rate // 100] = far[-(rate // 100) :] = False
    np.testing.assert_allclose(source[far], alone[far], atol=1e-3)


def test_shares_do_not_depend_on_blocks_and_level():
  mixture = noise(20_000)
  whole = separated(mixture, by_halves)
  for num_blocks in (3, 7000):
    parts = separated(mixture, by_halves, num_blocks)
    np.testing.assert_allclose(parts, whole, atol=1e-6)
  np.testing.assert_allclose(
    separated(1000 * mixture, by_halves), 1000 * whole, rtol=1e-3, atol=1e-4
  )


def test_equal_outputs_share_equally():
  mixture = noise(8000)
  halves = separated(mixture, lambda bs: (np.tile(b / 2, (2, 1)) for b in bs))
  np.testing.assert_allclose(halves, np.tile(mixture / 2, (2, 1)), atol=1e-6)


def test_what_the_model_leaves_out_stays_out():
  mixture = noise(16_000)

  def at(gain):
    def separate(blocks):
      return (gain * block for block in by_halves(blocks, 4000))

    return upper(separated(mixture, separate))[:, 200:-200]

  np.testing.assert_allclose(at(0.2), 0.04 * at(1), atol=1e-3)
  np.testing.assert_allclose(at(3), at(1), atol=1e-3)  # Nothing is made up.
  np.testing.assert_allclose(at(0), 0, atol=1e-4)


def upper(signals):
  spectrum = np.fft.rfft(signals)
  spectrum[:, : int(0.55 * spectrum.shape[1])] = 0
  return np.fft.irfft(spectrum, signals.shape[1])


def test_little_is_held_at_a_time():
  read, given, held = 0, 0, []

  def blocks():
    nonlocal read
    for _ in range(40):
      read += 4000
      yield noise(4000)[np.newaxis]

  for part in inference.with_upper_band(blocks(), by_halves, **RATES):
    given += part.shape[1]
    held.append(read - given)
  assert given == read == 160_000
  assert max(held) < 12_000


@pytest.mark.parametrize("length", [1, 2, 100])
def test_short_and_silent(length):
  for mixture in (np.zeros(length, np.float32), noise(length)):
    sources = separated(mixture, by_halves)
    np.testing.assert_allclose(sources.sum(axis=0), mixture, atol=1e-5)


def test_a_recording_without_an_upper_band():
  with pytest.raises(ValueError, match="at 8000 Hz has nothing above"):
    separated(noise(9), by_halves, sample_rate_hz=8000, model_rate_hz=8000)
