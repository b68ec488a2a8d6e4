"""The fixed mixtures that speech is probed with, all of one length."""

import dataclasses
import math
from typing import Any

import jax
import numpy as np

from data_pipelines.batches import batches
from data_pipelines.crops import read_row
from data_pipelines.examples import Mixtures
from data_pipelines.voices import make_voices
from experiments.data import DataConfig, check_num_sources, open_corpus
from experiments.evaluation import choose_rows, open_mixture_list, samples_of
from jaxsep import simulate

#: Level of the first speaker above the second, as in the lists of this
#: experiment and of WSJ0-2mix.
SNR_DB = (0.0, 5.0)


@dataclasses.dataclass(frozen=True, eq=False)
class ProbeSet:
  """Mixtures of one length, as their sources.

  Attributes:
    name: Name of each mixture.
    sources: Speakers as they are in the mixtures, float32 `[N, S, T]`.
    sample_rate_hz: Their rate.
    num_too_short: How many others there were, of mixtures that exist or of
      utterances to be mixed, that are shorter than that and left out.
  """

  name: list[str]
  sources: np.ndarray
  sample_rate_hz: int
  num_too_short: int = 0

  def __len__(self) -> int:
    """Number of mixtures."""
    return len(self.name)

  @property
  def mixture(self) -> np.ndarray:
    """What is separated, `[N, T]`."""
    return self.sources.sum(axis=1)

  @property
  def left_out(self) -> str:
    """How many others were left out, as a part of a sentence."""
    count = self.num_too_short
    return f"; {count} others are shorter and were left out" if count else ""


def open_mixtures(
  *,
  sample_rate_hz: int,
  num_examples: int = 100,
  crop_s: float = 4.0,
  corpus: str | None = None,
  mixture_list: str | None = None,
  root: str | None = None,
  split: str | None = None,
  cache_dir: str | None = None,
  num_sources: int = 2,
) -> ProbeSet:
  """Reads or makes the mixtures.

  Of a list or a corpus of mixtures, mixtures are taken at equal distances,
  so that all parts of it have their share, and of each the first `crop_s`;
  shorter ones are left out and counted. Utterances are drawn and mixed, always
  in the same way.

  Args:
    sample_rate_hz: Rate of the mixtures.
    num_examples: How many; fewer if there are not as many.
    crop_s: Their duration.
    corpus: Utterances or mixtures as `layout:where`, such as `voices`.
    mixture_list: Or a CSV of fixed mixtures.
    root: Folder that the paths of the list start from.
    split: Of a corpus that has splits; that to test on if None.
    cache_dir: Where to remember the scan of the corpus.
    num_sources: Speakers in each mixture.
  """
  if num_examples < 1 or crop_s <= 0:
    raise ValueError(
      f"num_examples {num_examples} and crop_s {crop_s} must be positive"
    )
  length = round(crop_s * sample_rate_hz)
  if mixture_list and root:
    opened = open_mixture_list(mixture_list, root, num_sources)
  elif corpus == "voices":
    opened = make_voices(
      num_speakers=max(2 * num_examples, num_sources),
      sample_rate_hz=sample_rate_hz,
      split=split or "test",
      utterances_per_speaker=2,
      # Up to half a second shorter: nearly all fill the crop.
      utterance_s=max(crop_s + 0.5, 1.5),
    )
  elif corpus:
    opened = open_corpus(
      corpus,
      sample_rate_hz=sample_rate_hz,
      num_sources=num_sources,
      split=split,
      data=DataConfig(num_voices=40, cache_dir=cache_dir),
    )
  else:
    raise ValueError("name the mixtures by --mixture_list or --corpus")
  if opened.is_premixed:
    check_num_sources(opened, num_sources)
    return _read(opened, num_examples, length, sample_rate_hz)
  return _mix(opened, num_examples, length, sample_rate_hz, num_sources)


def _none_so_long(what, length, sample_rate_hz):
  """The error of a crop that is longer than all there is."""
  return ValueError(
    f"no {what} is {length / sample_rate_hz:g} s long; choose a shorter"
    " --crop_s"
  )


def _read(mixtures: Any, num_examples, length, sample_rate_hz) -> ProbeSet:
  """Mixtures that exist already."""
  samples = samples_of(mixtures, sample_rate_hz)
  rows = choose_rows(samples, num_examples=num_examples, crop=length)
  if not len(rows):
    raise _none_so_long("mixture", length, sample_rate_hz)
  parts = [
    read_row(mixtures, int(row), sample_rate_hz=sample_rate_hz, length=length)
    for row in rows
  ]
  # The first part is the mixture, the last may be noise.
  sources = np.stack(parts)[:, 1 : 1 + mixtures.num_sources]
  names = [str(mixtures["name"][row]) for row in rows]
  short = int((samples < length).sum())
  return ProbeSet(names, sources, sample_rate_hz, short)


def _mix(corpus, num_examples, length, sample_rate_hz, num_sources) -> ProbeSet:
  """Mixtures of drawn utterances."""
  long = corpus.length * sample_rate_hz >= length * corpus.rate_hz
  if not long.any():
    raise _none_so_long("utterance", length, sample_rate_hz)
  ingredients = batches(
    Mixtures(
      corpus.rows(long),
      num_sources=num_sources,
      crop_length=length,
      sample_rate_hz=sample_rate_hz,
      seed=0,
      max_broken_files=0,
    ),
    batch_size=math.gcd(num_examples, 4),
    num_examples=num_examples,
  )
  simulation = simulate.Simulation(sample_rate_hz, snr_db=SNR_DB)
  key = jax.random.key(0)
  examples = list(simulate.fixed_examples(simulation, ingredients, key=key))
  names = [f"{int(example['index']):04d}" for example in examples]
  # Zeros where a recording lost its last sample in resampling.
  sources = np.stack(
    [
      np.pad(example["reference"], ((0, 0), (0, length - example["length"])))
      for example in examples
    ]
  )
  return ProbeSet(names, sources, sample_rate_hz, int((~long).sum()))
