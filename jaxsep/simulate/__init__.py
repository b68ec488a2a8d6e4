"""Ingredients in, mixtures out: pure functions of one example and one key."""

from jaxsep.simulate._examples import fixed_examples, simulate_batch
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

__all__ = [
  "active_rms",
  "early_response",
  "fixed_examples",
  "headroom_gain",
  "make_simulator",
  "noise_gain",
  "place_max",
  "place_min",
  "place_partial",
  "reverberate",
  "shift",
  "simulate_batch",
  "talker_gains",
]
