r"""Scores a separator as its users meet it.

That is by `inference.separate`, and a causal one by `inference.stream_blocks`.

  python -m experiments.pretrained.score --model=two_speakers_8k \
    --mixture_list=experiments/harmonic_probes/lists/libri_test_other_2mix.csv \
    --root=LibriSpeech/test-other --noise=NOISES --rirs=ROOMS \
    --output=scores.json

Noises and room impulse responses are folders; without them, their rows are left
out. The conditions, each with the same mixtures of the list:

  two speakers    mean SI-SDR improvement, and that of the worst set of speakers
  in noise        the same with noise 10 dB below the two speakers together
  in a room       the same for reverberant speakers, one room for both
  one speaker     share in which one output is 15 dB below the other
  noise alone     level of the louder output below the noise
  silence         the largest sample of the outputs
"""

import functools
import json
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np
import scipy.signal
import tqdm

from data_pipelines import corpora
from experiments import job, rows
from experiments.command import Parser
from experiments.separation import choose, open_mixture_list
from jaxsep import audio, inference, metrics
from jaxsep.dsp import best_permutation

_NOISE_SNR_DB, _QUIET_DB = 10.0, 15.0
_PADDING = 1 << 15


def signals_of(folder: str, rate_hz: int) -> list[np.ndarray]:
  """The files of a folder at a rate, each `[C, T]`, channels apart."""
  corpus = corpora.open_corpus(f"folder:{folder}")
  return [
    np.asarray(audio.read(corpus.full_path(n), sample_rate_hz=rate_hz)[0])
    for n in range(len(corpus))
  ]


def references_of(chosen: Any) -> Iterator[tuple[rows.Row, np.ndarray]]:
  """What is known of each mixture of a list, and its sources `[S, T]`."""
  for batch in chosen.eval_batches():
    for i in np.flatnonzero(batch.get("mask", [True] * len(batch["index"]))):
      length = int(batch["length"][i]) if "length" in batch else None
      row = chosen.fields(int(batch["index"][i]))
      yield row, np.asarray(batch["reference"])[i, :, :length]


def streamed(loaded: Any, mixture: np.ndarray) -> np.ndarray:
  """The sources `[S, T]` that `jaxsep separate --stream` makes of a file."""
  second = loaded.sample_rate_hz // loaded.model.hop_length
  parts = inference.stream_blocks(
    loaded.model,
    loaded.variables,
    [np.asarray(mixture, np.float32)],
    sample_rate_hz=loaded.sample_rate_hz,
    chunk_length=second * loaded.model.hop_length,
  )
  return np.concatenate(list(parts), axis=1)


def improvement(
  separate: Any, references: np.ndarray, rest: np.ndarray | float = 0.0
) -> float:
  """Mean SI-SDR improvement over a mixture of references and of a rest."""
  mixture = references.sum(0) + rest
  signals = np.stack([*separate(mixture), mixture])
  # Few lengths, each of which is compiled: zeros at the end change no ratio.
  missing = -mixture.size % _PADDING
  signals, references = (
    np.pad(x, ((0, 0), (0, missing))) for x in (signals, references)
  )
  ratio = jax.vmap(jax.vmap(metrics.si_sdr, (None, 0)), (0, None))
  values = np.asarray(ratio(signals, references), np.float64)
  after, before = values[:-1], values[-1]
  order = np.asarray(best_permutation(-after))
  return float(np.mean(after[order, np.arange(len(order))] - before))


def level_db(signal: np.ndarray) -> float:
  """Its RMS in dB, at least -200."""
  return 10 * np.log10(np.mean(np.square(signal, dtype=np.float64)) + 1e-20)


def in_a_room(references: np.ndarray, room: np.ndarray) -> np.ndarray:
  """References `[S, T]` as they arrive from places of a room `[C, R]`."""
  wet = [
    scipy.signal.fftconvolve(reference, room[n % len(room)])
    for n, reference in enumerate(references)
  ]
  wet = np.stack(wet)[:, : references.shape[1]]
  loud = np.sqrt(np.mean(references**2, -1, keepdims=True))
  return wet * loud / (np.sqrt(np.mean(wet**2, -1, keepdims=True)) + 1e-9)


