import pathlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile
from ideal_recognizer import RATE, Tones, sound
from random_params import random_params

import jaxsep
from jaxsep import inference, models, text
from jaxsep.inference import _transcribe

DEMO = pathlib.Path(jaxsep.__file__).parent / "demo"
WORDS = text.WordTokenizer(["one", "two", "three"])


def transcribe(
  signal, tokenizer: text.Tokenizer = WORDS, model=None, **options
):
  options.setdefault("segments", [(0, len(signal))])
  return inference.transcribe(
    model or Tones(tokenizer.size),
    {},
    tokenizer,
    [signal],
    sample_rate_hz=RATE,
    **options,
  )


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
  pytest.importorskip("sentencepiece")
  texts = ["a cab", "bad cab", "dab a cad", "add bad"] * 20
  path = tmp_path_factory.mktemp("pieces") / "tokenizer"
  return text.train_pieces(texts, 11, path)


# Reference.


@pytest.mark.parametrize("beam_size", [1, 4])
@pytest.mark.parametrize("kind", ["words", "characters", "pieces"])
def test_words_and_their_times(kind, beam_size, request):
  said, num_between = "add bad cab", 0
  if kind == "words":
    tokenizer = text.WordTokenizer(["bad", "cab", "add"])
  elif kind == "characters":
    tokenizer, num_between = text.CharacterTokenizer(" abcd"), 1
  else:
    tokenizer = request.getfixturevalue("pieces")
  signal = np.pad(sound(tokenizer.encode(said)), (RATE, 500))
  end = len(signal) - 500
  (found,) = transcribe(
    signal,
    tokenizer,
    segments=[(RATE, end)],
    beam_size=beam_size,
    ctc_weight=1.0,
  )
  assert found[:3] == (1.0, end / RATE, said)
  place = 0
  for word, due in zip(found.words, said.split(), strict=True):
    count = len(tokenizer.encode(due))
    assert word.text == due
    # A token sounds for 0.12 s, every 0.2 s; a frame has 0.04 s.
    assert abs(word.start_s - (1.08 + 0.2 * place)) < 0.05
    assert abs(word.end_s - (1.0 + 0.2 * (place + count))) < 0.05
    place += count + num_between


def test_language_model_chooses():
  """Both of its tokens are as probable by CTC; it knows which is usual."""

  class Unigram(nn.Module):
    usual: int
    num_tokens: int = 5

    def search_start(self, batch, max_length):
      return jnp.zeros(batch + 0 * max_length)

    def search_step(self, state, tokens):
      scores = 30.0 * jax.nn.one_hot(jnp.full(tokens.shape, self.usual), 5)
      return jax.nn.log_softmax(scores), state

  signal = sound([3]) + sound([4])
  tokenizer = text.WordTokenizer(["one", "two"])
  for usual in (3, 4):
    (found,) = transcribe(
      signal, tokenizer, language_model=(Unigram(usual), {}), lm_weight=0.1
    )
    assert found.text.split()[0] == ["one", "two"][usual - 3]


# Law.


def test_batches_and_blocks_change_nothing():
  rng = np.random.default_rng(0)
  rows = [sound(rng.integers(3, 6, n).tolist()) for n in (1, 9, 3, 2, 8, 4)]
  signal = np.concatenate(rows)
  ends = np.cumsum([len(row) for row in rows]).tolist()
  segments = list(zip([0, *ends], ends, strict=False))
  usual = {"beam_size": 1, "longest_s": 2.0}
  alone = [transcribe(row, **usual)[0] for row in rows]
  traced = []

  class Watched(Tones):
    def features(self, signal, length):
      traced.append(signal.shape)
      return super().features(signal, length)

  model = Watched(WORDS.size)
  together = transcribe(
    signal, model=model, segments=segments, batch_size=2, **usual
  )
  assert 2 < len(set(traced)) == len(traced) <= 8
  in_blocks = inference.transcribe(
    Tones(WORDS.size),
    {},
    WORDS,
    np.array_split(signal, 7),
    sample_rate_hz=RATE,
    segments=iter(segments),
    **usual,
  )
  assert in_blocks == together
  assert [u.text for u in together] == [u.text for u in alone]
  for own, shared, (start, _) in zip(alone, together, segments, strict=True):
    for left, right in zip(own.words, shared.words, strict=True):
      assert abs(left.start_s + start / RATE - right.start_s) < 0.021


def test_long_segments_are_cut_in_pauses():
  tokens = [3, 4, 5, 4, 3] * 6
  said = WORDS.decode(tokens)
  found = transcribe(sound(tokens), beam_size=1, longest_s=1.0)
  assert len(found) > 6
  assert max(u.end_s - u.start_s for u in found) <= 1
  assert min(u.end_s - u.start_s for u in found) > 0.2
  assert " ".join(u.text for u in found) == said
  words = [word for u in found for word in u.words]
  for place, word in enumerate(words):
    assert abs(word.start_s - 0.08 - 0.2 * place) < 0.05


