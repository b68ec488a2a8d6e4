"""Words as tokens, for jobs."""

import dataclasses
import os
import tempfile
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np

from experiments import job, options
from jaxsep import text


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
  """The tokens of a recogniser.

  Attributes:
    kind: `"words"`, for small vocabularies, `"characters"`, or `"pieces"` of
      words; all are made from the texts to train on.
    size: Number of pieces.
    path: File or model folder with a tokenizer that exists, in place of those;
      None where there is a `config.frozen.recognizer` takes that model's.
  """

  kind: Literal["words", "characters", "pieces"] = "pieces"
  size: int = 6000
  path: str | None = None


options.register(TokenizerConfig)


class Words:
  """A tokenizer, the file that it is in, and how often each token occurs."""

  def __init__(self, tokenizer: text.Tokenizer, path: str, counts: list[float]):
    self.encode, self.size = tokenizer.encode, tokenizer.size
    self.path, self.counts = path, counts


def make_words(config: Any, texts: Iterable[str]) -> Words:
  """The tokenizer of a config, and counts over the texts to train on."""
  wanted = options.build(config.tokenizer, where="config.tokenizer")
  texts = list(texts)
  path = wanted.path or config.frozen.get("recognizer")
  if path and os.path.isdir(path):
    files = job.load_model(path).files
    if "tokenizer" not in files:
      raise ValueError(f"{path}: this model folder has no file 'tokenizer'")
    path = str(files["tokenizer"])
  if not path:
    # Copied into the model folders of the run.
    path = os.path.join(tempfile.mkdtemp(prefix="jaxsep-"), "tokenizer")
    if wanted.kind == "pieces":
      text.train_pieces(texts, wanted.size, path)
    elif wanted.kind == "words":
      text.WordTokenizer.from_texts(texts).save(path)
    else:
      text.CharacterTokenizer.from_texts(texts).save(path)
  tokenizer = text.load_tokenizer(path)
  counts = np.zeros(tokenizer.size)
  for line in texts:
    np.add.at(counts, [*tokenizer.encode(line), text.EOS], 1)
  return Words(tokenizer, path, counts.tolist())
