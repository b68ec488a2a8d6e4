"""From a config to what is trained, on what, and how."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax.numpy as jnp

from data_pipelines import batches, corpora
from jaxsep import models, simulate, tasks, train

#: Keys of the config that say where and how fast, not what.
MAY_CHANGE = (
  "data.cache_dir",
  "data.num_threads",
  "data.corpus",
  "data.valid_corpus",
  "data.valid_speakers",
  "data.noise",
  "data.rirs",
)

_PREMIXED_SPLITS = {"wsj0_mix": ("tr", "cv"), "librimix": ("train-100", "dev")}


def make_model(config: Any) -> Any:
  """Makes the model that `config.model` describes."""
  options = dict(config.model)
  name = options.pop("name")
  if name not in models.__all__:
    raise ValueError(
      f"model.name is {name!r}; it is one of {', '.join(models.__all__)}"
    )
  options["dtype"] = jnp.dtype(options["dtype"])
  return getattr(models, name)(num_sources=config.num_sources, **options)


def make_task(config: Any, model: Any = None) -> tasks.SeparationTask:
  """Makes the task: the model, the mixtures, the loss."""
  settings = {
    name: list(value) if isinstance(value, tuple) else value
    for name, value in dict(config.simulate).items()
  }
  return tasks.SeparationTask(
    model=make_model(config) if model is None else model,
    sample_rate_hz=config.sample_rate_hz,
    simulate=simulate.make_simulator(**dict(config.simulate)),
    settings=settings,
  )


def make_train_config(config: Any) -> train.TrainConfig:
  """Makes the options of the loop."""
  return train.TrainConfig(
    optimizer=train.OptimizerConfig(**dict(config.optimizer)),
    **dict(config.train),
  )


@dataclasses.dataclass(frozen=True)
class Data:
  """Corpora of a config, and batches of them.

  Attributes:
    config: The config.
    train: Corpus to train on.
    valid: Corpus to validate on.
    noise: Corpus of noises, or None.
    rirs: Corpus of room responses, or None.
  """

  config: Any
  train: Any
  valid: Any
  noise: Any = None
  rirs: Any = None

  def train_batches(
    self, start_step: int, *, process_index: int = 0, process_count: int = 1
  ) -> Iterator[dict]:
    """Batches from a step on."""
    data = self.config.data
    if self.is_premixed(self.train):
      return batches.premixed_train_batches(
        self.train,
        batch_size=data.batch_size,
        crop_length=self.samples(data.crop_s),
        sample_rate_hz=self.config.sample_rate_hz,
        seed=data.seed,
        start_step=start_step,
        process_index=process_index,
        process_count=process_count,
        num_threads=data.num_threads,
      )
    speed_range = tuple(data.speed_range)
    return batches.train_batches(
      self.train,
      crop_length=self.samples(data.crop_s),
      seed=data.seed,
      start_step=start_step,
      process_index=process_index,
      process_count=process_count,
      speed_range=None if speed_range == (1, 1) else speed_range,
      **self._ingredients(),
    )

  def eval_batches(
    self, *, process_index: int = 0, process_count: int = 1
  ) -> Iterable[dict]:
    """The fixed validation set."""
    data = self.config.data
    if self.is_premixed(self.valid):
      return batches.premixed_eval_batches(
        self.valid,
        batch_size=data.batch_size,
        sample_rate_hz=self.config.sample_rate_hz,
        length_multiple=self.config.sample_rate_hz,
        process_index=process_index,
        process_count=process_count,
        num_threads=data.num_threads,
      )
    return batches.eval_batches(
      self.valid,
      num_examples=data.num_valid_examples,
      crop_length=self.samples(data.valid_crop_s),
      seed=data.seed,
      process_index=process_index,
      process_count=process_count,
      **self._ingredients(),
    )

  def describe(self) -> dict[str, Any]:
    """What fixes the examples, as JSON values.

    Corpora may move to another folder, but not become others: their layout
    and sizes are part of it.
    """
    whole = self.config.to_dict()
    parts = {"train": self.train, "valid": self.valid}
    parts |= {"noise": self.noise, "rirs": self.rirs}
    return {
      "num_sources": whole["num_sources"],
      "data": whole["data"],
      "layout": whole["data"]["corpus"].partition(":")[0],
      "sizes": {
        name: 0 if part is None else len(part) for name, part in parts.items()
      },
    }

  def samples(self, seconds: float) -> int:
    """Samples in so many seconds."""
    return round(seconds * self.config.sample_rate_hz)

  @staticmethod
  def is_premixed(corpus: Any) -> bool:
    """Whether a corpus holds mixtures and not utterances."""
    return isinstance(corpus, corpora.PremixedCorpus)

  def _ingredients(self):
    """Options that training and validation share."""
    data = self.config.data
    return {
      "batch_size": data.batch_size,
      "num_sources": self.config.num_sources,
      "sample_rate_hz": self.config.sample_rate_hz,
      "noise": self.noise,
      "rirs": self.rirs,
      "rir_length": self.samples(data.rir_s) if self.rirs else None,
      "weighting": data.weighting,
      "num_threads": data.num_threads,
    }


def open_data(config: Any, *, say: Callable[[str], None] = print) -> Data:
  """Opens the corpora of a config.

  Args:
    config: See `configs/conv_tasnet.py`.
    say: Told how much there is.

  Returns:
    The data.

  Raises:
    ValueError: If a corpus is missing, or too small.
  """
  data = config.data
  layout = data.corpus.partition(":")[0]
  if layout == "voices":
    train_corpus = _voices(config, "train", data.num_voices)
    valid_corpus = _voices(config, "valid", data.num_valid_voices)
  elif layout in _PREMIXED_SPLITS:
    first, second = _PREMIXED_SPLITS[layout]
    train_corpus = _open(config, data.corpus, data.split or first)
    valid_corpus = _open(
      config, data.valid_corpus or data.corpus, data.valid_split or second
    )
  else:
    train_corpus, valid_corpus = _two_parts(config)
  for name, corpus in (("training", train_corpus), ("valid", valid_corpus)):
    if Data.is_premixed(corpus):
      say(f"{name}: {len(corpus)} mixtures")
      if corpus.num_sources != config.num_sources:
        raise ValueError(
          f"the mixtures have {corpus.num_sources} sources, but num_sources "
          f"is {config.num_sources}"
        )
    else:
      say(
        f"{name}: {len(corpus)} utterances of {len(corpus.speakers)} "
        f"speakers, {corpus.seconds / 60:.1f} min"
      )
  extra = {
    name: _open(config, data[name]) if data[name] else None
    for name in ("noise", "rirs")
  }
  return Data(config, train_corpus, valid_corpus, **extra)


def _voices(config, split, num_speakers):
  """Built-in voices: no talker is in two splits."""
  return corpora.open_corpus(
    "voices",
    num_speakers=num_speakers,
    sample_rate_hz=config.sample_rate_hz,
    split=split,
    cache_mb=1024.0 if split == "train" else 128.0,
  )


def _open(config, spec, split=""):
  """A corpus by layout, with the options that its layout has."""
  options = {}
  layout = spec.partition(":")[0]
  if layout in _PREMIXED_SPLITS:
    options = {
      "split": split,
      "sample_rate_hz": config.sample_rate_hz,
      "num_sources": config.num_sources,
    }
  elif layout == "tfds" and split:
    options = {"split": split}
  return corpora.open_corpus(
    spec, cache_dir=config.data.cache_dir or None, **options
  )


def _two_parts(config):
  """Training and validation part of a corpus of utterances."""
  data = config.data
  corpus = _open(config, data.corpus, data.split)
  if corpus.report is not None and corpus.report.problems:
    print(corpus.report.summary())
  if data.valid_corpus:
    valid = _open(config, data.valid_corpus, data.valid_split)
  elif data.valid_speakers:
    valid = corpus.subset(speakers=data.valid_speakers)
    corpus = corpus.subset(exclude=data.valid_speakers)
  else:
    # Every tenth speaker, at least as many as a mixture takes.
    names = sorted(corpus.speakers)
    stride = max(1, min(10, len(names) // (2 * config.num_sources)))
    kept = names[::stride]
    if len(names) - len(kept) < config.num_sources:
      raise ValueError(
        f"{data.corpus} has {len(names)} speakers, too few to keep some for "
        "validation; name another corpus by data.valid_corpus"
      )
    valid = corpus.subset(speakers=kept)
    corpus = corpus.subset(exclude=kept)
  return tuple(
    _long_enough(part, data.min_utterance_s) for part in (corpus, valid)
  )


def _long_enough(corpus, seconds):
  """Leaves short utterances out."""
  long = corpus.length >= seconds * corpus.rate_hz
  if not long.any():
    raise ValueError(
      f"no utterance of {corpus.root} is as long as min_utterance_s, {seconds}"
    )
  return corpus.rows(long)
