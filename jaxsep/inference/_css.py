"""Windows of continuous speech separation, as meetings are separated."""

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np

from jaxsep import dsp
from jaxsep.inference._gains import common_gain
from jaxsep.inference._overlapping import Chunk
from jaxsep.typing import Float


@dataclasses.dataclass(frozen=True, kw_only=True)
class CssWindows:
  """Cuts a recording into windows of history, current part and future.

  There is a window every `current_s` seconds. The model separates it whole, and
  `CssJoin` keeps the current part: the rest is context. The last window is
  filled up with zeros, so that all have one length. Use the two together, with
  the recording as it is:

      separate(..., sample_rate_hz=16000, even_level=False,
               cut=CssWindows(sample_rate_hz=16000), join=CssJoin)

  Attributes:
    sample_rate_hz: Rate of the recording.
    history_s: Seconds before the current part.
    current_s: Seconds of it, and from window to window.
    future_s: Seconds after it.

  Raises:
    ValueError: If the current part is shorter than a sample, or another part
      is negative.

  References:
    Chen et al., "Continuous speech separation: dataset and analysis", ICASSP
    2020. Windows of 2.4 s every 0.8 s are those of public recipes for its data;
    the division into 1.2 + 0.8 + 0.4 s is the one that CSS papers use.

  Example:
    >>> windows = CssWindows(sample_rate_hz=100)
    >>> chunks = windows([np.ones(330, np.float32)])
    >>> [(c.start, len(c.samples), c.num_zeros) for c in chunks]
    [(0, 240, 0), (80, 240, 0), (160, 240, 70)]
  """

  sample_rate_hz: int
  history_s: float = 1.2
  current_s: float = 0.8
  future_s: float = 0.4

  def __post_init__(self):
    history, current, future = self._lengths()
    if history < 0 or current < 1 or future < 0:
      raise ValueError(
        "a window needs a current part of a sample or more, and no negative"
        f" ones, got {self}"
      )

  @property
  def chunk_length(self) -> int:
    """Samples per window."""
    return sum(self._lengths())

  def __call__(
    self, blocks: Iterable[Float[np.ndarray, "_time"]]
  ) -> Iterator[Chunk]:
    """Yields the windows of a recording that comes in blocks, in order."""
    length, hop = self.chunk_length, self._lengths()[1]
    held, start = np.zeros(0, np.float32), 0  # From the next window on.
    for block in blocks:
      held = np.concatenate([held, block])
      while len(held) >= length:
        yield Chunk(start, held[:length])
        held, start = held[hop:], start + hop
    seen = length - hop if start else 0
    if len(held) > seen:
      num_zeros = length - len(held)
      yield Chunk(start, np.pad(held, (0, num_zeros)), num_zeros)

  def _lengths(self):
    """Samples of history, current part and future."""
    parts_s = self.history_s, self.current_s, self.future_s
    return [round(part_s * self.sample_rate_hz) for part_s in parts_s]


class CssJoin:
  """Joins the separated windows of `CssWindows`, without a cross-fade.

  A window gets the order with the smallest L1 distance of the waveforms to
  those of the window before, in its order, on the samples that both have. It is
  never revised: after a pause of two seconds, speakers may change places.
  All sources have one gain, with which they add up to the recording so far as
  well as they can: the model's outputs may have any scale.

  Of each window the current part is kept, of the first one also the history,
  and of the last one also the future.

  References:
    "Practical single-channel speech separation for ASR", section 4.4: it says
    "signal-wise stitching". The distance and the parts that are kept are those
    of the toolkit aps by one of its authors, which scales by the peaks of a
    whole recording.

  Example:
    >>> join = CssJoin(
    ...   2, sample_rate_hz=10, history_s=0.1, current_s=0.2)
    >>> first = np.float32([[1, 1, 2, 1], [0, 0, 0, 1]])
    >>> join.add(Chunk(0, first.sum(axis=0)), first)
    array([[1., 1., 2.],
           [0., 0., 0.]], dtype=float32)
    >>> swapped = np.float32([[0, 1, 2, 0], [2, 1, 0, 0]])
    >>> join.add(Chunk(2, swapped.sum(axis=0)), swapped)
    array([[1., 0.],
           [1., 2.]], dtype=float32)
    >>> join.flush()
    array([[0.],
           [0.]], dtype=float32)
  """

  def __init__(
    self,
    num_sources: int,
    *,
    sample_rate_hz: int,
    history_s: float = 1.2,
    current_s: float = 0.8,
  ):
    """Takes the rate and the lengths that `CssWindows` has."""
    self._history = round(history_s * sample_rate_hz)
    self._current = round(current_s * sample_rate_hz)
    self._start = 0  # Of the next window.
    self._gram = np.zeros((num_sources, num_sources))
    self._match = np.zeros(num_sources)
    # The last window in order, and what to keep of it if no other follows.
    self._last = self._rest = np.zeros((num_sources, 0), np.float32)

  def add(
    self, chunk: Chunk, estimate: Float[np.ndarray, "sources time"]
  ) -> Float[np.ndarray, "sources _kept"]:
    """Adds the next window; returns what is kept of it, shape `[S, any]`.

    Raises:
      ValueError: If it is not `current_s` after the window before.
    """
    if chunk.start != self._start:
      raise ValueError(
        f"a window begins at sample {chunk.start} instead of {self._start}:"
        " CssWindows and CssJoin need the same rate, history_s and current_s"
      )
    shared = self._last[:, self._current :]
    begin = estimate[:, np.newaxis, : shared.shape[1]]
    distance = np.abs(begin - shared).sum(axis=-1)
    estimate = estimate[np.asarray(dsp.best_permutation(distance))]
    self._last = estimate
    self._gram += estimate @ estimate.T
    self._match += estimate @ chunk.samples
    if self._gram.any():
      estimate = np.float32(common_gain(self._gram, self._match)) * estimate
    estimate = estimate[:, : len(chunk.samples) - chunk.num_zeros]
    kept = slice(self._history if chunk.start else 0, None)
    end = self._history + self._current
    self._start, self._rest = chunk.start + self._current, estimate[:, end:]
    return estimate[:, :end][:, kept]

  def flush(self) -> Float[np.ndarray, "sources _rest"]:
    """The rest of the last window, shape `[S, any]`."""
    return self._rest
