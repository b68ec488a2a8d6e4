"""Words and phonemes of the built-in voices.

A phoneme is one or more segments, each with the targets that the vocal tract
aims at while it lasts. Formant targets are for a vocal tract of 17.5 cm, in
Hz; a target of zero means that the sound leaves the formant where its
neighbours put it.
"""

import functools

import numpy as np

#: The columns of a segment.
COLUMNS = tuple(
  "duration_s f1_hz f2_hz f3_hz voicing aspiration frication centre_hz"
  " width_hz nasality vowel".split()
)


def _vowel(duration_s, *targets):
  """One segment for each triple of formants, sharing the duration."""
  share = duration_s / len(targets)
  return [(share, *target, 1.0, 0, 0, 3000, 1000, 0, 1) for target in targets]


def _glide(duration_s, f1_hz, f2_hz, f3_hz, voicing):
  return [(duration_s, f1_hz, f2_hz, f3_hz, voicing, 0, 0, 3000, 1000, 0, 0)]


def _nasal(f2_hz, f3_hz):
  return [(0.070, 270, f2_hz, f3_hz, 0.35, 0, 0, 3000, 1000, 1, 0)]


def _fricative(duration_s, f2_hz, voicing, frication, centre_hz, width_hz):
  f1_hz = 300 if voicing else 400
  noise = (frication, centre_hz, width_hz)
  return [(duration_s, f1_hz, f2_hz, 0, voicing, 0, *noise, 0, 0)]


def _plosive(f2_hz, f3_hz, voiced, centre_hz, width_hz, level):
  """Closure, with a murmur if voiced; burst; breath if voiceless."""
  place = (f2_hz, f3_hz)
  murmur = 0.06 if voiced else 0.0
  segments = [
    (0.070, 220, *place, murmur, 0, 0, centre_hz, width_hz, 0, 0),
    (0.010, 280, *place, murmur, 0, level, centre_hz, width_hz, 0, 0),
  ]
  if not voiced:
    segments.append(
      (0.045, 420, *place, 0, 0.5, 0.2 * level, centre_hz, width_hz, 0, 0)
    )
  return segments


def _affricate(voicing):
  return [
    (0.050, 220, 1800, 2600, 0.1 * voicing, 0, 0, 2800, 1500, 0, 0),
    (0.065, 300, 1850, 2600, 0.35 * voicing, 0, 0.55, 2800, 2000, 0, 0),
  ]


_PHONEMES = {
  # Vowels and diphthongs.
  "iy": _vowel(0.110, (280, 2270, 2980)),
  "ih": _vowel(0.085, (400, 1960, 2560)),
  "eh": _vowel(0.100, (560, 1800, 2500)),
  "ae": _vowel(0.130, (690, 1700, 2430)),
  "aa": _vowel(0.130, (740, 1110, 2450)),
  "ao": _vowel(0.130, (580, 870, 2480)),
  "uh": _vowel(0.085, (440, 1050, 2250)),
  "uw": _vowel(0.110, (310, 900, 2250)),
  "ah": _vowel(0.095, (640, 1220, 2430)),
  "er": _vowel(0.120, (480, 1330, 1680)),
  "ax": _vowel(0.055, (490, 1480, 2500)),
  "ey": _vowel(0.140, (490, 1880, 2550), (330, 2180, 2800)),
  "ay": _vowel(0.160, (730, 1220, 2450), (400, 2000, 2600)),
  "oy": _vowel(0.170, (540, 860, 2450), (400, 1950, 2550)),
  "ow": _vowel(0.140, (530, 1000, 2400), (380, 830, 2300)),
  "aw": _vowel(0.160, (740, 1280, 2450), (440, 950, 2350)),
  # Glides, liquids, nasals.
  "w": _glide(0.060, 300, 640, 2200, 0.45),
  "y": _glide(0.055, 270, 2250, 3000, 0.5),
  "r": _glide(0.065, 340, 1130, 1550, 0.5),
  "l": _glide(0.065, 360, 1050, 2750, 0.4),
  "m": _nasal(1000, 2200),
  "n": _nasal(1550, 2500),
  "ng": _nasal(2050, 2650),
  # Fricatives and affricates.
  "f": _fricative(0.115, 1100, 0, 0.10, 4500, 5000),
  "v": _fricative(0.060, 1100, 0.25, 0.05, 4500, 5000),
  "th": _fricative(0.110, 1400, 0, 0.09, 5200, 5000),
  "dh": _fricative(0.050, 1400, 0.3, 0.04, 5200, 5000),
  "s": _fricative(0.130, 1700, 0, 0.80, 5200, 3000),
  "z": _fricative(0.075, 1700, 0.22, 0.40, 5200, 3000),
  "sh": _fricative(0.130, 1850, 0, 0.75, 2900, 2000),
  "zh": _fricative(0.070, 1850, 0.22, 0.40, 2900, 2000),
  "hh": [(0.060, 0, 0, 0, 0.05, 0.7, 0, 3000, 1000, 0, 0)],
  "ch": _affricate(0.0),
  "jh": _affricate(1.0),
  # Plosives.
  "p": _plosive(850, 2150, False, 900, 2500, 0.5),
  "b": _plosive(850, 2150, True, 900, 2500, 0.35),
  "t": _plosive(1750, 2650, False, 3900, 3500, 0.8),
  "d": _plosive(1750, 2650, True, 3500, 3500, 0.5),
  "k": _plosive(1950, 2250, False, 1900, 1300, 0.8),
  "g": _plosive(1950, 2250, True, 1800, 1300, 0.5),
  # A pause is as long as the speaker makes it.
  "sil": [(0.100, 0, 0, 0, 0, 0, 0, 3000, 1000, 0, 0)],
}

