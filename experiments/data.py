"""The corpora that a config names, and batches of examples from them."""

import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar

from data_pipelines import corpora, table
from data_pipelines.batches import batches
from data_pipelines.examples import Mixtures, PremixedCrops, PremixedWhole
from experiments import options

# Options of mixtures, and the layouts that have them.
_LAYOUTS_OF = {"mode": ("wsj0_mix", "librimix"), "mixture": ("librimix",)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
  """What to train and validate on.

  Attributes:
    corpus: Utterances or mixtures as `layout:where`, such as
      `librispeech:DIR`; `voices` are built in.
    split: Split to train on, for layouts with splits; None takes the usual
      one. In a folder of LibriSpeech's subsets, `train` takes all whose name
      begins so.
    valid_corpus: Another corpus to validate on.
    valid_split: Split to validate on, for layouts with splits.
    valid_speakers: Speakers to keep for validation: a file with one name a
      line. Without this, every tenth speaker, where there is no other split.
    mode: Of corpora of mixtures: `"min"`, which None means, or `"max"`.
    mixture: Of LibriMix: `"mix_clean"`, which None means, `"mix_both"` or
      `"mix_single"`.
    cache_dir: Where to remember scans of folders.
    num_voices: Speakers of the built-in voices, for training.
    num_valid_voices: The same for validation.
    num_utterances: Utterances of each of them.
    batch_size: Examples of a step, over all processes.
    crop_s: Duration of an example in training.
    valid_crop_s: The same in validation.
    num_valid_examples: Mixtures of the validation set, if they are drawn.
    min_utterance_s: Shorter utterances, and mixtures to train on, are left out;
      None leaves out utterances that do not fill a crop at the fastest speed.
    weighting: `"utterance"` or `"duration"`: what draws are proportional to.
    speed_range: Slowest and fastest speed of a source; None leaves it.
    noise: Corpus of noises; needs `simulation.noise_snr_db`.
    rirs: Corpus of room impulse responses, a folder a room. Of noises and
      rooms, a tenth is kept for validation.
    rir_s: Duration that they are cut to.
    seed: Seed of every draw, and of the built-in voices.
    num_threads: Batches read at a time; None is one a core.
  """

  corpus: str = "voices"
  split: str | None = None
  valid_corpus: str | None = None
  valid_split: str | None = None
  valid_speakers: str | None = None
  mode: str | None = None
  mixture: str | None = None
  cache_dir: str | None = None
  num_voices: int = 400
  num_valid_voices: int = 40
  num_utterances: int = 10
  batch_size: int = 8
  crop_s: float = 4.0
  valid_crop_s: float = 4.0
  num_valid_examples: int = 400
  min_utterance_s: float | None = None
  weighting: str = "utterance"
  speed_range: tuple[float, float] | None = (0.95, 1.05)
  noise: str | None = None
  rirs: str | None = None
  rir_s: float = 0.5
  seed: int = 0
  num_threads: int | None = None

  def __post_init__(self):
    above_0 = ("crop_s", "valid_crop_s", "rir_s", "batch_size", "num_threads")
    for name in (*above_0, "num_valid_examples", "num_voices"):
      value = getattr(self, name)
      if value is not None and not value > 0:
        raise ValueError(f"{name} is {value}; it is above 0")
    for name in ("min_utterance_s", "seed"):
      if (value := getattr(self, name)) is not None and not value >= 0:
        raise ValueError(f"{name} is {value}; it is at least 0")

  @property
  def drawn_s(self) -> float:
    """What a crop in training takes of an utterance at the fastest speed."""
    return self.crop_s * max(self.speed_range or (1.0,))


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

  #: Options that say where and how fast, not what.
  may_change: ClassVar[tuple[str, ...]] = (
    "cache_dir",
    "num_threads",
    "corpus",
    "valid_corpus",
    "valid_speakers",
    "noise",
    "rirs",
  )

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
    rows = {name: _rows_of(corpus) for name, corpus in corpora_.items()}
    unused = ", ".join(self.unused)
    return {"layout": _layout(self.config.corpus), "unused": unused} | rows

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
      say(
        f"{name}: {len(corpus)} utterances of {len(corpus.speakers)} "
        f"speakers, {corpus.seconds / 60:.1f} min"
      )
  if train.is_premixed and set(_paths(train)) & set(_paths(valid)):
    raise ValueError(
      f"training and validation have the same mixtures of {data.corpus}; give "
      "another data.valid_split or data.valid_corpus"
    )
  if shared := table.shared_speakers(train, valid):
    raise ValueError(
      f"{len(shared)} speakers are in both training and validation, such as "
      f"{shared[0]}; validate on others than those of "
      f"{data.valid_corpus or data.corpus}"
    )
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
  data = data or DataConfig(num_voices=40)
  layout = _layout(spec)
  splits = corpora.splits_of(spec)
  number = ("train", "valid", "test").index(purpose)
  wanted: dict[str, Any] = {
    "split": split or (splits and (splits[number] or splits[0])),
    "mode": data.mode,
    "mixture": data.mixture,
  }
  wanted = {name: value for name, value in wanted.items() if value}
  if layout == "voices":
    is_train, is_valid = purpose == "train", purpose == "valid"
    crop_s = data.drawn_s if is_train else data.valid_crop_s
    wanted |= {
      "num_speakers": data.num_valid_voices if is_valid else data.num_voices,
      "utterances_per_speaker": data.num_utterances,
      "seed": data.seed,
      # Up to half a second shorter: most fill a crop.
      "utterance_s": max(4.0, crop_s + 0.5),
      # Training goes over them again and again.
      "cache_mb": 1024.0 if is_train else 128.0,
    }
  return corpora.open_corpus(
    spec,
    sample_rate_hz=sample_rate_hz,
    num_sources=num_sources,
    cache_dir=data.cache_dir,
    **wanted,
  )


def check_num_sources(mixtures: Any, num_sources: int) -> None:
  """Raises ValueError unless mixtures have this number of sources."""
  if mixtures.num_sources != num_sources:
    raise ValueError(
      f"the mixtures have {mixtures.num_sources} sources, but the model "
      f"separates {num_sources}"
    )


def _layout(spec):
  """The layout of `layout:where`."""
  return spec.partition(":")[0]


def _paths(corpus):
  """The file of each row."""
  return [corpus.full_path(row) for row in range(len(corpus))]


def _rows_of(corpus):
  """How many rows a corpus has, and a hash of them wherever they are."""
  if corpus is None:
    return None
  digest = hashlib.sha256()
  speaker = corpus.columns.get("speaker", [""] * len(corpus))
  columns = (corpus.path, corpus.start, corpus.length, corpus.rate_hz, speaker)
  for path, *rest in zip(*columns, strict=True):
    words = [os.path.basename(path), *map(str, rest)]
    digest.update(f"{' '.join(words)}\n".encode())
  return f"{len(corpus)} rows, {digest.hexdigest()[:12]}"


def _with_background(config, data, train, valid):
  """The data of two corpora, with the noises and rooms of the config."""
  mixed_here = not (train.is_premixed and valid.is_premixed)
  specs = {"noise": data.noise, "rirs": data.rirs}
  for name, spec in specs.items():
    if spec and not mixed_here:
      raise ValueError(
        f"data.{name} is {spec}, but the mixtures of {data.corpus} are taken "
        "as they are; leave it empty"
      )
  simulation = config.get("simulation") or {}
  for name, option in (("noise", "noise_snr_db"), ("rirs", "early_ms")):
    value = simulation.get(option)
    if value is not None and not specs[name]:
      raise ValueError(
        f"simulation.{option} is {value}, but data.{name} names no corpus"
      )
  if specs["noise"] and simulation.get("noise_snr_db") is None:
    raise ValueError(
      f"data.noise is {specs['noise']}, but without simulation.noise_snr_db, "
      "such as (0,15), none of it is added"
    )
  kept, held = dict.fromkeys(specs), dict.fromkeys(specs)
  for name, spec in specs.items():
    if spec:
      corpus = corpora.open_corpus(spec, cache_dir=data.cache_dir)
      parts = table.hold_out(corpus) if len(corpus) > 1 else (corpus, corpus)
      kept[name], held[name] = parts
  rate, num_sources = config.sample_rate_hz, config.model.num_sources
  return Data(data, rate, num_sources, train, valid, kept, held)


def _open_both(config, data):
  """Training and validation corpus, short utterances left out."""

  def open_one(spec, **which):
    # Without the options that are for the other corpus only.
    other = [n for n, has in _LAYOUTS_OF.items() if _layout(spec) not in has]
    return open_corpus(
      spec,
      sample_rate_hz=config.sample_rate_hz,
      num_sources=config.model.num_sources,
      data=dataclasses.replace(data, **dict.fromkeys(other)),
      **which,
    )

  specs = [data.corpus, data.valid_corpus or data.corpus]
  for name, layouts in _LAYOUTS_OF.items():
    if getattr(data, name) and not {_layout(s) for s in specs} & {*layouts}:
      raise ValueError(
        f"data.{name} is {getattr(data, name)}, but it is for mixtures of "
        f"{' or '.join(layouts)}, not for {data.corpus}"
      )
  has_own = bool(
    data.valid_corpus
    or data.valid_split
    or (corpora.splits_of(data.corpus) or (None, None))[1]
  )
  if data.valid_speakers and has_own:
    raise ValueError(
      f"data.valid_speakers is {data.valid_speakers}, but "
      f"{data.valid_corpus or data.valid_split or data.corpus} has speakers of "
      "its own to validate on; leave it empty"
    )
  train = open_one(data.corpus, split=data.split, purpose="train")
  if has_own:
    valid = open_one(specs[1], split=data.valid_split, purpose="valid")
  elif names := data.valid_speakers:
    train, valid = train.subset(exclude=names), train.subset(speakers=names)
  else:
    train, valid = table.hold_out(
      train, column="speaker", at_least=config.model.num_sources
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
