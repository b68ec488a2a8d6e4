import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxsep import losses

B, N, U, V = 4, 12, 4, 6


@pytest.fixture
def batch(rng):
  """Logits and labels; the third row has none, the fourth do not fit."""
  labels = rng.integers(3, V, (B, U)).astype(np.int32)
  labels[0] = 3, 3, 4, 4
  return {
    "ctc_logits": rng.standard_normal((B, N, V)).astype(np.float32),
    "decoder_logits": rng.standard_normal((B, U + 1, V)).astype(np.float32),
    "labels": labels,
    "input_length": np.array([N, 7, N, 2], np.int32),
    "label_length": np.array([4, 3, 0, 3], np.int32),
  }


compiled = jax.jit(losses.ctc_attention, static_argnames="ctc_weight")


def loss(batch, **options):
  return compiled(**batch, **options)


def ctc_of_torch(batch, row, logits):
  return torch.nn.functional.ctc_loss(
    logits.log_softmax(-1)[: batch["input_length"][row], None],
    torch.tensor(batch["labels"][row : row + 1]).long(),
    torch.tensor(batch["input_length"][row : row + 1]),
    torch.tensor(batch["label_length"][row : row + 1]),
    reduction="sum",
  )


# Reference.


def test_ctc_and_its_gradient_against_torch(batch):
  def total(logits):
    return jnp.sum(
      losses.ctc_attention(**batch | {"ctc_logits": logits}, ctc_weight=1.0)
    )

  slope = jax.jit(jax.grad(total))(batch["ctc_logits"])
  got = loss(batch, ctc_weight=1.0)
  for row in range(2):
    logits = torch.tensor(batch["ctc_logits"][row].astype("f8"))
    expected = ctc_of_torch(batch, row, logits.requires_grad_())
    expected.backward()
    np.testing.assert_allclose(got[row], expected.item(), rtol=1e-5)
    assert logits.grad is not None
    np.testing.assert_allclose(slope[row], logits.grad, atol=1e-5)
  assert not np.any(got[2:]) and not np.any(slope[2:])


def test_ctc_against_all_alignments(rng):
  logits = rng.standard_normal((1, 4, 4)).astype(np.float32)
  probabilities = np.asarray(jax.nn.softmax(logits[0]))
  total = 0.0
  for path in itertools.product(range(4), repeat=4):
    merged = [token for token, _ in itertools.groupby(path) if token]
    if merged == [3, 3]:
      total += np.prod(probabilities[range(4), path])
  batch = {
    "ctc_logits": logits,
    "decoder_logits": np.zeros((1, 3, 4), np.float32),
    "labels": np.array([[3, 3]]),
    "input_length": np.array([4]),
    "label_length": np.array([2]),
  }
  got = loss(batch, ctc_weight=1.0)
  np.testing.assert_allclose(got, -np.log(total), rtol=1e-5)


@pytest.mark.parametrize("counts", [None, [0, 0, 9, 5, 3, 0]])
def test_decoder_against_torch(batch, counts):
  """Off-target mass in proportion to the counts, the target's being zeroed."""
  unigram = None if counts is None else np.array(counts, np.float32)
  got = loss(batch, ctc_weight=0.0, unigram=unigram)
  for row in range(2):
    length = batch["label_length"][row]
    due = [*batch["labels"][row][:length], 2]
    smooth = np.zeros((length + 1, V))
    for step, token in enumerate(due):
      others = np.ones(V) if counts is None else np.array(counts, float)
      others[token] = 0
      smooth[step] = 0.1 * others / others.sum()
      smooth[step, token] = 0.9
    logits = torch.tensor(batch["decoder_logits"][row][: length + 1])
    expected = torch.nn.functional.kl_div(
      logits.double().log_softmax(-1), torch.tensor(smooth), reduction="sum"
    )
    np.testing.assert_allclose(got[row], expected.item(), rtol=1e-5)


# Law.


def test_parts_add_up(batch):
  one, two = (loss(batch, ctc_weight=weight) for weight in (1.0, 0.0))
  np.testing.assert_allclose(loss(batch), 0.2 * one + 0.8 * two, rtol=1e-5)
  # Labels that do not fit still teach the decoder; a row of none teaches none.
  assert one[3] == 0 and two[3] > 0 and two[2] == 0


def test_padding_changes_nothing(batch):
  other = {name: value.copy() for name, value in batch.items()}
  for row in range(B):
    other["ctc_logits"][row, batch["input_length"][row] :] = 9.0
    other["labels"][row, batch["label_length"][row] :] = 5
    other["decoder_logits"][row, batch["label_length"][row] + 1 :, 0] = 9.0

  @jax.jit
  def slopes(x):
    fixed = {name: value for name, value in x.items() if "logits" not in name}

    def total(one, two):
      return jnp.sum(losses.ctc_attention(one, two, **fixed))

    return jax.grad(total, (0, 1))(x["ctc_logits"], x["decoder_logits"])

  np.testing.assert_allclose(loss(other), loss(batch), rtol=1e-5)
  for one, two in zip(slopes(batch), slopes(other), strict=True):
    np.testing.assert_allclose(one, two, atol=1e-6)
    assert not np.any(one[2])


def test_least_decoder_loss_is_zero(batch):
  due = np.append(batch["labels"][0], 2)
  smooth = np.full((U + 1, V), 0.1 / (V - 1))
  smooth[np.arange(U + 1), due] = 0.9
  batch["decoder_logits"][0] = np.log(smooth)
  np.testing.assert_allclose(loss(batch, ctc_weight=0.0)[0], 0.0, atol=1e-5)


# Edge.


def test_what_fits():
  labels = np.array([[3, 3, 4], [3, 4, 3], [3, 3, 3]])
  for length, expected in [
    ([4, 3, 5], [True] * 3),
    ([3, 2, 4], [False] * 3),
  ]:
    got = losses.ctc_fits(labels, np.array(length), np.full(3, 3))
    assert got.tolist() == expected
  none = losses.ctc_fits(labels, np.array([0, 0, 1]), np.array([0, 1, 1]))
  assert none.tolist() == [True, False, True]


def test_extreme_logits_stay_finite(batch):
  batch["ctc_logits"][0] *= 1e4
  batch["decoder_logits"][0] *= 1e4

  @jax.jit
  @jax.value_and_grad
  def total(logits):
    return jnp.sum(losses.ctc_attention(**batch | {"ctc_logits": logits}))

  value, slope = total(batch["ctc_logits"])
  assert np.isfinite(value) and np.all(np.isfinite(slope))


# Failure.


def test_bad_arguments(batch, unchecked):
  with pytest.raises(ValueError, match=r"labels \(4, 3\) must be"):
    losses.ctc_attention(**batch | {"labels": batch["labels"][:, 1:]})
  with pytest.raises(ValueError, match="ctc_weight 2 must be from 0 to 1"):
    losses.ctc_attention(**batch, ctc_weight=2)
