"""Ingredients in, mixtures out: pure functions of one example and one key."""

from jaxsep.simulate._absorption import image_absorption, sabine_absorption
from jaxsep.simulate._batch import simulate_batch
from jaxsep.simulate._filters import Filter
from jaxsep.simulate._levels import Range, active_rms
from jaxsep.simulate._noise import hoth_noise
from jaxsep.simulate._overlap import OverlapSimulation
from jaxsep.simulate._reverb import reverberate
from jaxsep.simulate._rooms import RandomRoom
from jaxsep.simulate._shoebox import shoebox_rir
from jaxsep.simulate._simulation import Simulation
from jaxsep.simulate._spec_augment import SpecAugment
from jaxsep.simulate._tones import (
  alternating_tones,
  burst_length,
  gap_starts,
  mute,
)

__all__ = [
  "Filter",
  "OverlapSimulation",
  "RandomRoom",
  "Range",
  "Simulation",
  "SpecAugment",
  "active_rms",
  "alternating_tones",
  "burst_length",
  "gap_starts",
  "hoth_noise",
  "image_absorption",
  "mute",
  "reverberate",
  "sabine_absorption",
  "shoebox_rir",
  "simulate_batch",
]
