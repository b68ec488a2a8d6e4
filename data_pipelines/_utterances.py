"""Who speaks in the built-in voices, what they say, and how it moves."""

import dataclasses

import numpy as np

from data_pipelines._lexicon import COLUMNS, KINDS, SENTENCES, word_segments

#: Rate of the control tracks.
CONTROL_HZ = 400
#: Lowest and highest mean pitch of a speaker.
PITCH_RANGE_HZ = (85.0, 260.0)

_NEUTRAL_HZ = np.array([500.0, 1500.0, 2500.0])
_FORMANTS = slice(COLUMNS.index("f1_hz"), COLUMNS.index("f3_hz") + 1)
_EXCITATIONS = slice(COLUMNS.index("voicing"), COLUMNS.index("frication") + 1)
_PITCH_LIMITS_HZ = (60.0, 400.0)


@dataclasses.dataclass(frozen=True)
class Speaker:
  """What stays the same in everything that one speaker says."""

  f0_hz: float  # Mean pitch.
  range_semitones: float  # Size of the pitch movements.
  jitter: float  # Deviation of a pulse from its place, in pitch periods.
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

  Low voices have longer vocal tracts on average; within each of the two groups
  pitch and tract are independent.
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


@dataclasses.dataclass(frozen=True)
class Utterance:
  """Segments in the order in which they are said."""

  text: str  # The words, separated by blanks.
  targets: np.ndarray  # Of the segments, shape `[segments, len(COLUMNS)]`.
  ends_s: np.ndarray  # End time of each segment.
  stress: np.ndarray  # 1 in stressed vowels of words that carry an accent.
  phrase: np.ndarray  # Number of the phrase of each segment, -1 in pauses.

  @property
  def duration_s(self) -> float:
    """Duration of the whole."""
    return float(self.ends_s[-1])


@dataclasses.dataclass(frozen=True)
class Tracks:
  """Controls of the synthesis, one value each 1 / `CONTROL_HZ` seconds."""

  f0_hz: np.ndarray  # Pitch, also where nothing is voiced.
  formants_hz: np.ndarray  # First three formants, shape `[frames, 3]`.
  voicing: np.ndarray  # Amplitude of the glottal pulses.
  aspiration: np.ndarray  # Amplitude of noise made at the glottis.
  frication: np.ndarray  # Amplitude of noise made in the mouth.
  centre_hz: np.ndarray  # Where frication is strongest.
  width_hz: np.ndarray  # Bandwidth of frication.
  nasality: np.ndarray  # 1 in nasals, 0 elsewhere.


def _words(rng):
  """Kinds and words without end; a bar may be a pause, a stop is one."""
  while True:
    for kind in SENTENCES[rng.integers(len(SENTENCES))]:
      if kind == "|":
        yield kind, ""
      else:
        yield kind, KINDS[kind][rng.integers(len(KINDS[kind]))]
    yield ".", ""


class _Draft:
  """Segments collected so far."""

  def __init__(self, speaker, rng):
    self.speaker = speaker
    self.rng = rng
    self.rows, self.durations, self.stress, self.phrase = [], [], [], []
    self.total_s = 0.0

  def word_durations(self, word, accented):
    targets, stress = word_segments(word)
    durations = targets[:, 0] * (1.0 + 0.25 * accented * stress)
    durations = durations * np.exp(self.rng.normal(0.0, 0.12, len(stress)))
    return durations / self.speaker.rate

  def add(self, word, durations, accented, phrase):
    targets, stress = word_segments(word)
    self.rows.append(targets)
    self.durations.append(durations)
    self.stress.append(stress * accented)
    self.phrase.append(np.full(len(stress), phrase))
    self.total_s += float(durations.sum())

  def pause(self, lowest_s, highest_s, scale=1.0):
    duration = np.array([self.rng.uniform(lowest_s, highest_s) * scale])
    self.add("sil", duration, 0.0, -1)

  def lengthen(self):
    """Slows the last word down, as speakers do at the end of a phrase."""
    before = self.durations[-1]
    self.durations[-1] = before * np.linspace(1.1, 1.35, len(before))
    self.total_s += float((self.durations[-1] - before).sum())


def compose(
  speaker: Speaker, rng: np.random.Generator, longest_s: float
) -> Utterance:
  """Draws words and their timing until the time is used up."""
  draft, words, phrase = _Draft(speaker, rng), [], 0
  draft.pause(0.02, 0.15)
  pending = None
  for kind, word in _words(rng):
    if not word:
      if words and (kind == "." or rng.random() < 0.5):
        pending = (0.25, 0.55) if kind == "." else (0.12, 0.35)
      continue
    accented = float(kind not in ("determiner", "preposition"))
    durations = draft.word_durations(word, accented)
    # The longest pause, the slower last word and the end must fit in.
    pause_s = pending[1] * speaker.pause_scale if pending else 0.0
    needed_s = pause_s + 1.35 * float(durations.sum()) + 0.1
    if words and pending:
      needed_s += 0.35 * float(draft.durations[-1].sum())
    if draft.total_s + needed_s > longest_s:
      break
    if pending:
      draft.lengthen()
      draft.pause(*pending, scale=speaker.pause_scale)
      phrase, pending = phrase + 1, None
    draft.add(word, durations, accented, phrase)
    words.append(word)
  if words:
    draft.lengthen()
  draft.pause(0.03, 0.1)
  return Utterance(
    text=" ".join(words),
    targets=np.concatenate(draft.rows),
    ends_s=np.cumsum(np.concatenate(draft.durations)),
    stress=np.concatenate(draft.stress),
    phrase=np.concatenate(draft.phrase),
  )