#: Words and their phonemes; a stroke marks the most prominent vowel.
_WORDS = {
  "determiner": """
    the: dh ax; a: ax; my: m 'ay; your: y 'ao r; this: dh 'ih s;
    every: 'eh v r iy; no: n 'ow; her: hh 'er""",
  "number": """
    one: w 'ah n; two: t 'uw; three: th r 'iy; four: f 'ao r; five: f 'ay v;
    six: s 'ih k s; seven: s 'eh v ax n; eight: 'ey t; nine: n 'ay n;
    zero: z 'iy r ow""",
  "adjective": """
    old: 'ow l d; young: y 'ah ng; quiet: k w 'ay ax t; yellow: y 'eh l ow;
    blue: b l 'uw; green: g r 'iy n; early: 'er l iy; heavy: hh 'eh v iy;
    narrow: n 'ae r ow; happy: hh 'ae p iy; broken: b r 'ow k ax n;
    wooden: w 'uh d ax n""",
  "noun": """
    river: r 'ih v er; garden: g 'aa r d ax n; window: w 'ih n d ow;
    teacher: t 'iy ch er; morning: m 'ao r n ih ng; machine: m ax sh 'iy n;
    village: v 'ih l ih jh; music: m y 'uw z ih k; money: m 'ah n iy;
    answer: 'ae n s er; winter: w 'ih n t er; water: w 'ao t er;
    garage: g ax r 'aa zh; body: b 'aa d iy; city: s 'ih t iy;
    house: hh 'aw s; road: r 'ow d; voice: v 'oy s; moon: m 'uw n;
    year: y 'ih r; book: b 'uh k; song: s 'ao ng; boat: b 'ow t;
    lady: l 'ey d iy""",
  "verb": """
    follows: f 'aa l ow z; remembers: r ih m 'eh m b er z;
    carries: k 'ae r iy z; believes: b ih l 'iy v z; opens: 'ow p ax n z;
    watches: w 'aa ch ih z; enjoys: eh n jh 'oy z; loses: l 'uw z ih z;
    wanted: w 'aa n t ih d; found: f 'aw n d; heard: hh 'er d; knew: n 'uw;
    saw: s 'ao; painted: p 'ey n t ih d; borrowed: b 'aa r ow d;
    moved: m 'uw v d""",
  "preposition": """
    under: 'ah n d er; over: 'ow v er; near: n 'ih r; along: ax l 'ao ng;
    behind: b ih hh 'ay n d; without: w ih dh 'aw t; for: f ao r; in: ih n""",
  "adverb": """
    again: ax g 'eh n; slowly: s l 'ow l iy; today: t ax d 'ey;
    usually: y 'uw zh ax l iy; really: r 'iy l iy; alone: ax l 'ow n;
    now: n 'aw; together: t ax g 'eh dh er""",
}

#: Sentences as kinds of words; a bar allows a pause.
SENTENCES = tuple(
  tuple(sentence.split())
  for sentence in """determiner noun verb determiner adjective noun
  determiner adjective noun | verb adverb
  determiner noun verb | preposition determiner noun
  adverb | determiner noun verb number noun
  number adjective noun | preposition determiner noun
  determiner noun verb adverb | preposition determiner adjective noun
  number number | number number number""".splitlines()
)

_ENTRIES = {
  kind: [entry.split(":") for entry in words.split(";")]
  for kind, words in _WORDS.items()
}

#: Words of each kind.
KINDS = {
  kind: tuple(word.strip() for word, _ in entries)
  for kind, entries in _ENTRIES.items()
}

#: Word -> phonemes, the stressed vowel marked with a stroke.
PRONUNCIATIONS = {
  word.strip(): tuple(phonemes.split())
  for entries in _ENTRIES.values()
  for word, phonemes in entries
}

_SEGMENTS = {
  name: np.array(rows, np.float64) for name, rows in _PHONEMES.items()
}


@functools.cache
def word_segments(word):
  """Targets [segments, columns] and stress [segments] of a word or phoneme."""
  targets, stress = [], []
  for phoneme in PRONUNCIATIONS.get(word, (word,)):
    rows = _SEGMENTS[phoneme.lstrip("'")]
    targets.append(rows)
    stress += [float(phoneme.startswith("'"))] * len(rows)
  targets, stress = np.concatenate(targets), np.array(stress)
  targets.setflags(write=False)
  stress.setflags(write=False)
  return targets, stress
