"""Who speaks in the built-in voices: pitch, vocal tract and manner."""

import dataclasses

import numpy as np

#: Lowest and highest mean pitch of a speaker.
PITCH_RANGE_HZ = (85.0, 260.0)


@dataclasses.dataclass(frozen=True)
class Speaker:
  """What stays the same in everything that one speaker says."""

  f0_hz: float  # Mean pitch.
  range_semitones: float  # Size of the pitch movements.
  # Deviation of a pulse from its place, in pitch periods; neighbouring
  # periods differ by twice as much.
  jitter: float
  shimmer: float  # Relative deviation of one pulse's amplitude.
  tract_scale: float  # Formants relative to a tract of 17.5 cm.
  formant_scale: tuple[float, ...]  # Own factors of the first five formants.
  vowel_space: float  # How far vowels go from the neutral one; 1 is average.
  bandwidth_scale: float  # Formant bandwidths relative to the average.
  open_quotient: float  # Part of the pitch period with an open glottis.
  asymmetry: float  # Part of the open phase in which the glottis opens.
  tilt_hz: float  # Corner above which the source loses a further 6 dB/octave.
  breathiness: float  # Noise of breath, relative to the level of phonation.
  rate: float  # Speaking rate relative to the average.
  blend_s: float  # How far neighbouring sounds reach into each other.
  pause_scale: float  # Length of pauses relative to the average.
  rise_probability: float  # Share of phrases that end with a rise.


def draw_speaker(rng: np.random.Generator) -> Speaker:
  """A speaker at random, with a low or a high voice equally often.

  Low voices go with long vocal tracts, but only on average: the two groups
  overlap in both pitch and tract, and within a group the two are independent.
  """
  low = rng.random() < 0.5
  f0_hz = np.exp(rng.normal(np.log(115.0 if low else 200.0), 0.16))
  rate = np.exp(rng.normal(0.12, 0.13))
  return Speaker(
    f0_hz=float(np.clip(f0_hz, *PITCH_RANGE_HZ)),
    range_semitones=float(rng.uniform(4.0, 9.0)),
    jitter=float(rng.uniform(0.001, 0.005)),
    shimmer=float(rng.uniform(0.01, 0.04)),
    tract_scale=float(rng.normal(1.0 if low else 1.15, 0.045)),
    formant_scale=tuple(rng.normal(1.0, 0.03, 5).tolist()),
    vowel_space=float(rng.uniform(0.85, 1.1)),
    bandwidth_scale=float(rng.uniform(0.8, 1.5)),
    open_quotient=float(rng.uniform(0.45, 0.8)),
    asymmetry=float(rng.uniform(0.64, 0.8)),
    tilt_hz=float(np.exp(rng.uniform(np.log(1500.0), np.log(8000.0)))),
    breathiness=float(np.exp(rng.uniform(np.log(0.01), np.log(0.15)))),
    rate=float(np.clip(rate, 0.8, 1.5)),
    blend_s=float(rng.uniform(0.016, 0.03)),
    pause_scale=float(rng.uniform(0.6, 1.5)),
    rise_probability=float(rng.uniform(0.0, 0.4)),
  )
