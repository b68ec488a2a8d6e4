"""The corpora that a config names, and batches of them."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from data_pipelines import batches
from experiments.harmonic_probes.opening import (
  PREMIXED_SPLITS,
  check_num_sources,
  is_premixed,
  layout_of,
  open_corpus,
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
    if is_premixed(self.train):
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
    if is_premixed(self.valid):
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
    ValueError: If a corpus is missing or too small, or if options
      contradict each other.
  """
  data = config.data
  layout, valid_layout = layout_of(data.corpus), layout_of(data.valid_corpus)
  _check_premixed_options(data, {layout, valid_layout})
  if layout in PREMIXED_SPLITS or layout == "voices":
    first, second, _ = PREMIXED_SPLITS.get(layout, ("train", "valid", ""))
    train_corpus = _open(
      config, data.corpus, data.split or first, num_voices=data.num_voices
    )
    valid_corpus = _open_valid(config, data.valid_split or second)
  else:
    train_corpus, valid_corpus = _two_parts(config)
  for name, corpus in (("training", train_corpus), ("valid", valid_corpus)):
    if is_premixed(corpus):
      say(f"{name}: {len(corpus)} mixtures")
      check_num_sources(corpus, config.num_sources)
    else:
      say(
        f"{name}: {len(corpus)} utterances of {len(corpus.speakers)} "
        f"speakers, {corpus.seconds / 60:.1f} min"
      )
  mixed_here = not (is_premixed(train_corpus) and is_premixed(valid_corpus))
  extra = open_noise_and_rirs(config, mixed_here=mixed_here)
  return Data(config, train_corpus, valid_corpus, **extra)


def open_noise_and_rirs(config: Any, *, mixed_here: bool = True) -> dict:
  """Opens the noises and rooms of a config.

  Args:
    config: See `configs/conv_tasnet.py`.
    mixed_here: Whether there are utterances that are yet to be mixed.

  Returns:
    Corpora by name, `noise` and `rirs`; None for those not wanted.

  Raises:
    ValueError: If a corpus would not be heard, or one is missing.
  """
  specs = {name: config.data[name] for name in ("noise", "rirs")}
  for name, spec in specs.items():
    if spec and not mixed_here:
      raise ValueError(
        f"data.{name} is {spec}, but the mixtures of {config.data.corpus} are "
        "taken as they are; leave it empty"
      )
  for name, option in (("noise", "noise_snr_db"), ("rirs", "early_ms")):
    spec, value = specs[name], config.simulate.get(option)
    if value is not None and not spec:
      raise ValueError(
        f"simulate.{option} is {value}, but data.{name} names no corpus"
      )
  if specs["noise"] and config.simulate.get("noise_snr_db") is None:
    raise ValueError(
      f"data.noise is {specs['noise']}, but without simulate.noise_snr_db, "
      "such as (0, 15), none of it is added"
    )
  return {
    name: _open(config, spec) if spec else None for name, spec in specs.items()
  }


def _check_premixed_options(data, layouts):
  """Raises if an option is set that no corpus heeds."""
  for name, heeding in (
    ("mode", set(PREMIXED_SPLITS)),
    ("mixture", {"librimix"}),
  ):
    if data.get(name) and not heeding & layouts:
      raise ValueError(
        f"data.{name} is {data[name]}, but it is for mixtures of "
        f"{' or '.join(sorted(heeding))}, not for {data.corpus}"
      )


def _open(config, spec, split="", num_voices=None):
  """A corpus of a config."""
  data, layout = config.data, layout_of(spec)
  options = {}
  if layout in PREMIXED_SPLITS:
    options["mode"] = data.get("mode")
  if layout == "librimix":
    options["mixture"] = data.get("mixture")
  if layout == "tfds":
    split = split or "train"
  return open_corpus(
    spec,
    sample_rate_hz=config.sample_rate_hz,
    num_sources=config.num_sources,
    split=split,
    num_voices=num_voices or data.num_valid_voices,
    cache_dir=data.cache_dir or None,
    **options,
  )


def _open_valid(config, split):
  """The validation corpus, where it is not a part of the other."""
  data = config.data
  spec = data.valid_corpus or data.corpus
  layout = layout_of(spec)
  if data.valid_corpus and not data.valid_split:
    split = PREMIXED_SPLITS.get(layout, ("", ""))[1]
    split = "valid" if layout == "voices" else split
  return _open(config, spec, split)


def _two_parts(config):
  """Training and validation part of a corpus of utterances."""
  data = config.data
  corpus = _open(config, data.corpus, data.split)
  if corpus.report is not None and corpus.report.problems:
    print(corpus.report.summary())
  if data.valid_corpus:
    valid = _open_valid(config, data.valid_split)
  elif data.valid_speakers:
    valid = corpus.subset(speakers=data.valid_speakers)
    corpus = corpus.subset(exclude=data.valid_speakers)
  else:
    # Every tenth speaker, at least as many as a mixture takes.
    names = sorted(corpus.speakers)
    stride = max(2, min(10, len(names) // (2 * config.num_sources)))
    kept = names[::stride]
    if len(names) - len(kept) < config.num_sources:
      raise ValueError(
        f"{data.corpus} has {len(names)} speakers, too few to keep some for "
        "validation; name another corpus by data.valid_corpus"
      )
    valid = corpus.subset(speakers=kept)
    corpus = corpus.subset(exclude=kept)
  return tuple(
    part if is_premixed(part) else _long_enough(part, data.min_utterance_s)
    for part in (corpus, valid)
  )


def _long_enough(corpus, seconds):
  """Leaves short utterances out."""
  long = corpus.length >= seconds * corpus.rate_hz
  if not long.any():
    raise ValueError(
      f"no utterance of {corpus.root} is as long as min_utterance_s, {seconds}"
    )
  return corpus.rows(long)
