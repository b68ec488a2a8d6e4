"""Mixtures to separate, and batches of them: what a config names."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar

from data_pipelines.batches import batches
from data_pipelines.examples import Mixtures, PremixedCrops, PremixedWhole
from experiments import opening, options
from experiments.opening import CorpusConfig

# Options of mixtures, and the layouts that have them.
_LAYOUTS_OF = {"mode": ("wsj0_mix", "librimix"), "mixture": ("librimix",)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig(CorpusConfig):
  """What to train and validate on: utterances to mix, or mixtures.

  Attributes:
    mode: Of corpora of mixtures: `"min"`, which None means, or `"max"`.
    mixture: Of LibriMix: `"mix_clean"`, which None means, `"mix_both"` or
      `"mix_single"`.
    crop_s: Duration of an example in training.
    valid_crop_s: The same in validation.
    min_utterance_s: Shorter utterances, and mixtures to train on, are left out;
      None leaves out utterances that do not fill a crop at the fastest speed.
    weighting: `"utterance"` or `"duration"`: what draws are proportional to.
    speed_range: Slowest and fastest speed of a source; None leaves it.
  """

  mode: str | None = None
  mixture: str | None = None
  crop_s: float = 4.0
  valid_crop_s: float = 4.0
  min_utterance_s: float | None = None
  weighting: str = "utterance"
  speed_range: tuple[float, float] | None = (0.95, 1.05)

  ABOVE_0: ClassVar[tuple[str, ...]] = (
    *CorpusConfig.ABOVE_0,
    "crop_s",
    "valid_crop_s",
  )
  AT_LEAST_0: ClassVar[tuple[str, ...]] = (
    *CorpusConfig.AT_LEAST_0,
    "min_utterance_s",
  )

  @property
  def drawn_s(self) -> float:
    """What a crop in training takes of an utterance at the fastest speed."""
    return self.crop_s * max(self.speed_range or (1.0,))

  def voice_s(self, purpose: str) -> float:
    """Longest utterance of the built-in voices."""
    crop_s = self.drawn_s if purpose == "train" else self.valid_crop_s
    # Up to half a second shorter: most fill a crop.
    return max(4.0, crop_s + 0.5)

  def layout_options(self, layout: str, purpose: str) -> dict[str, Any]:
    """Options of a layout, for `"train"`, `"valid"` or `"test"`."""
    of_mixtures = {"mode": self.mode, "mixture": self.mixture}
    given = {name: value for name, value in of_mixtures.items() if value}
    return super().layout_options(layout, purpose) | given


options.register(DataConfig)


@dataclasses.dataclass(frozen=True)
class Data:
  """Corpora of a config, and batches of them.

  The backgrounds are the corpora `noise` and `rirs`, None where not wanted.
  """

  config: DataConfig
  sample_rate_hz: int
  num_sources: int
  train: Any
  valid: Any
  background: dict[str, Any] = dataclasses.field(default_factory=dict)
  valid_background: dict[str, Any] = dataclasses.field(default_factory=dict)

  may_change: ClassVar[tuple[str, ...]] = CorpusConfig.MAY_CHANGE

  def train_batches(self, start_step: int, **here: int) -> Iterator[dict]:
    """Batches from a step on; of this `process_index` of `process_count`."""
    config = self.config
    if self.train.is_premixed:
      examples = PremixedCrops(
        self.train,
        crop_length=round(config.crop_s * self.sample_rate_hz),
        sample_rate_hz=self.sample_rate_hz,
        seed=config.seed,
      )
    else:
      # A speed of 1 resamples nothing.
      speeds = None if config.speed_range == (1, 1) else config.speed_range
      examples = self._mixtures(
        self.train, config.crop_s, self.background, speed_range=speeds
      )
    return self._batches(examples, start_step=start_step, **here)

  def eval_batches(self, **here: int) -> Iterable[dict]:
    """The fixed validation set; of this process, as above."""
    if self.valid.is_premixed:
      examples = PremixedWhole(self.valid, sample_rate_hz=self.sample_rate_hz)
      count = {"num_examples": len(self.valid), "buckets": examples.buckets}
    else:
      examples = self._mixtures(
        self.valid,
        self.config.valid_crop_s,
        self.valid_background,
        # The set must not change unnoticed.
        max_broken_files=0,
      )
      count = {"num_examples": self.config.num_valid_examples}
    return self._batches(examples, **count, **here)

  def describe(self) -> dict[str, Any]:
    """What fixes the examples, as JSON values: corpora may move, not change."""
    corpora_ = {"train": self.train, "valid": self.valid, **self.background}
    unused = ", ".join(self.unused)
    layout = opening.layout_of(self.config.corpus)
    return {
      "layout": layout,
      "unused": unused,
      **opening.describe_rows(corpora_),
    }

  @property
  def unused(self) -> list[str]:
    """Options that mixtures which exist already have no use for."""
    names = []
    if self.train.is_premixed:
      names += ["speed_range", "weighting"]
    if self.valid.is_premixed:
      names += ["valid_crop_s", "num_valid_examples"]
    return names

  def _batches(self, examples, **which):
    """Batches of the configured size."""
    return batches(
      examples,
      batch_size=self.config.batch_size,
      num_threads=self.config.num_threads,
      **which,
    )

  def _mixtures(self, corpus, crop_s, background, **further):
    """Examples that are mixed where the model runs."""
    config, rate = self.config, self.sample_rate_hz
    rirs = background.get("rirs")
    return Mixtures(
      corpus,
      num_sources=self.num_sources,
      crop_length=round(crop_s * rate),
      sample_rate_hz=rate,
      seed=config.seed,
      noise=background.get("noise"),
      rirs=rirs,
      rir_length=None if rirs is None else round(config.rir_s * rate),
      weighting=config.weighting,
      **further,
    )


def open_data(config: Any, *, say: Callable[[str], None] = print) -> Data:
  """Opens the corpora of a config, and says how much there is.

  Training and validation have no speaker in common, and no noise or room if
  there are several. ValueError if options contradict each other or would be
  ignored.
  """
  data = options.build(config.data, where="config.data")
  train, valid = _open_both(config, data)
  for name, corpus in (("training", train), ("validation", valid)):
    if corpus.is_premixed:
      say(f"{name}: {len(corpus)} mixtures")
      check_num_sources(corpus, config.model.num_sources)
    else:
      opening.say_utterances(say, name, corpus)
  if train.is_premixed and set(_paths(train)) & set(_paths(valid)):
    raise ValueError(
      f"training and validation have the same mixtures of {data.corpus}; give "
      "another data.valid_split or data.valid_corpus"
    )
  opening.check_no_speaker_shared(data, train, valid)
  opened = _with_background(config, data, train, valid)
  if opened.unused:
    names = ", ".join(f"data.{name}" for name in opened.unused)
    say(f"mixtures are taken as they are, without regard to {names}")
  return opened


def open_drawn(config: Any, corpus: Any) -> Data:
  """Mixtures of utterances to evaluate on, drawn as those of validation are."""
  data = options.build(config.data, where="config.data")
  corpus = _long_enough(corpus, None, data.valid_crop_s)
  return _with_background(config, data, corpus, corpus)


def open_corpus(
  spec: str,
  *,
  sample_rate_hz: int,
  num_sources: int = 2,
  split: str | None = None,
  purpose: str = "test",
  data: DataConfig | None = None,
) -> Any:
  """Opens one `corpora.Corpus`, with the options that its layout has.

  Without a split, that of the `purpose` is taken: `"train"`, `"valid"` or
  `"test"`. `data` gives `mode`, `mixture`, `cache_dir` and the sizes of voices.
  """
  return opening.open_corpus(
    spec,
    data=data or DataConfig(num_voices=40),
    sample_rate_hz=sample_rate_hz,
    num_sources=num_sources,
    split=split,
    purpose=purpose,
  )


def check_num_sources(mixtures: Any, num_sources: int) -> None:
  """Raises ValueError unless mixtures have this number of sources."""
  if mixtures.num_sources != num_sources:
    raise ValueError(
      f"the mixtures have {mixtures.num_sources} sources, but the model "
      f"separates {num_sources}"
    )


def _paths(corpus):
  """The file of each row."""
  return [corpus.full_path(row) for row in range(len(corpus))]


def _with_background(config, data, train, valid):
  """The data of two corpora, with the noises and rooms of the config."""
  if train.is_premixed and valid.is_premixed:
    for name in ("noise", "rirs"):
      if spec := getattr(data, name):
        raise ValueError(
          f"data.{name} is {spec}, but the mixtures of {data.corpus} are taken "
          "as they are; leave it empty"
        )
  background = opening.open_background(config, data)
  rate, num_sources = config.sample_rate_hz, config.model.num_sources
  return Data(data, rate, num_sources, train, valid, *background)


def _open_both(config, data):
  """Training and validation corpus, short utterances left out."""

  def open_one(spec, **which):
    # Without the options that are for the other corpus only.
    other = [
      n for n, has in _LAYOUTS_OF.items() if opening.layout_of(spec) not in has
    ]
    return open_corpus(
      spec,
      sample_rate_hz=config.sample_rate_hz,
      num_sources=config.model.num_sources,
      data=dataclasses.replace(data, **dict.fromkeys(other)),
      **which,
    )

  specs = [data.corpus, data.valid_corpus or data.corpus]
  for name, layouts in _LAYOUTS_OF.items():
    if getattr(data, name) and not {opening.layout_of(s) for s in specs} & {
      *layouts
    }:
      raise ValueError(
        f"data.{name} is {getattr(data, name)}, but it is for mixtures of "
        f"{' or '.join(layouts)}, not for {data.corpus}"
      )
  train, valid = opening.open_both(
    data, open_one, num_sources=config.model.num_sources
  )
  # Short mixtures are padded, or left out on request.
  if data.min_utterance_s is not None or not train.is_premixed:
    train = _long_enough(train, data.min_utterance_s, data.drawn_s)
  if not valid.is_premixed:
    valid = _long_enough(valid, data.min_utterance_s, data.valid_crop_s)
  return train, valid


def _long_enough(corpus, min_s, crop_s):
  """Leaves short recordings out."""
  seconds = crop_s if min_s is None else min_s
  long = corpus.length >= seconds * corpus.rate_hz
  if not long.any():
    raise ValueError(
      f"nothing in {corpus.root or 'the corpus'} is {seconds:g} s long; choose "
      "a shorter data.crop_s, or let mixtures end in zeros by a shorter "
      "data.min_utterance_s"
    )
  return corpus.rows(long)
