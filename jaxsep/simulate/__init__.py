"""Ingredients in, mixtures out: pure functions of one example and one key."""

from jaxsep.simulate._examples import fixed_examples, simulate_batch
from jaxsep.simulate._filters import Filter
from jaxsep.simulate._levels import (
  active_rms,
  headroom_gain,
  noise_gain,
  talker_gains,
)
from jaxsep.simulate._mixture import make_simulator
from jaxsep.simulate._overlap import (
  place_max,
  place_min,
  place_partial,
  shift,
)
from jaxsep.simulate._reverb import early_response, reverberate
from jaxsep.simulate._tones import (
  alternating_tones,
  burst_length,
  gap_starts,
  mute,
)

__all__ = [
  "Filter",
  "active_rms",
  "alternating_tones",
  "burst_length",
  "early_response",
  "fixed_examples",
  "gap_starts",
  "headroom_gain",
  "make_simulator",
  "mute",
  "noise_gain",
  "place_max",
  "place_min",
  "place_partial",
  "reverberate",
  "shift",
  "simulate_batch",
  "talker_gains",
]
