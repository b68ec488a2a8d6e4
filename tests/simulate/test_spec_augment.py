import jax
import jax.numpy as jnp
import numpy as np

from jaxsep import simulate


def stretches(hidden):
  """Lengths of the runs of True."""
  edges = np.flatnonzero(np.diff(np.concatenate([[0], hidden, [0]])))
  return edges[1::2] - edges[::2]


def test_masks_are_stretches_within_their_bounds():
  augment = simulate.SpecAugment(max_bands=4, max_frames=6, max_share=0.5)
  keys = jax.random.split(jax.random.key(0), 200)
  features = jnp.ones((20, 12))
  masked = jax.jit(jax.vmap(lambda key: augment(key, features, jnp.array(10))))
  got = np.asarray(masked(keys)) == 0
  frames, bands = got.all(axis=2), got.all(axis=1)
  # What is hidden is hidden in whole frames and whole bands.
  assert np.array_equal(got, frames[:, :, None] | bands[:, None])
  assert not frames[:, 10:].any()
  for hidden, longest in ((frames, 5), (bands, 4)):
    lengths = [stretches(row) for row in hidden]
    assert max(len(row) for row in lengths) == 2
    # Two may touch.
    assert longest <= max(row.max(initial=0) for row in lengths) <= 2 * longest
    assert min(len(row) for row in lengths) == 0
  assert frames[:, 0].any() and frames[:, 9].any()
  assert bands[:, 0].any() and bands[:, 11].any()


def test_the_key_alone_decides():
  augment = simulate.SpecAugment(max_bands=4)
  features = jnp.ones((9, 6))
  one, two, three = (
    augment(jax.random.key(seed), features, jnp.array(9)) for seed in (1, 1, 2)
  )
  assert np.array_equal(one, two) and not np.array_equal(one, three)


def test_nothing_is_hidden_of_nothing():
  augment = simulate.SpecAugment(num_band_masks=0)
  features = jnp.ones((9, 6))
  for length in (0, 1):
    got = augment(jax.random.key(0), features, jnp.array(length))
    np.testing.assert_array_equal(got, features)
