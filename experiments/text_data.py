"""Speech with its text, or text alone, and batches of it: what a config names.

A job that reads text is given `open_text_data` with a tokenizer:

  def make_tokenizer(config, texts):
    return text.load_tokenizer(config.tokenizer)

  if __name__ == "__main__":
    open_data = functools.partial(open_text_data, make_tokenizer=make_tokenizer)
    job.main(make_task, __doc__, open_data=open_data)

`texts` are those to train on, for a tokenizer that is made of them. The one
that is returned needs `encode(text)`, a list of numbers above 0, and `size`;
`make_task` finds it as `data.tokenizer`.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, Literal

import numpy as np

from data_pipelines.batches import batches
from data_pipelines.examples import TextLines, UtteranceMixtures, Utterances
from data_pipelines.examples.text_lines import read_lines
from experiments import opening, options
from experiments.opening import CorpusConfig

# The examples that an option is for, where it is not for all.
_FOR = {
  "speeds": ("utterances", "mixtures"),
  "longest_s": ("utterances", "mixtures"),
  "noise": ("mixtures",),
  "rirs": ("mixtures",),
  "noise_rir": ("mixtures",),
  "room": ("mixtures",),
  "most_tokens": ("lines",),
}
# Of a text file without another to validate on, one line in so many is kept.
_HELD_LINES = 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextDataConfig(CorpusConfig):
  """What to train and validate on, with text.

  Attributes:
    examples: `"utterances"`; `"mixtures"` of whole ones, as many as the model
      separates; or `"lines"` of text, where `corpus` may also be `text:FILE`
      with one sentence a line, of which every hundredth is for validation if
      there is no `valid_corpus`.
    speeds: Speeds of every utterance in training.
    longest_s: Longer utterances are left out; None keeps all.
    most_tokens: Longer lines are left out; None keeps all.
    num_buckets: How many lengths batches may have.
    room: Duration of mixtures, relative to the longest utterance in them.
    noise_rir: Whether noises get an impulse response too.
    utterance_s: Longest utterance of the built-in voices.
  """

  examples: Literal["utterances", "mixtures", "lines"] = "utterances"
  speeds: tuple[float, ...] = (1.0,)
  longest_s: float | None = None
  most_tokens: int | None = None
  num_buckets: int = 8
  room: float = 1.0
  noise_rir: bool = False
  utterance_s: float = 4.0

  ABOVE_0: ClassVar[tuple[str, ...]] = (
    *CorpusConfig.ABOVE_0,
    "longest_s",
    "most_tokens",
    "num_buckets",
    "utterance_s",
  )

  def __post_init__(self):
    super().__post_init__()
    for field in dataclasses.fields(self):
      value = getattr(self, field.name)
      kinds = _FOR.get(field.name, (self.examples,))
      if value != field.default and self.examples not in kinds:
        raise ValueError(
          f"{field.name} is {value}, but it is for {' and '.join(kinds)}, not "
          f"for {self.examples}"
        )

  def voice_s(self, purpose: str) -> float:
    """Longest utterance of the built-in voices."""
    return self.utterance_s


options.register(TextDataConfig)


@dataclasses.dataclass(frozen=True)
class TextData:
  """Examples of a config, and batches of them."""

  config: TextDataConfig
  tokenizer: Any
  train: Any
  valid: Any
  #: What fixes the examples, as JSON values.
  described: dict[str, Any]

  may_change: ClassVar[tuple[str, ...]] = CorpusConfig.MAY_CHANGE

  def train_batches(self, start_step: int, **here: int) -> Iterator[dict]:
    """Batches from a step on; of this `process_index` of `process_count`."""
    return self._batches(self.train, start_step=start_step, **here)

  def eval_batches(self, **here: int) -> Iterable[dict]:
    """The fixed validation set; of this process, as above."""
    num_examples = min(self.config.num_valid_examples, self.valid.epoch_size)
    return self._batches(self.valid, num_examples=num_examples, **here)

  def describe(self) -> dict[str, Any]:
    """What fixes the examples, as JSON values: corpora may move, not change."""
    return self.described

  def _batches(self, examples, **which):
    return batches(
      examples,
      batch_size=self.config.batch_size,
      num_threads=self.config.num_threads,
      buckets=examples.buckets,
      **which,
    )


def open_text_data(
  config: Any,
  *,
  make_tokenizer: Callable[[Any, Iterable[str]], Any],
  say: Callable[[str], None] = print,
) -> TextData:
  """Opens what a config names, and says how much there is.

  Training and validation have no speaker in common. ValueError if options
  contradict each other or would be ignored, CorpusError if nothing has text.
  """
  data = options.build(config.data, where="config.data")
  if opening.layout_of(data.corpus) == "text":
    texts, make, rows = _open_files(data)
  else:
    texts, make, rows = _open_corpora(config, data, say)
  tokenizer = make_tokenizer(config, texts)
  encode = _Hashed(tokenizer.encode)
  train, valid = make(encode)
  for name, examples in (("training", train), ("validation", valid)):
    bounds = ", ".join(map(str, examples.buckets))
    say(f"{name}: {examples.epoch_size} {data.examples}, padded to {bounds}")
  described = {
    "examples": data.examples,
    "layout": opening.layout_of(data.corpus),
    "tokens": f"{tokenizer.size} kinds, {encode.digest.hexdigest()[:12]}",
  }
  return TextData(data, tokenizer, train, valid, described | rows)


class _Hashed:
  """A tokenizer's `encode` with a hash of all tokens that it gave."""

  def __init__(self, encode):
    self.digest = hashlib.sha256()
    self._encode = encode

  def __call__(self, text):
    tokens = self._encode(text)
    self.digest.update(np.asarray([*tokens, 0], np.int32).tobytes())
    return tokens


