"""Mixtures as meetings have them: who overlaps whom, in a room, with noise."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxsep import dsp
from jaxsep.simulate import _levels, _placement, _reverb
from jaxsep.simulate._levels import Range
from jaxsep.simulate._noise import hoth_noise
from jaxsep.simulate._rooms import RandomRoom
from jaxsep.simulate._simulation import Example, checked
from jaxsep.typing import Array, Key


class _Place(NamedTuple):
  """Samples of two speakers, `[2]` each, and whether their levels are set."""

  kept: Array  # What is taken from the start of each utterance.
  start: Array  # Where it starts in the mixture.
  level_start: Array  # Where its level is measured.
  level_end: Array
  has_sir: Array


@dataclasses.dataclass(frozen=True)
class OverlapSimulation:
  """One or two speakers that overlap in one of four ways, in a noisy room.

  Called as `Simulation`. The defaults are those of the program that the authors
  of LibriCSS published, but that levels are root mean squares, not means of
  magnitudes: of reverberant speakers, over their samples of a mixture or the
  part of it that is named below.

  Attributes:
    sample_rate_hz: Sample rate of all signals.
    one_speaker_probability: Share of the examples with the first speaker alone.
    overlap_weights: How often each way of overlapping is, for "full": both
      start at 0, levels are those where both speak; "partial": the second
      starts before the first has ended, levels are those of the whole; "inner":
      a part of the shorter one within the longer one, levels are those of this
      part; "disjoint": one after the other, at the levels they have.
    min_overlap_s: Least overlap of "partial" and "inner", or the whole of a
      shorter utterance.
    max_inner_ratio: Largest part of the longer speaker that the other covers.
    max_gap_s: Longest gap of "disjoint".
    sir_db: Level of the first speaker above the second.
    room: Draws the responses of examples that bring no "rir"; None leaves them
      dry.
    noise_snr_db: Level of all speech together above "noise"; None leaves it
      out, even where there is one.
    isotropic_snr_db: The same for `hoth_noise`; None leaves it out.
    peak: Largest sample of the mixture; None leaves all levels.

  Raises:
    ValueError: If an option is not one of those above.

  Example:
    >>> simulation = OverlapSimulation(8000, one_speaker_probability=1.0)
    >>> sources, length = jnp.ones((2, 80)), jnp.array([60, 80])
    >>> example = jax.jit(simulation)(
    ...   jax.random.key(0), {"sources": sources, "length": length})
    >>> print(example["length"], example["num_sources"])
    60 1
  """

  sample_rate_hz: int
  _: dataclasses.KW_ONLY
  one_speaker_probability: float = 0.08
  overlap_weights: tuple[float, float, float, float] = (0.6, 0.15, 0.15, 0.1)
  min_overlap_s: float = 0.4
  max_inner_ratio: float = 0.8
  max_gap_s: float = 1.5
  sir_db: Range = (-5.0, 5.0)
  room: RandomRoom | None = None
  noise_snr_db: Range | None = (0.0, 20.0)
  isotropic_snr_db: Range | None = (10.0, 20.0)
  peak: Range | None = (0.1, 0.3)

  def __post_init__(self):
    for name in ("sir_db", "noise_snr_db", "isotropic_snr_db", "peak"):
      if (span := getattr(self, name)) is not None:
        object.__setattr__(self, name, _levels.ends(name, span))
    weights = tuple(map(float, self.overlap_weights))
    object.__setattr__(self, "overlap_weights", weights)
    if len(weights) != 4 or min(weights) < 0 or sum(weights) == 0:
      raise ValueError(
        f"overlap_weights {weights} must be four numbers from 0 on, for full, "
        "partial, inner and disjoint"
      )
    for name in ("one_speaker_probability", "max_inner_ratio"):
      if not 0 <= getattr(self, name) <= 1:
        raise ValueError(
          f"{name} {getattr(self, name)} must lie within 0 and 1"
        )
    for name in ("min_overlap_s", "max_gap_s"):
      if not getattr(self, name) >= 0:
        raise ValueError(f"{name} {getattr(self, name)} must not be negative")

  def __call__(self, key: Key, ingredients: Example) -> Example:
    """Mixes one example; batch it with `simulate_batch`.

    Mixtures last T samples at most: speakers in turns are shortened by one
    factor until they fit.

    Args:
      key: Random key of the example.
      ingredients: "sources" `[2, T]`, "length" `[2]` and, if wanted, "rir"
        `[2, R]`, "noise" `[T]`, "noise_rir" `[R]`, and "tokens_length" `[2]`.

    Returns:
      "mixture" `[T]`, "reference" `[2, T]` (reverberant; zero for a speaker who
      is not there), "noise" `[T]`, "length", "start" `[2]` of the speakers,
      "num_sources" and, if given, "tokens_length" `[2]`: 0 for speakers who are
      not there as a whole, as their text is not what is heard.

    Raises:
      ValueError: If the shapes of the ingredients do not fit.
    """
    keys = jax.random.split(key, 8)
    sources, length = checked(ingredients)
    if sources.shape[0] != 2:
      raise ValueError(f"sources {sources.shape} must be [2, T]: two speakers")
    time = sources.shape[-1]
    has_noise = self.noise_snr_db is not None and "noise" in ingredients
    rir, noise_rir = ingredients.get("rir"), ingredients.get("noise_rir")
    if rir is None and self.room is not None:
      rate_hz = self.sample_rate_hz
      drawn = self.room(keys[0], 2 + has_noise, sample_rate_hz=rate_hz)
      rir, noise_rir = drawn[:2], drawn[2] if has_noise else None

    is_alone = jax.random.bernoulli(keys[1], self.one_speaker_probability)
    place = self._place(keys[2], keys[3], length, is_alone, time)
    end = jnp.max(place.start + place.kept)
    valid = _placement.valid_samples(end, time)
    image = sources * _placement.valid_samples(place.kept, time)
    image = jax.vmap(_placement.delayed)(image, place.start)
    if rir is not None:
      image = _reverb.reverberate(image, jnp.asarray(rir))[0] * valid[None]

    power = _power(image, place.level_start, place.level_end)
    sir_db = _levels.uniform(keys[4], self.sir_db)
    gain = _ratio(power[0], power[1]) * dsp.db_to_amplitude(-sir_db)
    gain = jnp.where(place.has_sir, gain, 1.0)
    image = image * jnp.stack([jnp.ones(()), gain])[:, None]

    speech = jnp.sum(image, axis=0)
    noise = jnp.zeros(time)
    if has_noise:
      directed = jnp.asarray(ingredients["noise"], jnp.float32)
      if noise_rir is not None:
        directed = dsp.fft_convolve(directed, jnp.asarray(noise_rir))[:time]
      noise += self._below(keys[5], speech, directed * valid, self.noise_snr_db)
    if self.isotropic_snr_db is not None:
      quiet_key, snr_key = jax.random.split(keys[6])
      quiet = hoth_noise(quiet_key, time, sample_rate_hz=self.sample_rate_hz)
      noise += self._below(
        snr_key, speech, quiet * valid, self.isotropic_snr_db
      )
    parts = {"mixture": speech + noise, "reference": image, "noise": noise}
    if self.peak is not None:
      top = jnp.max(jnp.abs(parts["mixture"]))
      wanted = _levels.uniform(keys[7], self.peak)
      common = wanted / jnp.where(top > 0, top, 1.0)
      parts = {name: common * part for name, part in parts.items()}
    if "tokens_length" in ingredients:
      is_whole = (place.kept == length).astype(jnp.int32)
      parts["tokens_length"] = is_whole * ingredients["tokens_length"]
    return parts | {
      "length": end,
      "start": place.start,
      "num_sources": 2 - is_alone.astype(jnp.int32),
    }

  def filtered(self, signals: Array, length: Array | int) -> Array:
    """Signals that are mixed already, as they are: see `Simulation`."""
    del length
    return signals

  def _below(self, key, speech, noise, snr_db):
    """The noise as far below the speech as drawn, both `[T]`."""
    ratio = _ratio(jnp.sum(speech**2), jnp.sum(noise**2))
    snr_db = _levels.uniform(key, snr_db)
    return ratio * dsp.db_to_amplitude(-snr_db) * noise

  def _place(self, kind_key, key, length, is_alone, time):
    """Where two speakers of these lengths `[2]` are, within T samples."""
    kinds = [
      make(key, jnp.minimum(length, time), time)
      for make in (self._full, self._partial, self._inner, self._disjoint)
    ]
    # One at a time: the fields of the four, then the one that is drawn.
    stacked = jax.tree.map(lambda *values: jnp.stack(values), *kinds)
    weights = jnp.log(jnp.array(self.overlap_weights))
    kind = jax.random.categorical(kind_key, weights)
    drawn = jax.tree.map(lambda values: values[kind], stacked)
    nothing = jnp.zeros(2, jnp.int32)
    first = jnp.array([1, 0]) * jnp.minimum(length, time)
    alone = _Place(first, nothing, nothing, first, jnp.array(False))
    return jax.tree.map(
      lambda one, two: jnp.where(is_alone, one, two), alone, drawn
    )

  def _full(self, key, length, time):
    del key, time
    start, end = jnp.zeros(2, jnp.int32), jnp.full(2, jnp.min(length))
    return _Place(length, start, start, end, jnp.array(True))

  def _partial(self, key, length, time):
    overlap = self._overlap(key, jnp.min(length))
    kept = _fitting(length, time + overlap)
    overlap = jnp.minimum(overlap, jnp.min(kept))
    start = jnp.stack([jnp.zeros_like(overlap), kept[0] - overlap])
    return _Place(kept, start, start, start + kept, jnp.array(True))

  def _inner(self, key, length, time):
    del time
    length_key, start_key = jax.random.split(key)
    largest = (self.max_inner_ratio * jnp.max(length)).astype(jnp.int32)
    overlap = self._overlap(length_key, jnp.minimum(largest, jnp.min(length)))
    is_outer = jnp.arange(2) == jnp.argmax(length)
    room = jnp.max(length) - overlap
    begin = jax.random.randint(start_key, (), 0, room + 1)
    return _Place(
      jnp.where(is_outer, length, overlap),
      jnp.where(is_outer, 0, begin),
      jnp.full(2, begin),
      jnp.full(2, begin + overlap),
      jnp.array(True),
    )

  def _disjoint(self, key, length, time):
    gap = jax.random.uniform(key) * self.max_gap_s * self.sample_rate_hz
    gap = jnp.minimum(jnp.round(gap).astype(jnp.int32), time // 4)
    kept = _fitting(length, time - gap)
    start = jnp.stack([jnp.zeros_like(gap), kept[0] + gap])
    return _Place(kept, start, start, start + kept, jnp.array(False))

  def _overlap(self, key, longest):
    """Samples of an overlap, `longest` at most."""
    least = round(self.min_overlap_s * self.sample_rate_hz)
    least = jnp.minimum(least, longest)
    return jax.random.randint(key, (), least, longest + 1)


def _fitting(length, total):
  """Lengths that are shortened alike until their sum is at most `total`."""
  factor = jnp.minimum(1.0, total / jnp.maximum(jnp.sum(length), 1))
  # A factor of 1 leaves lengths exactly as they are.
  return jnp.floor(factor * length).astype(jnp.int32)


def _power(signals, start, end):
  """Mean power of parts of signals `[S, T]`, from and to samples `[S]`."""
  time = signals.shape[-1]
  before_end = _placement.valid_samples(end, time)
  part = before_end - _placement.valid_samples(start, time)
  count = jnp.maximum(end - start, 1)
  return jnp.sum(jnp.square(signals) * part, axis=-1) / count


def _ratio(one, other):
  """Root of a ratio of powers; 0 where the other one is silent."""
  is_silent = other == 0
  return jnp.where(
    is_silent, 0.0, jnp.sqrt(one / jnp.where(is_silent, 1.0, other))
  )
