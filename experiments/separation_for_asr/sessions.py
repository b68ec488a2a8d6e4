"""Meetings like those of LibriCSS, from any corpus with speakers and text."""

import collections
import dataclasses
import functools
import json
import pathlib
from typing import Any

import jax
import numpy as np
import scipy.signal

from data_pipelines import crops
from jaxsep import audio, simulate

#: Overlap ratio, and the shortest and longest silence in seconds.
CONDITIONS = {
  "0S": (0.0, 0.1, 0.5),
  "0L": (0.0, 2.9, 3.0),
  "OV10": (0.1, 0.1, 1.0),
  "OV20": (0.2, 0.1, 1.0),
  "OV30": (0.3, 0.1, 1.0),
  "OV40": (0.4, 0.1, 1.0),
}

# A segment lasts so long before it ends in the next silence, at most so far
# from the speech.
_SEGMENT_S, _MARGIN_S = 40.0, 0.25
# An overlap leaves this much of a speaker alone with nobody.
_ALONE = 0.05


@dataclasses.dataclass(frozen=True)
class Turn:
  """An utterance in a session: a row of the corpus, from and to samples."""

  row: int
  speaker: str
  start: int
  end: int


def plan(
  corpus: Any,
  condition: str,
  *,
  seconds: float,
  sample_rate_hz: int,
  num_speakers: int = 8,
  seed: int,
) -> list[Turn]:
  """Who says what when; at most two speak at a time, nothing is said twice.

  ValueError if the corpus has too few speakers, or too little of them.
  """
  rng = np.random.default_rng(seed)
  ratio, shortest_s, longest_s = CONDITIONS[condition]
  names = sorted(set(corpus["speaker"]))
  if len(names) < num_speakers:
    raise ValueError(
      f"{corpus.title} has {len(names)} speakers, fewer than the "
      f"{num_speakers} of a session"
    )
  chosen = rng.choice(names, num_speakers, replace=False).tolist()
  rows = {name: np.flatnonzero(corpus["speaker"] == name) for name in chosen}
  rows = {name: rng.permutation(x).tolist() for name, x in rows.items()}
  # The share of the changes of speaker that are overlaps.
  share = min(0.9, 0.2 + 2 * ratio) if ratio else 0.0
  order, length, total = [], [], 0.0
  while total < seconds:
    left = [x for x in rows if rows[x] and (not order or x != order[-1][0])]
    if not left:
      raise ValueError(
        f"{num_speakers} speakers of {corpus.title} last {total:.0f} s, less "
        f"than the {seconds:.0f} s of a session: give more utterances, more "
        "speakers or a shorter session"
      )
    # One of those who spoke least, so that all speak about as often.
    spoken = collections.Counter(name for name, _ in order)
    least = min(spoken[name] for name in left)
    name = str(rng.choice([x for x in left if spoken[x] == least]))
    row = rows[name].pop()
    order.append((name, row))
    size, rate_hz = int(corpus.length[row]), float(corpus.rate_hz[row])
    length.append(crops.resampled_length(size, rate_hz, sample_rate_hz))
    total += length[-1] / sample_rate_hz / (1 + ratio)
    total += (1 - share) * (shortest_s + longest_s) / 2
  length = np.array(length)
  overlap = _overlaps(length, ratio, share, rng)
  silence = rng.uniform(shortest_s, longest_s, len(overlap)) * sample_rate_hz
  later = np.where(overlap > 0, -overlap, silence.astype(int))
  start = np.append(0, np.cumsum(length[:-1] + later))
  return [
    Turn(int(row), name, int(begin), int(begin + samples))
    for (name, row), begin, samples in zip(order, start, length, strict=True)
  ]


def _overlaps(length, ratio, share, rng):
  """Samples that each speaker but the first shares with the one before."""
  # Overlapped time is a share of the time in which anyone speaks.
  wanted = ratio / (1 + ratio) * length.sum()
  overlaps = rng.random(len(length) - 1) < share
  for has_overlap in (overlaps, np.ones_like(overlaps)):
    weight = has_overlap * rng.gamma(2.0, size=len(overlaps))
    # Of a speaker who is overlapped at both ends, each takes half at most.
    sides = np.append(has_overlap, 0) + np.append(0, has_overlap)
    limit = (1 - _ALONE) * length / np.maximum(sides, 1)
    limit = has_overlap * np.minimum(limit[1:], limit[:-1])
    if limit.sum() >= wanted:
      break
  # In proportion to the weights, as far as the limits allow.
  low, high = 0.0, limit.max() / weight[weight > 0].min(initial=1.0)
  for _ in range(60):
    middle = (low + high) / 2
    below = np.minimum(limit, middle * weight).sum() < wanted
    low, high = (middle, high) if below else (low, middle)
  return np.minimum(limit, high * weight).round().astype(int)


def overlap_ratio(turns: list[Turn]) -> float:
  """Time with several speakers relative to the time with any."""
  marks = np.array(
    [(turn.start, 1) for turn in turns] + [(turn.end, -1) for turn in turns]
  )
  marks = marks[np.lexsort((marks[:, 1], marks[:, 0]))]
  active, lasts = np.cumsum(marks[:, 1])[:-1], np.diff(marks[:, 0])
  return float(lasts[active > 1].sum() / lasts[active > 0].sum())