def _open_files(data):
  """Texts to train on, a maker of examples, and no rows, of text files."""
  if data.examples != "lines":
    raise ValueError(
      f"data.corpus is {data.corpus}, but {data.examples} need sound; "
      "data.examples=lines is for text alone"
    )
  for name in ("split", "valid_split", "valid_speakers"):
    if value := getattr(data, name):
      raise ValueError(f"data.{name} is {value}, but a text file has none")
  train = valid = data.corpus.partition(":")[2]
  if data.valid_corpus:
    layout, _, valid = data.valid_corpus.partition(":")
    if layout != "text":
      raise ValueError(
        f"data.valid_corpus is {data.valid_corpus}, but {data.corpus} needs "
        "another text:FILE"
      )

  def lines(path, is_held):
    for number, line in enumerate(read_lines(path)):
      if data.valid_corpus or (number % _HELD_LINES == 0) == is_held:
        yield line

  def make(tokenize):
    texts = lines(train, False), lines(valid, True)
    return [_lines(data, each, tokenize) for each in texts]

  return lines(train, False), make, {}


def _open_corpora(config, data, say):
  """Texts to train on, a maker of examples, and a description of the rows."""
  rate = config.sample_rate_hz
  num_sources = 1
  if data.examples == "mixtures":
    num_sources = config.model.get("num_sources", 1)

  def open_one(spec, **which):
    return opening.open_corpus(spec, data=data, sample_rate_hz=rate, **which)

  train, valid = opening.open_both(data, open_one, num_sources=num_sources)
  for purpose, corpus in (("training", train), ("validation", valid)):
    if corpus.is_premixed:
      raise ValueError(f"{corpus.title} has mixtures; utterances are needed")
    opening.say_utterances(say, purpose, corpus)
  opening.check_no_speaker_shared(data, train, valid)
  background = valid_background = {}
  if data.examples == "mixtures":
    background, valid_background = opening.open_background(config, data)

  def make_one(tokenize, corpus, background, **further):
    if data.examples == "lines":
      return _lines(data, corpus["text"], tokenize)
    options_ = {
      "tokenize": tokenize,
      "sample_rate_hz": rate,
      "seed": data.seed,
      "num_buckets": data.num_buckets,
      "longest_s": data.longest_s,
      **further,
    }
    if data.examples == "utterances":
      return Utterances(corpus, **options_)
    has_rirs = background["rirs"] is not None
    return UtteranceMixtures(
      corpus,
      num_sources=num_sources,
      room=data.room,
      rir_length=round(data.rir_s * rate) if has_rirs else None,
      noise_rir=data.noise_rir,
      **background,
      **options_,
    )

  def make(tokenize):
    return (
      make_one(tokenize, train, background, speeds=data.speeds),
      # The set must not change unnoticed.
      make_one(tokenize, valid, valid_background, max_broken_files=0),
    )

  rows = {"train": train, "valid": valid, **background}
  return train["text"], make, opening.describe_rows(rows)


def _lines(data, texts, tokenize):
  """Lines of text as examples."""
  return TextLines(
    texts,
    tokenize=tokenize,
    seed=data.seed,
    num_buckets=data.num_buckets,
    most_tokens=data.most_tokens,
  )
