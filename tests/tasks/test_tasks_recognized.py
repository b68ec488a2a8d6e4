"""A separator that is trained by a frozen recogniser."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mask_model import STFT, Masks
from random_params import random_params

from jaxsep import dsp, losses, models, tasks, text

SIZE, TIME = 3, 2000
RECOGNIZER = models.Recognizer(
  5,
  stft=STFT,
  num_mels=8,
  sample_rate_hz=8000,
  conv_channels=(2, 2),
  size=8,
  num_layers=1,
  num_heads=2,
  feedforward_size=8,
  num_decoder_layers=1,
)
FULL = 32 * (TIME // 32)


def make(**options):
  options = {"recognizer": RECOGNIZER} | options
  return tasks.RecognizedSeparationTask(
    model=Masks(), sample_rate_hz=8000, **options
  )


@pytest.fixture(scope="module")
def batch():
  rng = np.random.default_rng(0)
  sources = 0.1 * rng.standard_normal((SIZE, 2, FULL)).astype(np.float32)
  # The second speaker of the last example says nothing.
  sources[2, 1] = 0
  tokens = np.array([[[3, 4], [4, 0]], [[3, 3], [4, 3]], [[4, 4], [0, 0]]])
  return {
    "index": np.arange(SIZE, dtype=np.uint32),
    "sources": sources,
    "length": np.full((SIZE, 2), FULL, np.int32),
    "tokens": tokens.astype(np.int32),
    "tokens_length": np.array([[2, 1], [2, 2], [2, 0]], np.int32),
  }


@pytest.fixture(scope="module")
def variables(batch):
  return jax.jit(make().init)(jax.random.key(0), batch)


@pytest.fixture(scope="module")
def frozen():
  return {
    "recognizer": random_params(RECOGNIZER, **RECOGNIZER.example_inputs())
  }


def keys_of(batch):
  return tasks.Keys.of(jax.random.key(3), batch["index"], step=0)


def loss_of(variables, frozen, batch, task=None):
  task = task or make()
  return task.loss(variables, batch, keys=keys_of(batch), step=0, frozen=frozen)


@jax.jit
def recognizer_loss(variables, magnitudes, tokens, tokens_length):
  """Of both speakers of an example, by the methods of the recogniser."""
  apply = functools.partial(RECOGNIZER.apply, variables)
  num_frames = jnp.full(2, magnitudes.shape[1])
  features = apply(magnitudes, num_frames, method="features_of_spectra")
  encoded, length = apply(features, num_frames, method="encode")
  begun = jnp.pad(tokens, ((0, 0), (1, 0)), constant_values=1)
  return losses.ctc_attention(
    apply(encoded, method="ctc"),
    apply(begun, encoded, length, method="decode"),
    tokens,
    length,
    tokens_length,
  ).sum()


@pytest.fixture(scope="module")
def compiled(batch, variables, frozen):
  """The gradients of the separator, and loss and scalars."""

  def total(variables, frozen, batch):
    value, (_, scalars) = loss_of(variables, frozen, batch)
    return jnp.sum(value), (value, scalars)

  run = jax.jit(jax.grad(total, has_aux=True))
  return functools.partial(run, variables, frozen)


def test_loss_is_that_of_the_recogniser_in_the_nearest_order(
  batch, variables, frozen, compiled
):
  _, (value, scalars) = compiled(batch)
  spectra = jax.jit(
    functools.partial(Masks().apply, method="estimate_spectra")
  )(variables, batch["sources"].sum(1))
  masked, clean = np.abs(spectra), np.abs(STFT(batch["sources"]))
  for b in range(SIZE):
    orders = [masked[b], masked[b, ::-1]]
    nearest = min(orders, key=lambda x, b=b: ((x - clean[b]) ** 2).sum())
    expected = recognizer_loss(
      frozen["recognizer"],
      nearest,
      batch["tokens"][b],
      batch["tokens_length"][b],
    )
    np.testing.assert_allclose(value[b], expected, rtol=1e-3)
  assert not np.asarray(scalars["unfit"]).any()


def test_order_and_silence_of_speakers(batch, compiled):
  _, (value, _) = compiled(batch)
  names = ("sources", "length", "tokens", "tokens_length")
  swapped = batch | {name: batch[name][:, ::-1] for name in names}
  _, (other, _) = compiled(swapped)
  np.testing.assert_allclose(value, other, rtol=1e-4)
  # What a speaker without words would have said does not matter.
  tokens = batch["tokens"].copy()
  tokens[2, 1] = 4
  _, (other, _) = compiled(batch | {"tokens": tokens})
  np.testing.assert_allclose(value, other, rtol=1e-6)


def test_gradients_reach_the_separator(batch, compiled):
  slopes, _ = compiled(batch)
  for path, leaf in jax.tree.flatten_with_path(slopes["params"])[0]:
    assert np.isfinite(leaf).all() and np.asarray(leaf).any(), path
  silence = batch | {"sources": np.zeros_like(batch["sources"])}
  slopes, (value, _) = compiled(silence)
  assert np.isfinite(value).all()
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))


def test_evaluation_counts_words(batch, variables, frozen, compiled, tmp_path):
  tokenizer = text.WordTokenizer.from_texts(["a b"])
  tokenizer.save(tmp_path / "tokenizer")
  task = make(tokenizer=str(tmp_path / "tokenizer"))
  found = jax.jit(functools.partial(task.evaluate, keys=keys_of(batch)))(
    variables, batch, frozen=frozen
  )
  _, (value, _) = compiled(batch)
  np.testing.assert_allclose(found["loss"].total, value, rtol=1e-3)
  # Tokens and the end of each speaker who speaks.
  assert found["loss"].weight.tolist() == [5, 6, 3]
  assert found["si_sdr"].shape == (SIZE,)
  rows = [
    {
      "found": np.array([[3, 4, 0], [4, 4, 4]]),
      "found_length": np.array([2, 1]),
      "tokens": batch["tokens"][b],
      "tokens_length": batch["tokens_length"][b],
    }
    for b in (0, 2)
  ]
  rates = task.summarize(rows)
  assert rates == {"token_error_rate": 1 / 5, "word_error_rate": 1 / 5}
  assert task.save_options["files"]["tokenizer"].endswith("tokenizer")


def test_what_a_recogniser_needs(batch, variables, frozen):
  with pytest.raises(ValueError, match=r"frozen\['recognizer'\]"):
    jax.eval_shape(loss_of, variables, None, batch)
  other = RECOGNIZER.clone(stft=dsp.Stft(n_fft=64, hop_length=16))
  with pytest.raises(ValueError, match=r"the recogniser hears .* at 8000 Hz"):
    task = make(recognizer=other)
    jax.eval_shape(
      functools.partial(loss_of, task=task), variables, frozen, batch
    )
  assert make().describe() != make(recognizer=other).describe()
