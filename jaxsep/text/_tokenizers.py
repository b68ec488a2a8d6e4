"""Texts as tokens: characters and words."""

import json
from collections.abc import Iterable, Sequence
from typing import ClassVar, Protocol, runtime_checkable

from etils import epath

#: The blank of CTC; also pads rows of labels.
BLANK = 0
#: Begins a sentence.
BOS = 1
#: Ends a sentence.
EOS = 2


@runtime_checkable
class Tokenizer(Protocol):
  """What turns texts into tokens and back.

  Texts become tokens from 3 on; `BLANK`, `BOS` and `EOS` are left out when
  tokens become text.
  """

  @property
  def size(self) -> int:
    """Number of tokens V, with `BLANK`, `BOS` and `EOS`."""
    ...

  def encode(self, text: str) -> list[int]:
    """Tokens of a text; ValueError if a part of it has none."""
    ...

  def decode(self, tokens: Sequence[int]) -> str:
    """The text of tokens."""
    ...

  def save(self, path: epath.PathLike) -> None:
    """Writes the file that `load_tokenizer` reads."""
    ...


class _SymbolTokenizer:
  """Symbols of a fixed list, by number."""

  unit: ClassVar[str]
  plural: ClassVar[str]
  joint: ClassVar[str]

  def __init__(self, symbols: Iterable[str]):
    self.symbols = tuple(symbols)
    self._tokens = {symbol: i for i, symbol in enumerate(self.symbols, EOS + 1)}
    if len(self._tokens) != len(self.symbols):
      raise ValueError(f"a {self.unit} is listed twice")

  @classmethod
  def from_texts(cls, texts: Iterable[str]):
    """The tokenizer of all that occurs in the texts, sorted."""
    return cls(sorted({part for text in texts for part in cls._split(text)}))

  @property
  def size(self) -> int:
    """Number of tokens V, with `BLANK`, `BOS` and `EOS`."""
    return EOS + 1 + len(self.symbols)

  def encode(self, text: str) -> list[int]:
    """Tokens of a text; ValueError if a part of it has none."""
    try:
      return [self._tokens[symbol] for symbol in self._split(text)]
    except KeyError as error:
      raise ValueError(
        f"the tokenizer does not know the {self.unit} {error.args[0]!r} of"
        f" {text!r}: leave the text out, or normalize it, or make the tokenizer"
        " from texts that have it"
      ) from None

  def decode(self, tokens: Sequence[int]) -> str:
    """The text of tokens."""
    kept = [int(token) - EOS - 1 for token in tokens if token > EOS]
    return self.joint.join(self.symbols[index] for index in kept)

  def save(self, path: epath.PathLike) -> None:
    """Writes the file that `load_tokenizer` reads."""
    content = {"tokenizer": self.plural, "symbols": self.symbols}
    epath.Path(path).write_text(json.dumps(content, ensure_ascii=False) + "\n")

  @staticmethod
  def _split(text: str) -> Iterable[str]:
    raise NotImplementedError


class CharacterTokenizer(_SymbolTokenizer):
  """Each character is a token; so is the space between words.

  Args:
    symbols: The characters; their tokens count from 3.

  Example:
    >>> tokenizer = CharacterTokenizer.from_texts(["a cab"])
    >>> print(tokenizer.size, tokenizer.encode("bac"))
    7 [5, 4, 6]
    >>> tokenizer.decode([1, 5, 4, 6, 2])
    'bac'
  """

  unit, plural, joint = "character", "characters", ""

  @staticmethod
  def _split(text):
    return " ".join(text.split())


class WordTokenizer(_SymbolTokenizer):
  """Each word is a token: for a closed vocabulary, such as digits.

  Args:
    symbols: The words; their tokens count from 3.

  Example:
    >>> tokenizer = WordTokenizer(["zero", "one"])
    >>> tokenizer.encode("one one zero")
    [4, 4, 3]
  """

  unit, plural, joint = "word", "words", " "

  @staticmethod
  def _split(text):
    return text.split()
