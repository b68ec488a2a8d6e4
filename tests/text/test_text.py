import io
import random
import sys

import pytest

from jaxsep import text
from jaxsep.text import _pieces

LINES = ["the cat sat on the mat", "a dog ran", "the dog and the cat"] * 20


@pytest.fixture
def pieces(tmp_path):
  pytest.importorskip("sentencepiece", reason="needs sentencepiece: extra asr")
  return text.train_pieces(LINES, 20, tmp_path / "pieces")


TOKENIZERS = [
  text.CharacterTokenizer.from_texts(LINES),
  text.WordTokenizer.from_texts(LINES),
]


# Law.


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=lambda t: t.plural)
def test_files_and_texts_come_back(tokenizer, tmp_path):
  tokenizer.save(tmp_path / "tokenizer")
  again = text.load_tokenizer(tmp_path / "tokenizer")
  assert type(again) is type(tokenizer) and again.size == tokenizer.size
  for line in LINES[:3]:
    tokens = again.encode(line)
    assert tokens == tokenizer.encode(line)
    assert all(text.EOS < token < again.size for token in tokens)
    ended = [text.BOS, *tokens, text.EOS, text.BLANK]
    assert again.decode(ended) == line
  assert again.encode("") == [] and again.decode([]) == ""
  assert again.decode(again.encode("  a   cat ")) == "a cat"


def test_word_pieces(pieces, tmp_path):
  assert pieces.size == 20
  again = text.load_tokenizer(tmp_path / "pieces")
  tokens = again.encode("the dog sat")
  assert all(text.EOS < token < 20 for token in tokens)
  assert 3 <= len(tokens) <= len("the dog sat")
  assert again.decode([text.BOS, *tokens, text.EOS, 0]) == "the dog sat"


# Failure: what has no token.


@pytest.mark.parametrize(
  ("tokenizer", "unknown"),
  [(TOKENIZERS[0], "character 'x'"), (TOKENIZERS[1], "word 'ox'")],
)
def test_unknown_symbols_are_named(tokenizer, unknown):
  with pytest.raises(ValueError, match=f"does not know the {unknown} of 'a ox"):
    tokenizer.encode("a ox")
  with pytest.raises(ValueError, match="listed twice"):
    type(tokenizer)(["a", "a"])


def test_pieces_refuse(pieces, tmp_path):
  with pytest.raises(ValueError, match=r"do not cover '.*x' of 'the ox'"):
    pieces.encode("the ox")
  with pytest.raises(FileExistsError, match="choose another file"):
    text.train_pieces(LINES, 20, tmp_path / "pieces")
  with pytest.raises(ValueError, match=r"no 4000 word pieces: .* too high"):
    text.train_pieces(LINES, 4000, tmp_path / "many")
  assert not (tmp_path / "many").exists()


def test_pieces_with_other_numbers_are_refused():
  package = pytest.importorskip("sentencepiece", reason="needs sentencepiece")
  other = io.BytesIO()
  package.SentencePieceTrainer.train(
    sentence_iterator=iter(LINES),
    model_writer=other,
    vocab_size=20,
    bos_id=2,
    eos_id=1,
    minloglevel=2,
  )
  with pytest.raises(ValueError, match=r"must be 0, 1 and 2 .* \(0, 2, 1\)"):
    text.PieceTokenizer(other.getvalue())


@pytest.mark.parametrize(
  "content", [b"", b"RIFF", b"{", b'{"tokenizer": "x"}', b'{"tokenizer": []}']
)
def test_damaged_files(content, tmp_path):
  pytest.importorskip("sentencepiece", reason="needs sentencepiece: extra asr")
  (tmp_path / "tokenizer").write_bytes(content)
  with pytest.raises(ValueError, match="tokenizer is no tokenizer"):
    text.load_tokenizer(tmp_path / "tokenizer")


def test_missing_package_is_one_line(monkeypatch):
  monkeypatch.setitem(sys.modules, "sentencepiece", None)
  _pieces._package.cache_clear()
  with pytest.raises(ImportError, match=r"pip install 'jaxsep\[asr\]'"):
    text.PieceTokenizer(b"")


# Reference: word errors.


def test_word_errors_against_meeteval():
  meeteval = pytest.importorskip(
    "meeteval", reason="needs meeteval, which pip compiles: a C++ compiler"
  )
  rng = random.Random(0)
  for _ in range(30):
    one, two = (
      " ".join(rng.choices("abcd", k=rng.randrange(1, 12))) for _ in range(2)
    )
    expected = meeteval.wer.wer.siso.siso_word_error_rate(two, one)
    assert text.word_errors(one, two) == (expected.errors, expected.length)


@pytest.mark.parametrize(
  ("hypothesis", "reference", "expected"),
  [
    ("", "", (0, 0)),
    ("a b", "", (2, 0)),
    ("", "a b", (2, 2)),
    ("b c", "a b c d", (2, 4)),
    ("a b c d", "b c", (2, 2)),
    ([5, 6, 7], [5, 7, 7], (1, 3)),
    (("x",), ["x"], (0, 1)),
  ],
)
def test_word_errors(hypothesis, reference, expected):
  assert text.word_errors(hypothesis, reference) == expected


def test_normalize():
  assert text.normalize("  O’Neil SAID: “no_way” -- 25!\n") == (
    "o'neil said no way 25"
  )
  assert text.normalize("...") == ""
