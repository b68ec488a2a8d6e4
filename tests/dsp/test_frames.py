import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxsep import dsp

# Frame and hop: divisible or not, equal, with gaps, and many hops.
LENGTHS = [(8, 2), (8, 3), (8, 8), (5, 7), (1, 1), (40, 1), (99, 2)]


@pytest.mark.parametrize("frame_length, hop_length", LENGTHS)
def test_frame_against_numpy(rng, frame_length, hop_length):
  signal = rng.standard_normal((2, 3, 150)).astype(np.float32)
  windows = np.lib.stride_tricks.sliding_window_view(signal, frame_length, -1)
  got = dsp.frame(signal, frame_length=frame_length, hop_length=hop_length)
  np.testing.assert_array_equal(got, windows[..., ::hop_length, :])


@pytest.mark.parametrize("frame_length, hop_length", LENGTHS)
def test_overlap_add_against_torch(rng, frame_length, hop_length):
  frames = rng.standard_normal((2, 6, frame_length)).astype(np.float32)
  time = 5 * hop_length + frame_length
  expected = torch.nn.functional.fold(
    torch.tensor(np.moveaxis(frames, -1, -2).copy()),
    output_size=(1, time),
    kernel_size=(1, frame_length),
    stride=(1, hop_length),
  )
  got = dsp.overlap_add(frames, hop_length=hop_length)
  assert got.shape == (2, time)
  np.testing.assert_allclose(got, expected[:, 0, 0], atol=1e-5)


@pytest.mark.parametrize("hop_length", [2, 3])
def test_nan_and_inf_stay_in_their_frames(hop_length):
  signal = np.ones(20, np.float32)
  signal[5], signal[11] = np.nan, np.inf
  windows = np.lib.stride_tricks.sliding_window_view(signal, 4)[::hop_length]
  frames = dsp.frame(signal, frame_length=4, hop_length=hop_length)
  np.testing.assert_array_equal(frames, windows)
  added = np.asarray(dsp.overlap_add(frames, hop_length=hop_length))
  assert list(np.flatnonzero(~np.isfinite(added))) == [5, 11]


def test_types_stay():
  for dtype in (jnp.bfloat16, jnp.float32, jnp.complex64):
    frames = dsp.frame(jnp.ones(9, dtype), frame_length=4, hop_length=2)
    assert frames.dtype == dtype
    assert dsp.overlap_add(frames, hop_length=2).dtype == dtype


@pytest.mark.parametrize("frame_length, hop_length", [(8, 4), (7, 3), (80, 1)])
def test_jit_vmap_and_the_gradients_of_each_other(
  rng, frame_length, hop_length
):
  frame = functools.partial(
    dsp.frame, frame_length=frame_length, hop_length=hop_length
  )
  add = functools.partial(dsp.overlap_add, hop_length=hop_length)
  time = 20 * hop_length + frame_length
  signal = rng.standard_normal((3, time)).astype(np.float32)
  frames = frame(signal)
  added = jax.jit(jax.vmap(lambda x: add(frame(x))))(signal)
  np.testing.assert_allclose(added, add(frames), rtol=1e-5, atol=1e-5)
  # Each is the transpose of the other.
  _, pullback = jax.vjp(frame, signal)
  np.testing.assert_allclose(pullback(frames)[0], added, rtol=1e-5, atol=1e-5)
  _, pullback = jax.vjp(add, frames)
  np.testing.assert_array_equal(pullback(signal)[0], frames)


@pytest.mark.parametrize("hop_length", [64, 100])
def test_no_gather_and_no_scatter(hop_length):
  def there_and_back(signal):
    frames = dsp.frame(signal, frame_length=256, hop_length=hop_length)
    return jnp.sum(jnp.tanh(dsp.overlap_add(frames, hop_length=hop_length)))

  code = str(jax.make_jaxpr(jax.grad(there_and_back))(jnp.ones(4000)))
  assert "gather" not in code
  assert "scatter" not in code


def test_bad_lengths_are_named():
  with pytest.raises(ValueError, match="shorter than a frame of 4"):
    dsp.frame(jnp.ones(3), frame_length=4, hop_length=2)
  with pytest.raises(ValueError, match="hop length 0 must be positive"):
    dsp.frame(jnp.ones(9), frame_length=4, hop_length=0)
  with pytest.raises(ValueError, match="frame length 0"):
    dsp.overlap_add(jnp.ones((3, 0)), hop_length=2)
  with pytest.raises(ValueError, match="hold no frame"):
    dsp.overlap_add(jnp.ones((0, 4)), hop_length=2)
