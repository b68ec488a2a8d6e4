import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft
import torch
from scipy import signal as scipy_signal

from jaxsep import dsp


def test_room_sized_against_scipy(rng):
  signal = rng.standard_normal((2, 16_000)).astype(np.float32)
  response = rng.standard_normal((2, 4_001)).astype(np.float32)
  got = dsp.fft_convolve(signal, response)
  expected = scipy_signal.fftconvolve(
    signal.astype(np.float64), response, axes=-1
  )
  assert got.shape == (2, 20_000)
  np.testing.assert_allclose(got, expected, atol=1e-6 * np.abs(expected).max())


def test_leading_axes_broadcast(rng):
  signal = rng.standard_normal((2, 1, 30)).astype(np.float32)
  response = rng.standard_normal((2, 3, 8)).astype(np.float32)
  got = np.asarray(dsp.fft_convolve(signal, response))
  assert got.shape == (2, 3, 37)
  for i, j in np.ndindex(2, 3):
    np.testing.assert_allclose(
      got[i, j], np.convolve(signal[i, 0], response[i, j]), atol=1e-5
    )
  shared = dsp.fft_convolve(signal, response[0, 0])
  np.testing.assert_allclose(shared[0, 0], got[0, 0], atol=1e-5)


@pytest.mark.parametrize("length", [1, 2, 3, 7, 97, 1024, 1025, 7919, 100_003])
def test_fast_length_is_the_next_even_smooth_number(length):
  # Twice a number whose prime factors are 2, 3 and 5.
  expected = 2 * scipy.fft.next_fast_len(-(-length // 2), real=True)
  assert dsp.fast_length(length) == expected


def test_types():
  half, single = jnp.ones(4, jnp.bfloat16), jnp.ones(4, jnp.float32)
  assert dsp.fft_convolve(half, half).dtype == jnp.bfloat16
  assert dsp.fft_convolve(half, single).dtype == jnp.float32


def test_gradient_against_torch(rng):
  signal = rng.standard_normal(40).astype(np.float32)
  response = rng.standard_normal(9).astype(np.float32)

  def loss(signal, response):
    return jnp.sum(jnp.tanh(dsp.fft_convolve(signal, response)))

  got = jax.jit(jax.grad(loss, argnums=(0, 1)))(signal, response)
  inputs = [
    torch.tensor(array, dtype=torch.float64, requires_grad=True)
    for array in (signal, response)
  ]
  output = torch.nn.functional.conv1d(
    inputs[0][None, None], inputs[1].flip(0)[None, None], padding=8
  )
  torch.tanh(output).sum().backward()
  for ours, theirs in zip(got, inputs, strict=True):
    np.testing.assert_allclose(ours, theirs.grad.numpy(), atol=1e-4)


def test_bad_shapes_are_named(unchecked):
  with pytest.raises(ValueError, match=r"\(2, 9\) and response \(3, 4\)"):
    dsp.fft_convolve(jnp.ones((2, 9)), jnp.ones((3, 4)))
  with pytest.raises(ValueError, match="at least one sample"):
    dsp.fft_convolve(jnp.ones((2, 9)), jnp.ones((2, 0)))
