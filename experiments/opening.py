"""Opens the corpora that a config names: to train, to validate, to test on."""

import dataclasses
import hashlib
import os
from collections.abc import Callable
from typing import Any, ClassVar

from data_pipelines import corpora, table


@dataclasses.dataclass(frozen=True, kw_only=True)
class CorpusConfig:
  """What to train and validate on, whatever the kind of examples.

  Attributes:
    corpus: Utterances as `layout:where`, such as `librispeech:DIR`; `voices`
      are built in.
    split: Split to train on, for layouts with splits; None takes the usual
      one. In a folder of LibriSpeech's subsets, `train` takes all whose name
      begins so.
    valid_corpus: Another corpus to validate on.
    valid_split: Split to validate on, for layouts with splits.
    valid_speakers: Speakers to keep for validation: a file with one name a
      line. Without this, every tenth speaker, where there is no other split.
    cache_dir: Where to remember scans of folders.
    num_voices: Speakers of the built-in voices, for training.
    num_valid_voices: The same for validation.
    num_utterances: Utterances of each of them.
    batch_size: Examples of a step, over all processes.
    num_valid_examples: Examples of the validation set, if they are drawn.
    noise: Corpus of noises.
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
  cache_dir: str | None = None
  num_voices: int = 400
  num_valid_voices: int = 40
  num_utterances: int = 10
  batch_size: int = 8
  num_valid_examples: int = 400
  noise: str | None = None
  rirs: str | None = None
  rir_s: float = 0.5
  seed: int = 0
  num_threads: int | None = None

  #: Options above 0, and those of at least 0, if they are not None.
  ABOVE_0: ClassVar[tuple[str, ...]] = (
    "rir_s",
    "batch_size",
    "num_threads",
    "num_valid_examples",
    "num_voices",
  )
  AT_LEAST_0: ClassVar[tuple[str, ...]] = ("seed",)
  #: Options that say where and how fast, not what.
  MAY_CHANGE: ClassVar[tuple[str, ...]] = (
    "cache_dir",
    "num_threads",
    "corpus",
    "valid_corpus",
    "valid_speakers",
    "noise",
    "rirs",
  )

  def __post_init__(self):
    for name in self.ABOVE_0:
      value = getattr(self, name)
      if value is not None and not value > 0:
        raise ValueError(f"{name} is {value}; it is above 0")
    for name in self.AT_LEAST_0:
      if (value := getattr(self, name)) is not None and not value >= 0:
        raise ValueError(f"{name} is {value}; it is at least 0")

  def voice_s(self, purpose: str) -> float:
    """Longest utterance of the built-in voices."""
    return 4.0

  def layout_options(self, layout: str, purpose: str) -> dict[str, Any]:
    """Options of a layout, for `"train"`, `"valid"` or `"test"`."""
    if layout != "voices":
      return {}
    is_train, is_valid = purpose == "train", purpose == "valid"
    return {
      "num_speakers": self.num_valid_voices if is_valid else self.num_voices,
      "utterances_per_speaker": self.num_utterances,
      "seed": self.seed,
      "utterance_s": self.voice_s(purpose),
      # Training goes over them again and again.
      "cache_mb": 1024.0 if is_train else 128.0,
    }


def open_corpus(
  spec: str,
  *,
  data: CorpusConfig,
  sample_rate_hz: int,
  num_sources: int | None = None,
  split: str | None = None,
  purpose: str = "test",
) -> Any:
  """Opens one `corpora.Corpus`, with the options that its layout has.

  Without a split, that of the `purpose` is taken: `"train"`, `"valid"` or
  `"test"`.
  """
  splits = corpora.splits_of(spec)
  number = ("train", "valid", "test").index(purpose)
  split = split or (splits and (splits[number] or splits[0]))
  return corpora.open_corpus(
    spec,
    split=split,
    sample_rate_hz=sample_rate_hz,
    num_sources=num_sources,
    cache_dir=data.cache_dir,
    **data.layout_options(layout_of(spec), purpose),
  )


def open_both(
  data: CorpusConfig, open_one: Callable[..., Any], *, num_sources: int = 1
) -> tuple[Any, Any]:
  """The corpora to train and to validate on, which share no speaker.

  `open_one(spec, split=..., purpose=...)` opens one of them. ValueError if
  options contradict each other or speakers are in both.
  """
  has_own = bool(
    data.valid_corpus
    or data.valid_split
    or (corpora.splits_of(data.corpus) or (None, None))[1]
  )
  valid_spec = data.valid_corpus or data.corpus
  if data.valid_speakers and has_own:
    raise ValueError(
      f"data.valid_speakers is {data.valid_speakers}, but "
      f"{data.valid_corpus or data.valid_split or data.corpus} has speakers of "
      "its own to validate on; leave it empty"
    )
  train = open_one(data.corpus, split=data.split, purpose="train")
  if has_own:
    valid = open_one(valid_spec, split=data.valid_split, purpose="valid")
  elif names := data.valid_speakers:
    train, valid = train.subset(exclude=names), train.subset(speakers=names)
  else:
    train, valid = table.hold_out(train, column="speaker", at_least=num_sources)
  return train, valid


def check_no_speaker_shared(data: CorpusConfig, train: Any, valid: Any) -> None:
  """Raises ValueError if speakers are in both training and validation."""
  if shared := table.shared_speakers(train, valid):
    raise ValueError(
      f"{len(shared)} speakers are in both training and validation, such as "
      f"{shared[0]}; validate on others than those of "
      f"{data.valid_corpus or data.corpus}"
    )


def open_background(config: Any, data: CorpusConfig) -> tuple[dict, dict]:
  """Noises and rooms of a config, to train and to validate with.

  None by name where not wanted. ValueError if the simulation of the config
  would ignore them, or needs what there is not.
  """
  specs = {"noise": data.noise, "rirs": data.rirs}
  simulation = config.get("simulation") or {}
  for name, option in (("noise", "noise_snr_db"), ("rirs", "early_ms")):
    value = simulation.get(option)
    if value is not None and not specs[name]:
      raise ValueError(
        f"simulation.{option} is {value}, but data.{name} names no corpus"
      )
  has_option = "noise_snr_db" in simulation or not simulation
  if specs["noise"] and has_option and simulation.get("noise_snr_db") is None:
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
  return kept, held


def describe_rows(corpora_: dict[str, Any]) -> dict[str, str | None]:
  """How many rows each corpus has, and a hash of them wherever they are."""
  return {name: _rows_of(corpus) for name, corpus in corpora_.items()}


def say_utterances(
  say: Callable[[str], None], purpose: str, corpus: Any
) -> None:
  """Says how much there is."""
  say(
    f"{purpose}: {len(corpus)} utterances of {len(corpus.speakers)} speakers, "
    f"{corpus.seconds / 60:.1f} min"
  )


def layout_of(spec: str) -> str:
  """The layout of `layout:where`."""
  return spec.partition(":")[0]


def _rows_of(corpus):
  """How many rows a corpus has, and a hash of them."""
  if corpus is None:
    return None
  digest = hashlib.sha256()
  speaker = corpus.columns.get("speaker", [""] * len(corpus))
  columns = (corpus.path, corpus.start, corpus.length, corpus.rate_hz, speaker)
  for path, *rest in zip(*columns, strict=True):
    words = [os.path.basename(path), *map(str, rest)]
    digest.update(f"{' '.join(words)}\n".encode())
  return f"{len(corpus)} rows, {digest.hexdigest()[:12]}"
