"""Evaluates models that separate: sets of mixtures, scores, audio.

A set is a fixed list of mixtures, a corpus of mixtures, or mixtures drawn from
a corpus of utterances; all are finite, and the same at every call.
"""

import dataclasses
import importlib.util
import pathlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar

import jax
import numpy as np

from data_pipelines import mixture_lists
from data_pipelines.batches import batches
from data_pipelines.examples import PremixedWhole
from data_pipelines.files import read_text
from experiments import data as data_lib
from experiments import options, rows
from experiments.evaluation import Evaluation, examples_of
from experiments.rows import Row
from jaxsep import audio, inference, metrics
from jaxsep.tasks import Keys

#: Of mixtures that are drawn, where flags do not say.
_NUM_EXAMPLES, _CROP_S = 300, 4.0


def add_set_flags(add: Callable[..., None]) -> None:
  """Adds the flags that name mixtures; all are None or False if not given."""
  add("mixture_list", help="Fixed mixtures, also LibriMix's and WSJ0's lists.")
  add("root", help="Folder that the list's paths start from.")
  add("corpus", help="Utterances or mixtures as layout:where, such as voices.")
  add("split", help="Split of the corpus; that to test on if not given.")
  add("num_examples", type=int, least=1, help="Mixtures to draw or to take.")
  add("crop_s", type=float, help="Seconds of each; leaves shorter files out.")
  add("batch_size", type=int, least=1, default=4, help="Mixtures at a time: 4.")
  add("cache_dir", help="Where to remember the scan of the corpus.")


def check_set(flags: Any) -> None:
  """Raises ValueError if flags contradict each other or would be ignored."""
  if flags.mixture_list and flags.corpus:
    raise ValueError("give --mixture_list or --corpus, not both")
  if flags.mixture_list and not flags.root:
    raise ValueError("--mixture_list needs --root, where its files are")
  for name, needed in (
    ("root", "mixture_list"),
    ("split", "corpus"),
    ("cache_dir", "corpus"),
    ("mode", "corpus"),
    ("mixture", "corpus"),
  ):
    if getattr(flags, name, None) and not getattr(flags, needed):
      raise ValueError(f"--{name} is for a --{needed}, and none is given")
  if flags.crop_s is not None and not flags.crop_s > 0:
    raise ValueError(f"--crop_s is {flags.crop_s:g}, expected more than 0")


def open_mixture_list(path: str, root: str, num_sources: int) -> Any:
  """Opens a list of mixtures whose paths start from `root`.

  It is one of ours, of LibriMix or of WSJ0-2mix, which its content tells.
  """
  first = read_text(path).lstrip().partition("\n")[0]
  if "mixture_ID" in first.split(","):
    mixtures = mixture_lists.read_librimix(path, root)
  elif "," in first:
    mixtures = mixture_lists.read_list(path)
  else:
    mixtures = mixture_lists.read_wsj0_mix(path, root)
  data_lib.check_num_sources(mixtures, num_sources)
  return mixture_lists.open_list(mixtures, root)


def samples_of(mixtures: Any, sample_rate_hz: int) -> np.ndarray:
  """Samples of each mixture of a corpus at some rate."""
  return mixtures.length * sample_rate_hz // mixtures.rate_hz