def score(
  separate: Any,
  examples: Iterable[tuple[rows.Row, np.ndarray]],
  noises: list[np.ndarray],
  rooms: list[np.ndarray],
) -> list[rows.Row]:
  """A row for every mixture, with all conditions."""
  table = []
  for row, references in examples:
    number, length = len(table), references.shape[1]
    row["si_sdr_improvement"] = improvement(separate, references)
    quiet, loud = sorted(level_db(x) for x in separate(references[0]))
    row["one_speaker"] = float(loud - quiet >= _QUIET_DB)
    if noises:
      noise = np.resize(noises[number % len(noises)][0], length)
      below = level_db(references.sum(0)) - level_db(noise) - _NOISE_SNR_DB
      noise = noise * 10 ** (below / 20)
      row["in_noise"] = improvement(separate, references, noise)
      louder = max(level_db(x) for x in separate(noise))
      row["noise_alone_db"] = level_db(noise) - louder
    if rooms:
      room = rooms[number % len(rooms)]
      row["in_a_room"] = improvement(separate, in_a_room(references, room))
    table.append(row)
  return table


def summary(table: list[rows.Row]) -> dict[str, float]:
  """The figures of a card."""
  sets = rows.grouped(table, ["folders"]).values()
  found: dict[str, Any] = {
    f"worst of {len(sets)} pairs of speakers, SI-SDRi (dB)": min(
      np.mean([row["si_sdr_improvement"] for row in group]) for group in sets
    )
  }
  for name, title in (
    ("si_sdr_improvement", "two speakers, SI-SDRi (dB)"),
    ("in_noise", f"in noise of {_NOISE_SNR_DB:g} dB, SI-SDRi (dB)"),
    ("in_a_room", "in a room, SI-SDRi (dB)"),
    (
      "one_speaker",
      f"one speaker, other output {_QUIET_DB:g} dB below (share)",
    ),
    ("noise_alone_db", "noise alone, outputs below it (median, dB)"),
  ):
    if values := [row[name] for row in table if name in row]:
      mean = np.median if name.endswith("_db") else np.mean
      found[title] = float(mean(values))
  return {name: round(float(value), 2) for name, value in found.items()}


def run(flags: Any) -> None:
  """Scores and prints."""
  if flags.output:
    output = pathlib.Path(flags.output)
    rows.refuse_existing([output], overwrite=flags.overwrite)
  loaded = job.load_model(flags.model)
  rate = loaded.sample_rate_hz
  mixtures = open_mixture_list(flags.mixture_list, flags.root, 2)
  chosen = choose(mixtures, rate, num_examples=flags.num_examples)
  noises, rooms = (
    signals_of(folder, rate) if folder else []
    for folder in (flags.noise, flags.rirs)
  )
  separate: Any = functools.partial(streamed, loaded)
  if not getattr(loaded.model, "is_causal", False):
    separate = functools.partial(
      inference.separate,
      loaded.model,
      loaded.variables,
      sample_rate_hz=rate,
    )
  total = len(chosen.rows)
  table = score(
    separate, tqdm.tqdm(references_of(chosen), total=total), noises, rooms
  )
  found = summary(table)
  found["silence, largest sample of the outputs"] = float(
    np.abs(separate(np.zeros(rate, np.float32))).max()
  )
  where = pathlib.Path(flags.root).name
  found = {f"{where}: {what}": value for what, value in found.items()}
  print(rows.markdown([{"what": k, "value": v} for k, v in found.items()]))
  if flags.output:
    output.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
  parser = Parser(__doc__)
  model_help = "Folder of a model or run, or a shipped name."
  parser.add("model", required=True, help=model_help)
  list_help = "Fixed mixtures of two speakers."
  parser.add("mixture_list", required=True, help=list_help)
  root_help = "Folder that the list's paths start from."
  parser.add("root", required=True, help=root_help)
  parser.add("num_examples", type=int, least=1, help="Of the list; all.")
  parser.add("noise", help="Folder of noises.")
  parser.add("rirs", help="Folder of room impulse responses.")
  parser.add("output", help="Where to write the figures as JSON.")
  parser.add("overwrite", type=bool, help="Replace the file.")
  parser.run(run)
