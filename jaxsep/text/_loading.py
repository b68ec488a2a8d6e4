"""Tokenizers in files."""

import json

from etils import epath

from jaxsep.text._pieces import PieceTokenizer
from jaxsep.text._tokenizers import CharacterTokenizer, Tokenizer, WordTokenizer

_BY_NAME = {kind.plural: kind for kind in (CharacterTokenizer, WordTokenizer)}


def load_tokenizer(path: epath.PathLike) -> Tokenizer:
  """Reads a tokenizer of any kind.

  Args:
    path: File that `save` of a tokenizer wrote, or a model of sentencepiece.

  Returns:
    The tokenizer.

  Raises:
    FileNotFoundError: If there is no such file.
    ImportError: If it holds word pieces and sentencepiece is not installed.
    ValueError: If the file is no tokenizer.

  Example:
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as home:
    ...   WordTokenizer(["one", "two"]).save(f"{home}/tokenizer")
    ...   load_tokenizer(f"{home}/tokenizer").encode("two")
    [4]
  """
  content = epath.Path(path).read_bytes()
  # A model of sentencepiece is a protocol buffer, which starts otherwise.
  if content[:1] != b"{":
    try:
      return PieceTokenizer(content)
    except ValueError as error:
      raise ValueError(f"{path} is no tokenizer: {error}") from error
  try:
    fields = json.loads(content)
    return _BY_NAME[fields["tokenizer"]](fields["symbols"])
  except (ValueError, KeyError, TypeError) as error:
    raise ValueError(f"{path} is no tokenizer, or it is damaged") from error
