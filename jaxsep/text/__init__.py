"""Words of a recording: tokens for models, and errors against a reference.

Plain Python on the host. Token 0 is the blank of CTC, and the padding of label
rows; tokens 1 and 2 begin and end a sentence. A tokenizer is a file in the
model folder, read with `load_tokenizer`. Transcripts with times are STM and CTM
files.
"""

from jaxsep.text._errors import normalize, word_errors
from jaxsep.text._loading import load_tokenizer
from jaxsep.text._pieces import PieceTokenizer, train_pieces
from jaxsep.text._tokenizers import (
  BLANK,
  BOS,
  EOS,
  CharacterTokenizer,
  Tokenizer,
  WordTokenizer,
)
from jaxsep.text._transcripts import (
  SpokenTurn,
  TimedWord,
  read_stm,
  write_ctm,
  write_stm,
)

__all__ = [
  "BLANK",
  "BOS",
  "EOS",
  "CharacterTokenizer",
  "PieceTokenizer",
  "SpokenTurn",
  "TimedWord",
  "Tokenizer",
  "WordTokenizer",
  "load_tokenizer",
  "normalize",
  "read_stm",
  "train_pieces",
  "word_errors",
  "write_ctm",
  "write_stm",
]
