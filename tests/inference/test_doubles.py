"""Words that two streams have of one speaker."""

import numpy as np
import pytest

from jaxsep import inference
from jaxsep.text import TimedWord

RATE = 8000


def word(start_s, end_s, text="yes"):
  return TimedWord("x", "0", start_s, end_s, text)


def speech(seed, *spans_s, duration_s=6.0):
  signal = np.random.default_rng(seed).normal(0, 0.1, round(duration_s * RATE))
  is_on = np.zeros(len(signal), bool)
  for start_s, end_s in spans_s:
    is_on[round(start_s * RATE) : round(end_s * RATE)] = True
  return (signal * is_on).astype(np.float32)


def kept(words, streams, split=(1, 79, 80, 12345)):
  blocks = np.split(np.stack(streams), split, axis=1)
  return inference.without_doubles(words, blocks, sample_rate_hz=RATE)


FIRST, SECOND = word(0.6, 0.9, "good"), word(1.2, 1.5, "day")


@pytest.mark.parametrize("gain", [1.0, 0.3, -0.3])
def test_a_copy_has_no_words(gain):
  one = speech(0, (0.5, 1.6))
  words = [[FIRST, SECOND], [word(0.65, 0.95, "could"), SECOND]]
  assert kept(words, [one, gain * one]) == [words[0], []]
  # The louder stream keeps its words, whichever it is.
  assert kept(words, [0.5 * gain * one, one]) == [[], words[1]]


def test_a_faint_rest_has_no_words():
  one, rest = speech(0, (0.5, 1.6)), speech(1, (0.5, 1.6))
  words = [[FIRST, SECOND], [word(0.7, 1.4)]]
  assert kept(words, [one, 0.05 * rest]) == [words[0], []]
  assert kept(words, [one, 0.3 * rest]) == words


def test_two_speakers_keep_their_words():
  streams = [speech(0, (0.5, 1.6)), speech(1, (0.5, 4.0))]
  words = [[FIRST, SECOND], [FIRST, word(3.0, 3.5)]]
  assert kept(words, streams) == words


def test_no_word_is_lost():
  """What one stream alone has stays, however faint."""
  one = speech(0, (0.5, 1.6))
  words = [[FIRST], [SECOND]]
  assert kept(words, [one, 0.01 * one]) == words
  silence = np.zeros_like(one)
  assert kept([[FIRST], [FIRST]], [silence, silence]) == [[FIRST], []]


def test_edges():
  one = speech(0, (0.5, 1.6))
  assert kept([[], []], [one, one]) == [[], []]
  assert kept([[FIRST]], [one]) == [[FIRST]]
  # Words may end after the recording.
  late = word(5.5, 7.0)
  assert kept([[late], [late]], [one, one]) == [[late], []]
  doubled = inference.without_doubles(
    [[FIRST], [FIRST]], [], sample_rate_hz=RATE
  )
  assert doubled == [[FIRST], []]
  with pytest.raises(ValueError, match="words of 1 streams, but 2 streams"):
    kept([[FIRST]], [one, one])
