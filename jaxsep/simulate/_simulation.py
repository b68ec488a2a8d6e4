"""From the ingredients of one example to its mixture and references."""

import dataclasses

import jax
import jax.numpy as jnp

from jaxsep import dsp
from jaxsep.simulate import _levels, _placement, _reverb
from jaxsep.simulate._filters import Filter
from jaxsep.simulate._levels import Range
from jaxsep.typing import Array, Key

Example = dict[str, Array]

_OVERLAPS = ("min", "max", "partial")
# A pause begins and ends without a click.
_FADE_S = 0.02
_RANGES = (
  "overlap_ratio",
  "snr_db",
  "gain_db",
  "mixture_gain_db",
  "noise_snr_db",
)


@dataclasses.dataclass(frozen=True)
class Simulation:
  """How mixtures are made: a value, called with a key and one example.

  All that is random is uniform and drawn from the key; a range is `(low,
  high)`, and a number stands for both. The defaults follow WSJ0-2mix: equal
  active levels, then up to 5 dB between two speakers, cut to the shorter one;
  but WSJ0-2mix scales every mixture to a peak of 0.9, which here is a limit.
  Signals that are equal in seconds are mixed alike at any sample rate.

  Attributes:
    sample_rate_hz: Sample rate of all signals.
    overlap: "min" cuts to the shortest speaker, "max" pads to the longest,
      "partial" puts the speakers in random order, each starting before the one
      before it has ended; all are shortened alike if that takes too long.
    overlap_ratio: Shared part of the shorter one of two neighbours where
      `overlap` is "partial": 0 (in turns) to 1 (wholly).
    pause_probability: Of each speaker, to be silent for a random span, in one
      of eight cases for the whole mixture. Levels are those without the pause.
    snr_db: Level of the first speaker above each other one.
    gain_db: Further gain of each speaker on its own.
    level_db: Active level (see `active_rms`) of each speaker before the random
      part, in dB of full scale; None keeps the levels of the recordings.
    mixture_gain_db: Gain of everything together.
    flip_polarity: Turn the sign of each speaker with probability one half.
    noise_snr_db: Active level of all speakers together above the noise; None
      leaves the noise out, even where there is one.
    early_ms: Where there is a room impulse response, the target ends so long
      after the direct sound; None makes the reverberant speaker the target.
    source_filter: Filters each speaker as it stands in the mixture, after room
      and level, and so the mixture and the references alike; the noise too.
      Levels are those before the filter, so that the result is the unfiltered
      mixture, filtered. None leaves all frequencies.
    peak: Largest sample allowed in the mixture and its parts; they are turned
      down together. None allows any.

  Raises:
    ValueError: If an option is not one of those above.

  Example:
    >>> simulation = Simulation(8000, level_db=None, snr_db=0.0)
    >>> sources = jnp.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.0]])
    >>> ingredients = {"sources": sources, "length": jnp.array([3, 2])}
    >>> example = simulation(jax.random.key(0), ingredients)
    >>> print(example["mixture"].round(2), example["length"])
    [0.5 0.7 0. ] 2
  """

  sample_rate_hz: int
  _: dataclasses.KW_ONLY
  overlap: str = "min"
  overlap_ratio: Range = (0.0, 1.0)
  pause_probability: float = 0.0
  snr_db: Range = (-5.0, 5.0)
  gain_db: Range = (0.0, 0.0)
  level_db: float | int | None = -25.0
  mixture_gain_db: Range = (0.0, 0.0)
  flip_polarity: bool = False
  noise_snr_db: Range | None = None
  early_ms: float | int | None = None
  source_filter: Filter | None = None
  peak: float | int | None = 0.9

  def __post_init__(self):
    for name in _RANGES:
      if getattr(self, name) is not None:
        # One value for one meaning, so that equal simulations are equal.
        object.__setattr__(self, name, _levels.ends(name, getattr(self, name)))
    if self.sample_rate_hz <= 0:
      raise ValueError(f"sample_rate_hz {self.sample_rate_hz} must be positive")
    if self.overlap not in _OVERLAPS:
      raise ValueError(f"overlap {self.overlap!r} must be one of {_OVERLAPS}")
    low, high = _levels.ends("overlap_ratio", self.overlap_ratio)
    if low < 0 or high > 1:
      raise ValueError(
        f"overlap_ratio {self.overlap_ratio} must lie within 0 and 1"
      )
    if self.peak is not None and self.peak <= 0:
      raise ValueError(f"peak {self.peak} must be positive, or None")
    if not 0 <= self.pause_probability <= 1:
      raise ValueError(
        f"pause_probability {self.pause_probability} must lie within 0 and 1"
      )
    if self.early_ms is not None and self.early_ms < 0:
      raise ValueError(f"early_ms {self.early_ms} must not be negative")
    if self.source_filter is not None:
      chosen, rate = self.source_filter, self.sample_rate_hz
      dsp.band_edges(chosen.band, chosen.cutoff_hz, sample_rate_hz=rate)

  def __call__(self, key: Key, ingredients: Example) -> Example:
    """Mixes one example; batch it with `simulate_batch`.

    Args:
      key: Random key of the example.
      ingredients: "sources" `[S, T]`, "length" `[S]` (valid samples) and, if
        wanted, "noise" `[T]` and "rir" `[S, R]`.

    Returns:
      "mixture" `[T]`, "reference" `[S, T]`, "length" (int32 number; all is zero
      past it), "noise" `[T]` if noise was added, and "late" `[T]` if `early_ms`
      is set and there is a room impulse response: what the room adds to the
      targets. The mixture is the sum of the references, the noise and the late
      part.

    Raises:
      ValueError: If the shapes of the ingredients do not fit.
    """
    place_key, level_key, noise_key, gain_key = jax.random.split(key, 4)
    sources, length = checked(ingredients)
    placed, end = _placement.place(
      place_key,
      sources,
      length,
      overlap=self.overlap,
      overlap_ratio=self.overlap_ratio,
    )
    valid = _placement.valid_samples(end, sources.shape[-1])

    image, reference = placed, placed
    has_room = ingredients.get("rir") is not None
    if has_room:
      image, reference = _reverb.reverberate(
        placed, jnp.asarray(ingredients["rir"]), early_length=self._early_length
      )
      image, reference = image * valid[None], reference * valid[None]

    # Levels are those of the speakers in the room, as the mixture has them.
    gains = _levels.speaker_gains(level_key, image, self)[:, None]
    image, reference = image * gains, reference * gains
    speech = jnp.sum(image, axis=0)
    # Without a room the two are one, and the compiler filters once.
    image, reference = self.filtered(image, end), self.filtered(reference, end)
    if self.pause_probability:
      # Of its own: the placement of sources takes the first two.
      heard = _placement.outside_pauses(
        jax.random.fold_in(place_key, 2),
        image.shape,
        end,
        probability=self.pause_probability,
        fade=_FADE_S * self.sample_rate_hz,
      )
      image, reference = heard * image, heard * reference
    parts = {"mixture": jnp.sum(image, axis=0), "reference": reference}
    if self.early_ms is not None and has_room:
      parts["late"] = jnp.sum(image - reference, axis=0)
    if self.noise_snr_db is not None and ingredients.get("noise") is not None:
      noise = jnp.asarray(ingredients["noise"]) * valid
      gain = _levels.noise_gain(noise_key, speech, noise, self)
      parts["noise"] = self.filtered(gain * noise, end)
      parts["mixture"] = parts["mixture"] + parts["noise"]

    common = _levels.uniform(gain_key, self.mixture_gain_db)
    common = dsp.db_to_amplitude(common)
    parts = {name: common * part for name, part in parts.items()}
    if self.peak is not None:
      down = _levels.headroom_gain(parts.values(), peak=self.peak)
      parts = {name: down * part for name, part in parts.items()}
    return {**parts, "length": end}

  @property
  def _early_length(self):
    """The early part of a room in samples."""
    if self.early_ms is None:
      return None
    return round(self.early_ms * self.sample_rate_hz / 1000)

  def filtered(self, signals: Array, length: Array | int) -> Array:
    """What the simulation does to signals of a mixture that is made already.

    Args:
      signals: Of one example, shape `[..., T]`.
      length: Their valid samples, a number.

    Returns:
      The signals after `source_filter`, zero past `length`, same shape.
    """
    if self.source_filter is not None:
      rate = self.sample_rate_hz
      signals = self.source_filter(signals, sample_rate_hz=rate)
    valid = _placement.valid_samples(length, signals.shape[-1])
    return valid.reshape((1,) * (signals.ndim - 1) + valid.shape) * signals


def checked(ingredients):
  """Sources and lengths of one example."""
  sources = jnp.asarray(ingredients["sources"])
  length = jnp.asarray(ingredients["length"], jnp.int32)
  if sources.ndim != 2 or length.shape != sources.shape[:1]:
    raise ValueError(
      f"sources {sources.shape} and length {length.shape} must be [S, T] and"
      " [S]: one example; mix batches with simulate_batch"
    )
  for name, wanted in (
    ("noise", sources.shape[-1:]),
    ("rir", sources.shape[:1]),
  ):
    part = ingredients.get(name)
    if part is not None and jnp.shape(part)[: len(wanted)] != wanted:
      raise ValueError(
        f"{name} {jnp.shape(part)} does not fit sources {sources.shape}"
      )
  return sources, length
