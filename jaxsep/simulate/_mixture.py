"""From the ingredients of one example to its mixture and references."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxsep import dsp
from jaxsep.simulate import _levels, _overlap, _reverb
from jaxsep.simulate._filters import Filter
from jaxsep.simulate._levels import Range
from jaxsep.typing import Array, Key

Example = dict[str, Array]

_OVERLAPS = ("min", "max", "partial")


def make_simulator(
  *,
  overlap: str = "min",
  overlap_ratio: Range = (0.0, 1.0),
  snr_db: Range = (-5.0, 5.0),
  gain_db: Range = 0.0,
  level_db: float | int | None = -25.0,
  mixture_gain_db: Range = 0.0,
  flip_polarity: bool = False,
  noise_snr_db: Range | None = None,
  early_ms: float | int | None = None,
  source_filter: Filter | None = None,
  sample_rate_hz: int | None = None,
  peak: float | int | None = 0.9,
) -> Callable[[Key, Example], Example]:
  """Makes a function that mixes one example on the device.

  Everything random is uniform and drawn from one key; a range is `(low, high)`
  or a single number. The defaults follow WSJ0-2mix: equal active levels, then
  up to 5 dB between two talkers, cut to the shorter one.

  Args:
    overlap: "min" cuts to the shortest talker, "max" pads to the longest,
      "partial" lets each talker fall in before the last has ended.
    overlap_ratio: Shared part of two neighbours where `overlap` is "partial".
    snr_db: Level of the first talker above each other one.
    gain_db: Further gain of each talker on its own.
    level_db: Active level of each talker before the random part, in dB of full
      scale; None keeps the levels of the recordings.
    mixture_gain_db: Gain of everything together.
    flip_polarity: Turn the sign of each talker with probability one half.
    noise_snr_db: Active level of all talkers together above the noise; None
      leaves the noise out, even where there is one.
    early_ms: Where there is a room response, the target ends so long after the
      direct sound; None makes the reverberant talker the target.
    source_filter: Filters each talker as it stands in the mixture, after room
      and level, and so the mixture and the references alike; the noise too.
      Levels are those before the filter: what comes out is the mixture that
      would have been, filtered. None leaves all frequencies.
    sample_rate_hz: Needed with `early_ms` and `source_filter`.
    peak: Largest sample allowed in the mixture and its parts; they are turned
      down together. None allows any.

  Returns:
    `simulate(key, ingredients)`, pure, for one example; batch it with `vmap`.
    `ingredients` holds "sources" `[S, T]`, "length" `[S]` (valid samples) and,
    if wanted, "noise" `[T]` and "rir" `[S, R]`. The result holds "mixture"
    `[T]`, "reference" `[S, T]`, "length" (int32 number; all is zero past it),
    "noise" `[T]` if noise was added, and "late" `[T]` if `early_ms` is set and
    there is a room response: what the room adds to the targets. The mixture is
    the sum of the references, the noise and the late part.

  Raises:
    ValueError: If an option is not one of those above.

  Example:
    >>> simulate = make_simulator(level_db=None, snr_db=0.0)
    >>> sources = jnp.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.0]])
    >>> ingredients = {"sources": sources, "length": jnp.array([3, 2])}
    >>> example = simulate(jax.random.key(0), ingredients)
    >>> print(example["mixture"].round(2), example["length"])
    [0.5 0.7 0. ] 2
  """
  if overlap not in _OVERLAPS:
    raise ValueError(f"overlap {overlap!r} must be one of {_OVERLAPS}")
  low, high = _levels.check_span(overlap_ratio, "overlap_ratio")
  if low < 0 or high > 1:
    raise ValueError(f"overlap_ratio {overlap_ratio} must lie within 0 and 1")
  for name, span in (
    ("snr_db", snr_db),
    ("gain_db", gain_db),
    ("mixture_gain_db", mixture_gain_db),
    ("noise_snr_db", 0.0 if noise_snr_db is None else noise_snr_db),
  ):
    _levels.check_span(span, name)
  if peak is not None and peak <= 0:
    raise ValueError(f"peak {peak} must be positive, or None for no limit")
  early_length = _early_length(early_ms, sample_rate_hz)
  filtered = _make_filtered(source_filter, sample_rate_hz)

  def simulate(key: Key, ingredients: Example) -> Example:
    place_key, level_key, noise_key, gain_key = jax.random.split(key, 4)
    sources, length = _checked(ingredients)
    if overlap == "partial":
      placed, end = _overlap.place_partial(
        place_key, sources, length, overlap_ratio=overlap_ratio
      )
    else:
      place = {"min": _overlap.place_min, "max": _overlap.place_max}[overlap]
      placed, end = place(sources, length)
    valid = _levels.valid_samples(end, sources.shape[-1])

    image, reference = placed, placed
    if ingredients.get("rir") is not None:
      image, reference = _reverb.reverberate(
        placed, jnp.asarray(ingredients["rir"]), early_length=early_length
      )
      image, reference = image * valid[None], reference * valid[None]

    # Levels are those of the talkers in the room, as the mixture has them.
    gains = _levels.talker_gains(
      level_key,
      image,
      level_db=level_db,
      snr_db=snr_db,
      gain_db=gain_db,
      flip_polarity=flip_polarity,
    )
    image, reference = image * gains[:, None], reference * gains[:, None]
    talkers = jnp.sum(image, axis=0)
    # Without a room the two are one, and the compiler filters once.
    image, reference = filtered(image, valid), filtered(reference, valid)
    parts = {"mixture": jnp.sum(image, axis=0), "reference": reference}
    if early_length is not None and ingredients.get("rir") is not None:
      parts["late"] = jnp.sum(image - reference, axis=0)
    if noise_snr_db is not None and ingredients.get("noise") is not None:
      noise = jnp.asarray(ingredients["noise"]) * valid
      gain = _levels.noise_gain(noise_key, talkers, noise, snr_db=noise_snr_db)
      parts["noise"] = filtered(gain * noise, valid)
      parts["mixture"] = parts["mixture"] + parts["noise"]

    common = dsp.db_to_amplitude(_levels.uniform(gain_key, mixture_gain_db))
    parts = {name: common * part for name, part in parts.items()}
    if peak is not None:
      down = _levels.headroom_gain(*parts.values(), peak=peak)
      parts = {name: down * part for name, part in parts.items()}
    return {**parts, "length": end}

  return simulate


def _make_filtered(source_filter, sample_rate_hz):
  """The function of signals and the mask of their samples that filters."""
  if source_filter is None:
    return lambda signals, valid: signals
  if sample_rate_hz is None:
    raise ValueError(f"source_filter {source_filter} needs sample_rate_hz")
  dsp.band_edges(
    source_filter.band,
    source_filter.cutoff_hz,
    sample_rate_hz=sample_rate_hz,
  )

  def filtered(signals, valid):
    # What rings past the end of the mixture is cut off again.
    mask = valid.reshape((1,) * (signals.ndim - 1) + valid.shape)
    return mask * source_filter(signals, sample_rate_hz=sample_rate_hz)

  return filtered


def _early_length(early_ms, sample_rate_hz):
  """The early part in samples."""
  if early_ms is None:
    return None
  if sample_rate_hz is None or sample_rate_hz <= 0 or early_ms < 0:
    raise ValueError(
      f"early_ms={early_ms} needs a positive sample_rate_hz, not"
      f" {sample_rate_hz}, and must not be negative"
    )
  return round(early_ms * sample_rate_hz / 1000)


def _checked(ingredients):
  """Sources and lengths of one example."""
  sources = jnp.asarray(ingredients["sources"])
  length = jnp.asarray(ingredients["length"])
  if sources.ndim != 2 or length.shape != sources.shape[:1]:
    raise ValueError(
      f"sources {sources.shape} and length {length.shape} must be [S, T] and"
      " [S]: one example; batch the simulator with jax.vmap"
    )
  time = sources.shape[-1]
  for name, wanted in (("noise", (time,)), ("rir", sources.shape[:1])):
    part = ingredients.get(name)
    if part is not None and jnp.shape(part)[: len(wanted)] != wanted:
      raise ValueError(
        f"{name} {jnp.shape(part)} does not fit sources {sources.shape}"
      )
  return sources, length
