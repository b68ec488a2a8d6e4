"""Words of one speaker that were recognised in two streams."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from jaxsep.typing import Float

_FRAME_S = 0.01
# Recognisers mark words by a part of their sound.
_MARGIN_S = 0.1
# A stream so far below another one, or so like it, has none of its own.
_FAR_BELOW, _ALIKE = 1e-2, 0.7


def without_doubles(
  words: Sequence[Sequence[Any]],
  blocks: Iterable[Float[np.ndarray, "streams _time"]],
  *,
  sample_rate_hz: int,
) -> list[list[Any]]:
  """Leaves out words that separated streams have twice.

  Where one speaks alone, a separator may leave a rest or a copy of the speaker
  in the other stream, in which a recogniser finds words too. A word is left out
  if a word of another stream overlaps with it, and its own stream is, from the
  begin of the two to their end, 20 dB below the other one, or the softer one of
  two that are alike: the magnitude of their correlation is 0.7 or more. A word
  that only one stream has is always kept.

  The protocol of LibriCSS has no such rule.

  Args:
    words: The words of each of the S streams, or utterances: anything with
      `start_s` and `end_s`.
    blocks: Consecutive parts of the streams, shape `[S, any]`.
    sample_rate_hz: Their rate.

  Returns:
    The words of each stream that are kept, in their order.

  Raises:
    ValueError: If the number of streams is not that of the words.

  Example:
    >>> from jaxsep.text import TimedWord
    >>> speech = np.sin(np.arange(8000, dtype=np.float32))
    >>> words = [TimedWord("x", "0", 0.2, 0.6, "yes")]
    >>> kept = without_doubles(
    ...   [words, words], [np.stack([speech, 0.3 * speech])],
    ...   sample_rate_hz=8000)
    >>> [len(stream) for stream in kept]
    [1, 0]
  """
  size = max(1, round(_FRAME_S * sample_rate_hz))
  products = _products(blocks, size, len(words))
  # Products of the streams up to each frame, `[N + 1, S, S]`.
  total = np.concatenate([0 * products[:1], np.cumsum(products, axis=0)])

  times = [
    np.array([(word.start_s, word.end_s) for word in stream]).reshape(-1, 2)
    for stream in words
  ]

  def is_double(word, own, other):
    starts, ends = times[other].T
    overlap = (starts < word.end_s) & (word.start_s < ends)
    for match_start_s, match_end_s in times[other][overlap]:
      start_s = min(word.start_s, match_start_s) - _MARGIN_S
      end_s = max(word.end_s, match_end_s) + _MARGIN_S
      begin, end = np.clip(
        np.rint(np.array([start_s, end_s]) * sample_rate_hz / size).astype(int),
        0,
        len(total) - 1,
      )
      within = total[end] - total[begin]
      mine, theirs = within[own, own], within[other, other]
      # Of equals, the first stream keeps its word.
      if (mine, -own) > (theirs, -other):
        continue
      alike = abs(within[own, other]) >= _ALIKE * np.sqrt(mine * theirs)
      if mine <= _FAR_BELOW * theirs or alike:
        return True
    return False

  return [
    [
      word
      for word in stream
      if not any(
        is_double(word, own, other)
        for other in range(len(words))
        if other != own
      )
    ]
    for own, stream in enumerate(words)
  ]


def _products(blocks, size, num_streams):
  """Products of the streams summed over frames of some samples, `[N, S, S]`."""
  held = np.zeros((num_streams, 0))
  found = []
  for block in blocks:
    if len(block) != num_streams:
      raise ValueError(
        f"there are words of {num_streams} streams, but {len(block)} streams"
      )
    held = np.concatenate([held, block], axis=1)
    num_frames = held.shape[1] // size
    frames = held[:, : num_frames * size].reshape(num_streams, num_frames, size)
    found.append(np.einsum("snt,rnt->nsr", frames, frames))
    held = held[:, num_frames * size :]
  found.append((held @ held.T)[np.newaxis])
  return np.concatenate(found)