def _smooth(values, width_s):
  """Gaussian smoothing along the first axis; ends are held."""
  width = width_s * CONTROL_HZ
  reach = int(np.ceil(3 * width))
  kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
  kernel /= kernel.sum()
  columns = values.reshape(len(values), -1).T
  columns = np.pad(columns, ((0, 0), (reach, reach)), mode="edge")
  smoothed = [np.convolve(column, kernel, mode="valid") for column in columns]
  return np.stack(smoothed, axis=-1).reshape(values.shape)


def _formant_targets(targets, speaker):
  """Formants that each segment aims at, after the speaker's vocal tract."""
  formants = targets[:, _FORMANTS].copy()
  vowels = targets[:, -1] > 0
  formants[vowels] = _NEUTRAL_HZ + speaker.vowel_space * (
    formants[vowels] - _NEUTRAL_HZ
  )
  places = np.arange(len(formants))
  for column in formants.T:
    known = column > 0
    column[:] = np.interp(places, places[known], column[known])
  return formants * speaker.tract_scale * np.array(speaker.formant_scale[:3])


def _pitch(utterance, speaker, rng, times):
  """Pitch contour: declination, accents, a final fall or rise, drift."""
  starts_s = np.concatenate([[0.0], utterance.ends_s[:-1]])
  contour = np.zeros(len(times))
  for phrase in range(utterance.phrase.max() + 1):
    inside = np.flatnonzero(utterance.phrase == phrase)
    begin_s, end_s = starts_s[inside[0]], utterance.ends_s[inside[-1]]
    place = np.clip((times - begin_s) / (end_s - begin_s), 0.0, 1.0)
    here = (times >= begin_s - 0.06) & (times < end_s + 0.06)
    turn = 0.8 if rng.random() < speaker.rise_probability else -0.5
    last = np.clip((times - end_s + 0.25) / 0.25, 0.0, 1.0) ** 2
    contour = np.where(here, 0.45 - 0.9 * place + turn * last, contour)
  for segment in np.flatnonzero(utterance.stress > 0):
    centre_s = 0.5 * (starts_s[segment] + utterance.ends_s[segment])
    height = rng.normal(0.55, 0.3)
    width_s = rng.uniform(0.05, 0.1)
    contour += height * np.exp(-0.5 * ((times - centre_s) / width_s) ** 2)
  drift = _smooth(rng.normal(0.0, 1.0, len(times)), 0.04)
  contour = _smooth(contour - 0.15, 0.02) + 0.8 * drift
  f0_hz = speaker.f0_hz * 2.0 ** (speaker.range_semitones / 12.0 * contour)
  return np.clip(f0_hz, *_PITCH_LIMITS_HZ)


def make_tracks(
  utterance: Utterance, speaker: Speaker, rng: np.random.Generator
) -> Tracks:
  """Turns segments into control tracks.

  Targets are held during their segment and smoothed, so that neighbours blend
  and short vowels do not reach their target.
  """
  num_frames = int(np.ceil(utterance.duration_s * CONTROL_HZ)) + 1
  times = np.arange(num_frames) / CONTROL_HZ
  index = np.searchsorted(utterance.ends_s, times, side="right")
  index = np.minimum(index, len(utterance.ends_s) - 1)
  held = utterance.targets[index]
  formants = np.log(_formant_targets(utterance.targets, speaker))[index]
  f0_hz = _pitch(utterance, speaker, rng, times)

  # Stressed syllables are louder, and so are high notes; breath runs out.
  level_db = 3.0 * _smooth(utterance.stress[index], 0.04)
  level_db += 6.0 * np.log2(f0_hz / speaker.f0_hz)
  level_db += 20.0 * _smooth(rng.normal(0.0, 1.0, num_frames), 0.1)
  level = 10.0 ** (level_db / 20.0)
  excitations = held[:, _EXCITATIONS]
  voicing = _smooth(excitations[:, 0], 0.008) * level
  noises = _smooth(excitations[:, 1:], 0.004)
  column = dict(zip(COLUMNS, held.T, strict=True))
  # A mouth scales the sounds made in it less than those of the whole tract.
  mouth = np.sqrt(speaker.tract_scale)
  return Tracks(
    f0_hz=f0_hz,
    formants_hz=np.exp(_smooth(formants, speaker.blend_s)),
    voicing=voicing,
    aspiration=noises[:, 0],
    frication=noises[:, 1],
    centre_hz=column["centre_hz"] * mouth,
    width_hz=column["width_hz"],
    nasality=_smooth(column["nasality"], 0.012),
  )