def test_progress_adds_up():
  signal, counts = sound([3, None, 4] * 9), []
  half = len(signal) // 2
  transcribe(signal, segments=[(5, half)], beam_size=1, progress=counts.append)
  assert counts == [half - 5, len(signal) - half + 5]


def test_segments_are_found():
  """Speech between silences, of a recogniser with random weights."""
  pytest.importorskip("webrtcvad")
  speech, rate = soundfile.read(DEMO / "speaker_1.flac", dtype="float32")
  signal = np.pad(speech[: 3 * rate], 2 * rate)
  model = models.Recognizer(
    WORDS.size,
    sample_rate_hz=rate,
    num_mels=16,
    size=8,
    num_layers=1,
    num_heads=2,
    feedforward_size=8,
    num_decoder_layers=1,
  )
  variables = random_params(model, **model.example_inputs())
  found = inference.transcribe(
    model,
    variables,
    WORDS,
    np.array_split(signal, 9),
    sample_rate_hz=rate,
    beam_size=2,
    longest_s=4.0,
  )
  assert found
  for part in found:
    assert 1.5 < part.start_s < part.end_s < 6
    for word in part.words:
      assert part.start_s <= word.start_s < word.end_s <= part.end_s


@pytest.mark.parametrize(("ctc_weight", "most"), [(0.4, 32), (0.0, 501)])
def test_room_for_the_tokens_that_ctc_finds(ctc_weight, most):
  """Few in 20 s, unless the decoder is not bound to CTC."""
  places = []

  class Watched(Tones):
    def search_start(self, frames, length, max_length):
      places.append(max_length - 1)
      return super().search_start(frames, length, max_length)

    def ctc(self, frames):
      return 3 * super().ctc(frames)  # Sure of its blanks, as a trained one.

  signal = np.pad(sound([3, 4, 5]), (2 * RATE, 0))
  signal = np.pad(signal, (0, 20 * RATE - len(signal)))
  found = transcribe(
    signal,
    model=Watched(WORDS.size),
    beam_size=2,
    ctc_weight=ctc_weight,
  )
  assert places == [most]
  assert [u.text for u in found] == ["one two three"][: bool(ctc_weight)]


# Edge.


@pytest.mark.parametrize("level", [0.0, 1e-5])
def test_silence_has_no_words(level):
  class Talker(Tones):
    def ctc(self, frames):
      return jnp.zeros((*frames.shape[:2], self.num_tokens)).at[..., 3].set(9)

  signal = np.full(RATE, level, np.float32)
  assert transcribe(signal, model=Talker(WORDS.size)) == []
  assert transcribe(signal + 0.1, model=Talker(WORDS.size), beam_size=1)


def test_nothing_is_no_words():
  nothing = np.zeros(0, np.float32)
  assert transcribe(nothing, segments=[]) == []


def test_more_tokens_than_frames_are_spread(monkeypatch):
  """As by a decoder without CTC that repeats itself."""
  signal = sound([3])  # Seven frames.

  def repeated(*args, **options):
    del args, options
    tokens = jnp.full((1, 1, 6), 3)
    return inference.Hypotheses(tokens, jnp.full((1, 1), 6), jnp.zeros((1, 1)))

  monkeypatch.setattr(_transcribe, "searched", repeated)
  (found,) = transcribe(signal, beam_size=3, lm_weight=0.123)
  starts = [word.start_s for word in found.words]
  assert len(starts) == 6 and starts == sorted(set(starts))


# Failure.


@pytest.mark.parametrize(
  ("options", "match"),
  [
    ({"sample_rate_hz": 16000}, "takes 8000 Hz, not 16000"),
    ({"tokenizer": text.WordTokenizer(["a"])}, "has 6 tokens and the tokeni"),
    ({"segments": [(0, 10**6)]}, "not within the 8000 samples"),
    ({"segments": [(500, 900), (0, 400)]}, "begins before the one before"),
    ({"language_model": (Tones(7), {})}, "and the language model 7"),
    ({"language_model": (Tones(6), {}), "beam_size": 1}, "beam_size of 2"),
    ({"blocks": [np.full(99, np.nan, np.float32)]}, "NaN or Inf at sample 0"),
  ],
)
def test_failures(options, match):
  usual = {
    "tokenizer": WORDS,
    "blocks": [np.ones(RATE, np.float32)],
    "sample_rate_hz": RATE,
    "segments": [(0, 99)],
  }
  with pytest.raises(ValueError, match=match):
    inference.transcribe(Tones(WORDS.size), {}, **(usual | options))


def test_damaged_weights():
  class Damaged(Tones):
    def ctc(self, frames):
      return super().ctc(frames) * jnp.nan

  with pytest.raises(FloatingPointError, match="NaN"):
    transcribe(sound([3]), model=Damaged(WORDS.size), beam_size=1)