@dataclasses.dataclass(frozen=True)
class Chosen:
  """Rows of a corpus of mixtures, whole or all cut to some samples."""

  mixtures: Any
  rows: np.ndarray
  sample_rate_hz: int
  batch_size: int = 4
  crop: int | None = None

  def eval_batches(self) -> Any:
    """Batches of padded mixtures; "index" counts in `rows`."""
    corpus, rate = self.mixtures.rows(self.rows), self.sample_rate_hz
    pad_s = 1.0
    if self.crop is not None:
      # In samples of the files.
      crop = -(-self.crop * corpus.rate_hz // rate)
      length = np.minimum(corpus.length, crop)
      corpus = dataclasses.replace(corpus, length=length)
      pad_s = self.crop / rate
    whole = PremixedWhole(corpus, sample_rate_hz=rate, pad_s=pad_s)
    return batches(
      whole,
      batch_size=self.batch_size,
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

  def caption(self) -> str:
    """What was left out."""
    if self.crop is None:
      return "Whole mixtures."
    samples = samples_of(self.mixtures, self.sample_rate_hz)
    words = f"The first {self.crop / self.sample_rate_hz:g} s of each mixture"
    if short := int((samples < self.crop).sum()):
      words += f"; {short} of {len(samples)} are shorter and left out"
    return f"{words}."


def choose(
  mixtures: Any,
  sample_rate_hz: int,
  *,
  num_examples: int | None = None,
  crop_s: float | None = None,
  batch_size: int = 4,
) -> Chosen:
  """Chooses mixtures of those that exist.

  `num_examples` at equal distances, so that all parts of a list have their
  share; None takes all. With `crop_s`, shorter ones are left out.
  """
  samples = samples_of(mixtures, sample_rate_hz)
  crop = max(round(crop_s * sample_rate_hz), 1) if crop_s else None
  long = np.flatnonzero(samples >= (crop or 1))
  if not len(long):
    raise ValueError(
      f"no mixture is {crop_s or 0:g} s long; choose a shorter --crop_s"
    )
  count = min(num_examples or len(long), len(long))
  chosen = long[np.arange(count) * len(long) // count]
  return Chosen(mixtures, chosen, sample_rate_hz, batch_size, crop)


class SeparationEvaluation(Evaluation):
  """An evaluation command of models that separate."""

  titles: ClassVar[dict[str, str]] = {
    "si_sdr": "SI-SDR (dB)",
    "si_sdr_improvement": "SI-SDRi (dB)",
    "si_snr_improvement": "SI-SNRi (dB)",
    "sdr": "SDR (dB)",
    "sdr_improvement": "SDRi (dB)",
    "mixture_si_sdr": "mixture SI-SDR (dB)",
    "mixture_sdr": "mixture SDR (dB)",
    "stoi": "STOI",
    "mixture_stoi": "mixture STOI",
    "pesq": "PESQ",
    "mixture_pesq": "mixture PESQ",
  }

  def usual_config(self, model: Any) -> Any:
    """The config for a --model without a run."""
    raise ValueError("--workdir is missing: the folder of the run")

  def add_flags(self, add: Callable[..., None]) -> None:
    """Adds those of the set, of the scores and of the audio."""
    add_set_flags(add)
    kinds = ["mix_clean", "mix_both", "mix_single"]
    add("mode", choices=["min", "max"], help="Of a --corpus of mixtures; min.")
    add("mixture", choices=kinds, help="Of a --corpus of librimix; mix_clean.")
    add("perceptual", type=bool, help="STOI and PESQ too.")
    add("num_saved", type=int, least=1, help="Mixtures to write as audio.")

  def check(self, flags: Any) -> None:
    """Raises ValueError if flags contradict each other or would be ignored."""
    check_set(flags)
    named = flags.mixture_list or flags.corpus
    if not (flags.model or flags.workdir):
      raise ValueError("name a model by --workdir or --model")
    if not named and not flags.workdir:
      raise ValueError("name what to evaluate on: --mixture_list or --corpus")
    for name in ("num_examples", "crop_s"):
      if getattr(flags, name) is not None and not named:
        raise ValueError(
          f"--{name} is for a --corpus or a --mixture_list; the validation set "
          "of a run is evaluated as it is"
        )
    if flags.num_saved and not (flags.workdir or flags.output):
      raise ValueError(
        "--num_saved needs --output: examples are put next to it"
      )
    for package in ("pystoi", "pesq") if flags.perceptual else ():
      if importlib.util.find_spec(package) is None:
        raise ValueError(
          f"--perceptual needs {package}: pip install jaxsep[eval]"
        )

  def set_name(self, flags: Any) -> str:
    """What the flags evaluate on, as a part of a file's name."""
    if not (flags.mixture_list or flags.corpus):
      return super().set_name(flags)
    parts = [flags.corpus, flags.split, flags.mode, flags.mixture]
    if flags.mixture_list:
      parts = [pathlib.Path(flags.mixture_list).stem]
    counts = {"num": flags.num_examples, "crop": flags.crop_s}
    parts += [f"{n}_{value}" for n, value in counts.items() if value]
    return " ".join(filter(None, parts))

  def make_config(self, flags: Any, loaded: Any) -> Any:
    """The config of the run, or the usual one, for the loaded model."""
    if flags.workdir:
      return super().make_config(flags, loaded)
    config = self.usual_config(loaded.model)
    config.sample_rate_hz = loaded.sample_rate_hz
    config.model = options.options(loaded.model)
    return config

  def open_set(self, flags: Any, config: Any) -> Any:
    """The set that the flags name."""
    rate, num_sources = config.sample_rate_hz, config.model.num_sources
    if not (flags.corpus or flags.mixture_list):
      return super().open_set(flags, config)
    if flags.mixture_list:
      corpus = open_mixture_list(flags.mixture_list, flags.root, num_sources)
    else:
      config.data.update(
        mode=flags.mode,
        mixture=flags.mixture,
        cache_dir=flags.cache_dir,
        num_voices=40,
        num_utterances=10,
        num_valid_examples=flags.num_examples or _NUM_EXAMPLES,
        valid_crop_s=flags.crop_s or _CROP_S,
        batch_size=flags.batch_size,
        seed=0,
      )
      corpus = data_lib.open_corpus(
        flags.corpus,
        sample_rate_hz=rate,
        num_sources=num_sources,
        split=flags.split,
        data=options.build(config.data),
      )
    if not corpus.is_premixed:
      return data_lib.open_drawn(config, corpus)
    data_lib.check_num_sources(corpus, num_sources)
    return choose(
      corpus,
      rate,
      num_examples=flags.num_examples,
      crop_s=flags.crop_s,
      batch_size=flags.batch_size,
    )

  def score(
    self, task: Any, variables: Any, batches: Iterable[dict], **given: Any
  ) -> tuple[list[Row], str]:
    """Rows of `scored`; the first `--num_saved` are written as audio."""
    flags, output, data = (given[n] for n in ("flags", "output", "data"))
    rate = task.sample_rate_hz
    is_chosen = isinstance(data, Chosen)
    table, saved = [], []
    for row, signals in scored(
      task, variables, batches, perceptual=flags.perceptual
    ):
      samples, named = row.pop("samples"), {"index": row.pop("index")}
      if is_chosen:
        named = data.fields(named["index"])
      row = named | {"seconds": round(samples / rate, 4)} | row
      table.append(row)
      if len(saved) < (flags.num_saved or 0):
        saved.append((row, signals))
    table.sort(key=lambda row: row["index"])
    if saved:
      write_examples(examples_of(output), saved, sample_rate_hz=rate)
    captions = [rows.spread(table), data.caption() if is_chosen else ""]
    text = rows.summary(table, self.titles)
    return table, text + "\n\n" * any(captions) + " ".join(
      filter(None, captions)
    )


def scored(
  task: Any,
  variables: Any,
  batches: Iterable[dict],
  *,
  perceptual: bool = False,
) -> Iterator[tuple[Row, dict[str, np.ndarray]]]:
  """Separates and scores batches of ingredients or of mixtures.

  Yields for every mixture a row: its `index`, its length in `samples`, the mean
  over the sources of every value of `metrics.separation_scores`, of STOI and
  PESQ if `perceptual`, and `si_sdr_1` ... of each source. Beside it the
  signals: `mixture` `[T]`, `estimate` and `reference` `[S, T]`, the estimates
  in the order of the references and at the level of the mixture.
  """

  @jax.jit
  def separate(variables, batch):
    keys = Keys.evaluation(batch["index"])
    return task.separate(variables, batch, keys=keys)

  for batch in batches:
    mask = batch.get("mask", np.ones(len(batch["index"]), bool))
    signals = jax.device_get(separate(variables, batch))
    length = signals.pop("length")
    values = metrics.separation_scores(
      signals["estimate"],
      signals["reference"],
      signals["mixture"],
      length=length,
    )
    for i in np.flatnonzero(mask):
      heard = {n: x[i, ..., : length[i]] for n, x in signals.items()}
      # Models have levels of their own.
      level = inference.RunningGains(len(heard["estimate"]), half_life=1)
      heard["estimate"] = level.apply(heard["mixture"], heard["estimate"])
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
  """Writes what `scored` yielded: a folder of audio each, and their rows.

  Those of an earlier call are removed.
  """
  for earlier in folder.glob("example_*"):
    shutil.rmtree(earlier)
  for row, signals in examples:
    place = folder / f"example_{row['index']}"
    place.mkdir(parents=True, exist_ok=True)
    files = {"mixture": signals["mixture"]}
    for name in ("estimate", "reference"):
      for number, signal in enumerate(signals[name], 1):
        files[f"{name}_{number}"] = signal
    for name, signal in files.items():
      audio.write(place / f"{name}.wav", signal, sample_rate_hz=sample_rate_hz)
  rows.write(folder / "scores.csv", [row for row, _ in examples])
