"""Reads the mixtures that a model is evaluated on, and scores it on them.

A set is a fixed list of mixtures, a corpus of mixtures, or mixtures drawn from
a corpus of utterances; all are finite, and the same at every call.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from data_pipelines import mixture_lists
from data_pipelines.batches import batches
from data_pipelines.examples import PremixedWhole
from experiments.command import Parser
from experiments.data import check_num_sources
from experiments.rows import Row, write
from jaxsep import audio, metrics, simulate
from jaxsep.tasks import Keys

#: A model is compiled for every length there is: some two seconds for each.
MOST_LENGTHS = 100
_MULTIPLES_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


def add_set_flags(parser: Parser) -> None:
  """Adds the flags that name mixtures; all are None or False if not given."""
  add = parser.add
  add("mixture_list", help="CSV of fixed mixtures; needs --root.")
  add("root", help="Folder that the list's paths start from.")
  add("corpus", help="Utterances or mixtures as layout:where, such as voices.")
  add("split", help="Split of the corpus; that to test on if not given.")
  add(
    "num_examples",
    type=int,
    least=1,
    help="Mixtures to draw, or to take of those that exist.",
  )
  add(
    "crop_s",
    type=float,
    help="Seconds of each mixture. Of mixtures that exist, shorter ones are "
    "left out.",
  )
  add("batch_size", type=int, least=1, default=4, help="Mixtures at a time: 4.")
  add("cache_dir", help="Where to remember the scan of the corpus.")
  add("overwrite", type=bool, help="Replace files that are there.")


def check_set(flags: Any) -> None:
  """Raises ValueError if flags contradict each other or are not heeded."""
  if flags.mixture_list and flags.corpus:
    raise ValueError("give --mixture_list or --corpus, not both")
  if flags.mixture_list and not flags.root:
    raise ValueError("--mixture_list needs --root, where its files are")
  for name, needed in (
    ("root", "mixture_list"),
    ("split", "corpus"),
    ("cache_dir", "corpus"),
  ):
    if getattr(flags, name) and not getattr(flags, needed):
      raise ValueError(f"--{name} is for a --{needed}, and none is given")
  if flags.crop_s is not None and not flags.crop_s > 0:
    raise ValueError(f"--crop_s is {flags.crop_s:g}, expected more than 0")


def open_mixture_list(path: str, root: str, num_sources: int) -> Any:
  """Opens a CSV list of mixtures whose paths start from `root`."""
  mixtures = mixture_lists.read_list(path)
  check_num_sources(mixtures, num_sources)
  return mixture_lists.open_list(mixtures, root)


def samples_of(mixtures: Any, sample_rate_hz: int) -> np.ndarray:
  """Samples of each mixture of a corpus at some rate."""
  return mixtures.length * sample_rate_hz // mixtures.rate_hz


def choose_rows(
  samples: np.ndarray, *, num_examples: int | None = None, crop: int = 1
) -> np.ndarray:
  """Rows at equal distances, so that all parts of a list have their share.

  All that are not shorter than `crop`, where there are not more.

  Example:
    >>> choose_rows(np.array([9, 9, 2, 9, 9]), num_examples=2, crop=5).tolist()
    [0, 3]
  """
  rows = np.flatnonzero(samples >= crop)
  count = min(num_examples or len(rows), len(rows))
  return rows[np.arange(count) * len(rows) // max(count, 1)]


def finest_multiple(samples: np.ndarray, sample_rate_hz: int) -> int:
  """What to cut mixtures to so that they have at most `MOST_LENGTHS` lengths.

  1, which cuts nothing, where they have no more; a second at most.
  """
  multiples = [1, *(round(s * sample_rate_hz) for s in _MULTIPLES_S)]
  for multiple in multiples:
    if len(np.unique(samples // multiple)) <= MOST_LENGTHS:
      return multiple
  return multiples[-1]


@dataclasses.dataclass(frozen=True)
class Chosen:
  """Some mixtures of those that exist, and how they are read.

  Attributes:
    mixtures: A corpus of mixtures.
    rows: Which of them.
    sample_rate_hz: Rate that they are read at.
    multiple: They are cut down to a multiple of so many samples.
    crop: Or all to this length, in samples, if it is not None.
  """

  mixtures: Any
  rows: np.ndarray
  sample_rate_hz: int
  multiple: int = 1
  crop: int | None = None

  def batches(self, batch_size: int) -> Any:
    """Batches whose "index" counts in `rows`, those of one length together."""
    chosen, rate = self.mixtures.rows(self.rows), self.sample_rate_hz
    if self.crop is not None:
      length = np.minimum(chosen.length, self.crop * chosen.rate_hz // rate)
      chosen = dataclasses.replace(chosen, length=length)
    whole = PremixedWhole(
      chosen,
      sample_rate_hz=rate,
      pad_s=(self.crop or self.multiple) / rate,
    )
    return batches(
      whole,
      batch_size=batch_size,
      num_examples=len(self.rows),
      buckets=whole.buckets,
    )

  def fields(self, index: int) -> Row:
    """What is known of a mixture: its row, its name, and its folders."""
    row = int(self.rows[index])
    folders = {
      str(self.mixtures[f"path_{n + 1}"][row]).split("/", 1)[0]
      for n in range(self.mixtures.num_sources)
      if f"path_{n + 1}" in self.mixtures.columns
    }
    named = {"index": row, "id": str(self.mixtures["name"][row])}
    return named | ({"folders": " ".join(sorted(folders))} if folders else {})

  def caption(self, kept: int) -> str:
    """What was left out, if so many samples of all mixtures were kept."""
    rate = self.sample_rate_hz
    samples = samples_of(self.mixtures, rate)
    if self.crop is not None:
      short = samples < self.crop
      words = f"The first {self.crop / rate:g} s of each mixture"
      if short.any():
        words += f"; {short.sum()} of {len(short)} are shorter and left out"
      return f"{words}."
    total = int(samples[self.rows].sum())
    if kept == total:
      return "Whole mixtures."
    return (
      f"Mixtures are cut down to multiples of {self.multiple / rate:g} s, "
      f"which leaves out {1 - kept / total:.2%} of the audio."
    )


def choose(
  mixtures: Any,
  sample_rate_hz: int,
  *,
  num_examples: int | None = None,
  crop_s: float | None = None,
  length_multiple_s: float | None = None,
) -> Chosen:
  """Chooses mixtures of those that exist.

  Args:
    mixtures: A corpus of mixtures.
    sample_rate_hz: Rate to read them at.
    num_examples: How many; None takes all.
    crop_s: Seconds of each; shorter ones are left out. None takes them whole.
    length_multiple_s: Cut them down to a multiple of this; None cuts as
      little as leaves `MOST_LENGTHS` lengths.
  """
  samples = samples_of(mixtures, sample_rate_hz)
  crop = max(round(crop_s * sample_rate_hz), 1) if crop_s else None
  rows = choose_rows(samples, num_examples=num_examples, crop=crop or 1)
  if not len(rows):
    raise ValueError(
      f"no mixture is {crop_s or 0:g} s long; choose a shorter --crop_s"
    )
  if length_multiple_s is None:
    multiple = finest_multiple(samples[rows], sample_rate_hz)
  else:
    multiple = max(round(length_multiple_s * sample_rate_hz), 1)
  return Chosen(mixtures, rows, sample_rate_hz, multiple, crop)


def evaluate(
  task: Any,
  variables: Any,
  batches: Iterable[dict],
  *,
  make_keys: Callable[[Any], Keys] = Keys.evaluation,
  perceptual: bool = False,
) -> Iterator[tuple[Row, dict[str, np.ndarray]]]:
  """Separates and scores batches.

  Args:
    task: The task with its model.
    variables: All collections of the model.
    batches: Batches of ingredients or of mixtures.
    make_keys: From the indices of a batch to the keys of the simulation.
    perceptual: Whether to compute STOI and PESQ too, on the CPU.

  Yields:
    For every mixture a row: its `index`, its length in `samples`, the mean
    over the sources of every value of `metrics.separation_scores`, and
    `si_sdr_1` ... of each source. Beside it the signals: `mixture` `[T]`,
    `estimate` and `reference` `[S, T]`, the estimates in the order of the
    references.
  """

  @jax.jit
  def separate(variables, batch):
    keys = make_keys(batch["index"])
    signals = task.separate(variables, batch, keys=keys)
    length = batch["length"]
    if "sources" in batch and task.simulation is not None:
      length = simulate.simulate_batch(
        task.simulation, batch, keys=keys.examples
      )["length"]
    elif "sources" in batch:
      length = length.max(axis=-1)
    return signals, length

  for batch in batches:
    mask = batch.get("mask", np.ones(len(batch["index"]), bool))
    signals, length = jax.device_get(separate(variables, batch))
    values = metrics.separation_scores(
      signals["estimate"],
      signals["reference"],
      signals["mixture"],
      length=length,
    )
    for i in np.flatnonzero(mask):
      heard = {n: x[i, ..., : length[i]] for n, x in signals.items()}
      row: Row = {"index": int(batch["index"][i]), "samples": int(length[i])}
      row |= {n: float(np.mean(value[i])) for n, value in values.items()}
      if perceptual:
        row |= _perceptual_scores(heard, task.sample_rate_hz)
      for source, value in enumerate(values["si_sdr"][i]):
        row[f"si_sdr_{source + 1}"] = float(value)
      yield row, heard


def _perceptual_scores(signals, sample_rate_hz):
  """STOI and PESQ of the estimates and of the mixture, means over sources."""
  reference, row = signals["reference"], {}
  mixture = np.broadcast_to(signals["mixture"], reference.shape)
  for name, metric in (("stoi", metrics.stoi), ("pesq", metrics.pesq)):
    for prefix, signal in (("", signals["estimate"]), ("mixture_", mixture)):
      values = metric(signal, reference, sample_rate_hz=sample_rate_hz)
      row[f"{prefix}{name}"] = float(np.mean(values))
  return row


def write_examples(
  folder: pathlib.Path,
  examples: Sequence[tuple[Row, dict[str, np.ndarray]]],
  *,
  sample_rate_hz: int,
) -> None:
  """Writes what `evaluate` yielded: a folder of audio each, and their rows."""
  for row, signals in examples:
    place = folder / f"example_{row['index']}"
    place.mkdir(parents=True, exist_ok=True)
    files = {"mixture": signals["mixture"]}
    for name in ("estimate", "reference"):
      for number, signal in enumerate(signals[name], 1):
        files[f"{name}_{number}"] = signal
    for name, signal in files.items():
      audio.write(place / f"{name}.wav", signal, sample_rate_hz=sample_rate_hz)
  write(folder / "scores.csv", [row for row, _ in examples])
