import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxsep.models.dual_path import (
  DualPathBlock,
  across_chunks,
  along_chunks,
  num_chunks,
  overlap_add,
  segment,
)

LENGTHS = [1, 5, 6, 12, 13]


def features(*shape):
  return jax.random.normal(jax.random.key(0), shape)


@pytest.mark.parametrize("length", LENGTHS)
def test_padding_by_chunks_is_unfold_and_fold(length):
  x = features(2, length, 3)
  chunks = segment(x, chunk_length=6, padding="chunk")
  # What Asteroid does: whole chunks of zeros, incomplete ones left out.
  tall = torch.from_numpy(np.array(x)).mT[..., None]
  geometry = {"kernel_size": (6, 1), "padding": (6, 0), "stride": (3, 1)}
  unfolded = torch.nn.functional.unfold(tall, **geometry)
  expected = unfolded.reshape(2, 3, 6, -1).permute(0, 3, 2, 1)
  np.testing.assert_array_equal(chunks, expected)

  changed = chunks**2
  back = overlap_add(changed, length=length, padding="chunk", divide=True)
  folded = torch.nn.functional.fold(unfolded**2, (length, 1), **geometry) / 2
  np.testing.assert_allclose(back, folded[..., 0].mT, rtol=1e-6)


@pytest.mark.parametrize("length", LENGTHS)
def test_padding_by_hops_is_the_authors_loop(length):
  x = np.asarray(features(1, length, 2))
  rest = 6 - (3 + length % 6) % 6
  padded = np.pad(x, ((0, 0), (3, rest + 3), (0, 0)))
  starts = range(0, padded.shape[1] - 5, 3)
  expected = np.stack([padded[:, s : s + 6] for s in starts], axis=1)
  np.testing.assert_array_equal(segment(x, chunk_length=6), expected)


def test_chunks_of_four_seconds():
  assert num_chunks(31_999, chunk_length=250) == 258
  assert num_chunks(3_999, chunk_length=100, padding="chunk") == 82


@pytest.mark.parametrize("padding", ["hop", "chunk"])
@pytest.mark.parametrize("length", LENGTHS)
def test_overlap_add_inverts(length, padding):
  x = features(2, length, 3)
  chunks = segment(x, chunk_length=8, padding=padding)
  assert chunks.shape[1] == num_chunks(length, chunk_length=8, padding=padding)
  back = overlap_add(chunks, length=length, padding=padding, divide=True)
  np.testing.assert_array_equal(back, x)
  twice = overlap_add(chunks, length=length, padding=padding)
  np.testing.assert_array_equal(twice, 2 * x)


def test_paths_go_along_and_across():
  chunks = features(2, 3, 4, 5)
  along = along_chunks(lambda x: jnp.cumsum(x, axis=1), chunks)
  np.testing.assert_allclose(along, np.cumsum(chunks, axis=2), atol=1e-6)
  across = across_chunks(lambda x: jnp.cumsum(x, axis=1), chunks)
  np.testing.assert_allclose(across, np.cumsum(chunks, axis=1), atol=1e-6)
  block = DualPathBlock(lambda x: jnp.cumsum(x, axis=1), lambda x: 2 * x)
  np.testing.assert_array_equal(block.apply({}, chunks), 2 * along)


def test_refuses_chunks_of_another_length():
  chunks = segment(features(1, 9, 2), chunk_length=4)
  with pytest.raises(ValueError, match="30 frames have 18 chunks"):
    overlap_add(chunks, length=30)
