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
from experiments import separation
from experiments.data import DataConfig, check_num_sources, open_corpus
from jaxsep import simulate
from jaxsep.tasks import Keys

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
  """Reads the mixtures of a list or corpus, or mixes utterances of a corpus.

  Mixtures that exist are taken at equal distances, so that all parts of a list
  have their share, and of each the first `crop_s`; shorter ones are left out
  and counted. Utterances are drawn and mixed, always in the same way.
  """
  if mixture_list and root:
    opened = separation.open_mixture_list(mixture_list, root, num_sources)
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
    return _read(opened, num_examples, crop_s, sample_rate_hz)
  return _mix(opened, num_examples, crop_s, sample_rate_hz, num_sources)


def _read(mixtures: Any, num_examples, crop_s, sample_rate_hz) -> ProbeSet:
  """Mixtures that exist already."""
  chosen = separation.choose(
    mixtures, sample_rate_hz, num_examples=num_examples, crop_s=crop_s
  )
  parts = [
    read_row(
      mixtures, int(row), sample_rate_hz=sample_rate_hz, length=chosen.crop
    )
    for row in chosen.rows
  ]
  # The first part is the mixture, the last may be noise.
  sources = np.stack(parts)[:, 1 : 1 + mixtures.num_sources]
  names = [str(mixtures["name"][row]) for row in chosen.rows]
  samples = separation.samples_of(mixtures, sample_rate_hz)
  short = int((samples < chosen.crop).sum())
  return ProbeSet(names, sources, sample_rate_hz, short)


def _mix(corpus, num_examples, crop_s, sample_rate_hz, num_sources) -> ProbeSet:
  """Mixtures of drawn utterances."""
  length = round(crop_s * sample_rate_hz)
  long = corpus.length * sample_rate_hz >= length * corpus.rate_hz
  if not long.any():
    raise ValueError(
      f"no utterance is {crop_s:g} s long; choose a shorter --crop_s"
    )
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

  @jax.jit
  def mix(batch):
    keys = Keys.evaluation(batch["index"])
    return simulate.simulate_batch(simulation, batch, keys=keys.examples)

  names, sources = [], []
  for batch in ingredients:
    mixed = jax.device_get(mix(batch))
    names += [f"{index:04d}" for index in mixed["index"]]
    sources += list(mixed["reference"])
  return ProbeSet(names, np.stack(sources), sample_rate_hz, int((~long).sum()))