def segments(turns: list[Turn], sample_rate_hz: int) -> list[tuple[int, int]]:
  """Samples from and to which the session is cut, in silences."""
  found, begin, last = [], turns[0].start, turns[0].end
  for turn in turns[1:]:
    is_long = last - begin >= _SEGMENT_S * sample_rate_hz
    if turn.start > last and is_long:
      margin = min(round(_MARGIN_S * sample_rate_hz), (turn.start - last) // 2)
      found.append((begin, last + margin))
      begin = turn.start - margin
    last = max(last, turn.end)
  return [*found, (begin, last)]


def render(
  corpus: Any,
  turns: list[Turn],
  *,
  sample_rate_hz: int,
  snr_db: float,
  has_room: bool = True,
  seed: int,
) -> dict[str, Any]:
  """The signals of a session: "recording" `[T]` and "dry" `[S, T]`.

  All utterances have the same root mean square at their loudspeaker; responses
  of the room have the same energy, times up to 2.5 dB for each speaker.
  """
  rng = np.random.default_rng((seed, 1))
  names = list(dict.fromkeys(turn.speaker for turn in turns))
  room = functools.partial(
    simulate.RandomRoom(), num_sources=len(names), sample_rate_hz=sample_rate_hz
  )
  rirs = np.ones((len(names), 1), np.float32)
  if has_room:
    rirs = np.array(jax.jit(room)(jax.random.key(seed)))
  rirs /= np.linalg.norm(rirs, axis=-1, keepdims=True)
  rirs *= 10 ** (rng.uniform(-2.5, 2.5, (len(names), 1)) / 20)
  end = max(turn.end for turn in turns)
  dry = np.zeros((len(names), end), np.float32)
  recording = np.zeros(end + rirs.shape[-1], np.float32)
  for turn in turns:
    signal = crops.read_row(corpus, turn.row, sample_rate_hz=sample_rate_hz)
    signal = signal / max(np.sqrt(np.mean(signal**2)), 1e-8)
    who = names.index(turn.speaker)
    dry[who, turn.start : turn.end] += signal
    image = scipy.signal.oaconvolve(signal, rirs[who])
    recording[turn.start : turn.start + len(image)] += image
  level = np.sqrt(np.mean(recording[:end] ** 2)) * 10 ** (-snr_db / 20)
  noise = simulate.hoth_noise(
    jax.random.key(seed + 1), len(recording), sample_rate_hz=sample_rate_hz
  )
  recording += level * np.asarray(noise)
  return {"recording": _to_peak(recording), "dry": _to_peak(dry)}


def _to_peak(signal, peak=0.7):
  return peak / np.abs(signal).max() * signal


def write_session(
  root: pathlib.Path,
  corpus: Any,
  condition: str,
  number: int,
  turns: list[Turn],
  *,
  sample_rate_hz: int,
  snr_db: float,
  has_room: bool = True,
  seed: int,
) -> str:
  """Writes a session as LibriCSS is released; returns its name."""
  ratio, shortest, longest = CONDITIONS[condition]
  name = (
    f"overlap_ratio_{100 * ratio:.1f}_sil{shortest}_{longest}"
    f"_session{number}_actual{100 * overlap_ratio(turns):.1f}"
  )
  folder = root / condition / name
  record, words = folder / "record", folder / "transcription"
  for part in ("clean", "record/segments", "record/utterances", words.name):
    (folder / part).mkdir(parents=True, exist_ok=True)
  signals = render(
    corpus,
    turns,
    sample_rate_hz=sample_rate_hz,
    snr_db=snr_db,
    has_room=has_room,
    seed=seed,
  )

  def write(path, signal):
    audio.write(path, signal, sample_rate_hz=sample_rate_hz, encoding="pcm16")

  recording, dry = signals["recording"], signals["dry"]
  write(record / "raw_recording.wav", recording)
  write(folder / "clean" / "mix.wav", _to_peak(dry.sum(axis=0)))
  write(folder / "clean" / "each_spk.wav", dry)
  cuts = segments(turns, sample_rate_hz)
  for index, (start, end) in enumerate(cuts):
    write(record / "segments" / f"segment_{index}.wav", recording[start:end])
  info = ["start_time\tend_time\tspeaker\tutterance_id\ttranscription"]
  texts = []
  for index, turn in enumerate(turns):
    part = recording[turn.start : turn.end]
    write(record / "utterances" / f"utterance_{index}.wav", part)
    text = str(corpus["text"][turn.row])
    utterance = pathlib.PurePath(str(corpus.path[turn.row])).stem
    times = [f"{x / sample_rate_hz:.6f}" for x in (turn.start, turn.end)]
    info.append("\t".join([*times, turn.speaker, utterance, text]))
    texts.append(f"utterance_{index}.wav\t{text}")
  (words / "meeting_info.txt").write_text("\n".join(info) + "\n")
  (words / "utterance_transcription.txt").write_text("\n".join(texts) + "\n")
  # Where the segments are, in samples, for all sessions in one file.
  index_file = root / "all_res.json"
  places = json.loads(index_file.read_text()) if index_file.exists() else {}
  index_file.write_text(json.dumps(places | {name: cuts}))
  return name
