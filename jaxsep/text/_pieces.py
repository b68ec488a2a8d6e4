"""Word pieces by sentencepiece."""

import functools
import importlib
import io
from collections.abc import Iterable, Sequence
from typing import Any

from etils import epath

from jaxsep.text._tokenizers import BLANK, BOS, EOS


class PieceTokenizer:
  """Pieces of words, as a model of sentencepiece has them; extra `asr`.

  Args:
    model: Content of the model's file, as `train_pieces` writes it. Its unknown
      piece, begin and end of sentence must be 0, 1 and 2, which they are in
      SpeechBrain's models too.

  Raises:
    ImportError: If sentencepiece is not installed.
    ValueError: If the content is not such a model.
  """

  def __init__(self, model: bytes):
    self._model = model
    try:
      processor = _package().SentencePieceProcessor(model_proto=model)
    except RuntimeError as error:
      raise ValueError("not a model of sentencepiece") from error
    found = processor.unk_id(), processor.bos_id(), processor.eos_id()
    if found != (BLANK, BOS, EOS):
      raise ValueError(
        "unknown piece, begin and end of a sentence must be 0, 1 and 2 in the"
        f" sentencepiece model, not {found}: make it with train_pieces"
      )
    self._processor = processor

  @property
  def size(self) -> int:
    """Number of tokens V, with `BLANK`, `BOS` and `EOS`."""
    return self._processor.get_piece_size()

  def encode(self, text: str) -> list[int]:
    """Tokens of a text; ValueError if a part of it has none."""
    tokens = self._processor.encode(text)
    if BLANK in tokens:
      pieces = self._processor.encode(text, out_type=str)
      raise ValueError(
        f"the pieces do not cover {pieces[tokens.index(BLANK)]!r} of {text!r}:"
        " leave the text out, or write it as the texts that the pieces were"
        " made from (upper or lower case)"
      )
    return tokens

  def decode(self, tokens: Sequence[int]) -> str:
    """The text of tokens."""
    return self._processor.decode([int(t) for t in tokens if t > EOS])

  def save(self, path: epath.PathLike) -> None:
    """Writes the file that `load_tokenizer` reads: sentencepiece's own."""
    epath.Path(path).write_bytes(self._model)


def train_pieces(
  texts: Iterable[str], size: int, path: epath.PathLike
) -> PieceTokenizer:
  """Makes word pieces from texts: a unigram model of sentencepiece.

  Every character of the texts gets a token. Needs the extra `asr`.

  Args:
    texts: One sentence each.
    size: Number of tokens V, with `BLANK`, `BOS` and `EOS`.
    path: File to write, of the format of sentencepiece. Its name has no
      meaning.

  Returns:
    The tokenizer in the file.

  Raises:
    FileExistsError: If the file is there already.
    ImportError: If sentencepiece is not installed.
    ValueError: If the texts do not suffice for so many tokens, or need more.

  References:
    Kudo, Subword regularization, ACL 2018.
  """
  path = epath.Path(path)
  if path.exists():
    raise FileExistsError(f"{path} is there already: choose another file")
  content = io.BytesIO()
  try:
    _package().SentencePieceTrainer.train(
      sentence_iterator=iter(texts),
      model_writer=content,
      vocab_size=size,
      character_coverage=1.0,
      unk_id=BLANK,
      bos_id=BOS,
      eos_id=EOS,
      pad_id=-1,
      minloglevel=2,
    )
  except RuntimeError as error:
    reason = str(error).rpartition("] ")[2] or "no texts"
    raise ValueError(f"no {size} word pieces: {reason}") from error
  tokenizer = PieceTokenizer(content.getvalue())
  tokenizer.save(path)
  return tokenizer


@functools.cache
def _package() -> Any:
  """sentencepiece, or one line that says how to get it."""
  try:
    return importlib.import_module("sentencepiece")
  except ImportError as error:
    raise ImportError(
      "word pieces need the package sentencepiece: pip install 'jaxsep[asr]'"
    ) from error
