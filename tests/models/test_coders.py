import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxsep.models import Decoder, Encoder
from jaxsep.models.coders import num_frames


def signal(*shape):
  return jax.random.normal(jax.random.key(0), shape)


def paper_rest(length, filter_length):
  hop = filter_length // 2
  return filter_length - (hop + length % filter_length) % filter_length


# Reference.


@pytest.mark.parametrize(
  ("length", "filter_length"), [(1, 16), (39, 40), (40, 40), (203, 2)]
)
def test_equal_to_the_convolutions_of_torch(length, filter_length):
  hop = filter_length // 2
  mixture, kernel = signal(2, length), signal(filter_length, 5)
  features = Encoder(5, filter_length).apply(
    {"params": {"kernel": kernel}}, mixture
  )
  rest = paper_rest(length, filter_length)
  padded = np.pad(mixture, ((0, 0), (hop, hop + rest)))
  weight = torch.from_numpy(np.array(kernel.T))[:, None]
  expected = torch.nn.functional.conv1d(
    torch.from_numpy(padded)[:, None], weight, stride=hop
  )
  np.testing.assert_allclose(features, expected.mT.numpy(), atol=1e-5)
  assert features.shape[1] == num_frames(length, filter_length=filter_length)

  decoded = Decoder(filter_length).apply(
    {"params": {"kernel": kernel.T}}, features, length=length
  )
  expected = torch.nn.functional.conv_transpose1d(expected, weight, stride=hop)
  expected = expected[:, 0, hop : -(rest + hop)]
  assert decoded.shape == expected.shape == (2, length)
  np.testing.assert_allclose(decoded, expected.numpy(), atol=1e-4)


@pytest.mark.parametrize(
  ("length", "filter_length"), [(16, 16), (23, 16), (24, 16), (203, 2)]
)
def test_without_padding_equal_to_the_convolutions_of_torch(
  length, filter_length
):
  hop = filter_length // 2
  mixture, kernel = signal(2, length), signal(filter_length, 5)
  params = {"params": {"kernel": kernel}}
  features = Encoder(5, filter_length, padding="none").apply(params, mixture)
  weight = torch.from_numpy(np.array(kernel.T))[:, None]
  expected = torch.nn.functional.conv1d(
    torch.from_numpy(np.array(mixture))[:, None], weight, stride=hop
  )
  np.testing.assert_allclose(features, expected.mT.numpy(), atol=1e-5)
  frames = num_frames(length, filter_length=filter_length, padding="none")
  assert features.shape[1] == frames

  decoded = Decoder(filter_length, padding="none").apply(
    {"params": {"kernel": kernel.T}}, features, length=length
  )
  expected = torch.nn.functional.conv_transpose1d(expected, weight, stride=hop)
  # The peers fill up with zeros.
  expected = np.pad(
    expected[:, 0].numpy(), ((0, 0), (0, length - expected.shape[-1]))
  )
  np.testing.assert_allclose(decoded, expected, atol=1e-4)


# Laws.


@pytest.mark.parametrize("length", [1, 17, 100])
def test_identity_filters_reconstruct(length):
  # Each sample is in two frames.
  identity = jnp.eye(16)
  mixture = signal(1, length)
  features = Encoder(16).apply({"params": {"kernel": identity}}, mixture)
  decoded = Decoder().apply(
    {"params": {"kernel": identity / 2}}, features, length=length
  )
  np.testing.assert_allclose(decoded, mixture, atol=1e-6)


def test_less_than_a_filter_is_one_frame_without_padding():
  mixture = signal(1, 5)
  features = Encoder(16, padding="none").apply(
    {"params": {"kernel": jnp.eye(16)}}, mixture
  )
  assert features.shape == (1, 1, 16)
  decoded = Decoder(padding="none").apply(
    {"params": {"kernel": jnp.eye(16)}}, features, length=5
  )
  np.testing.assert_allclose(decoded, mixture, atol=1e-6)


@pytest.mark.parametrize("num_filters", [32, 64])
def test_fourier_filters_reconstruct_when_rectified(num_filters):
  mixture = signal(2, 100)
  encoder = Encoder(num_filters, activation="relu", filterbank_init="fourier")
  decoder = Decoder(filterbank_init="fourier")
  features, _ = encoder.init_with_output(jax.random.key(0), mixture)
  assert features.min() == 0
  decoded, _ = decoder.init_with_output(jax.random.key(0), features, length=100)
  np.testing.assert_allclose(decoded, mixture, atol=1e-5)


def test_filters_are_never_rounded_to_fewer_bits():
  # TPUs and some GPUs multiply float32 in 8 to 11 bits unless told otherwise.
  def run(params, mixture):
    features = Encoder(4).apply({"params": params["encoder"]}, mixture)
    return Decoder().apply({"params": params["decoder"]}, features, length=50)

  params = {
    "encoder": {"kernel": signal(16, 4)},
    "decoder": {"kernel": signal(4, 16)},
  }
  jaxpr = jax.make_jaxpr(run)(params, signal(1, 50))
  found = re.findall(r"dot_general\[.*?precision=(\S+)", str(jaxpr), re.DOTALL)
  assert len(found) == 2
  assert all("HIGHEST" in precision for precision in found)


# Failures.


def test_refuses_frames_of_another_length():
  features = signal(1, 10, 4)
  with pytest.raises(ValueError, match="50 samples have 8 frames"):
    Decoder().init(jax.random.key(0), features, length=50)


@pytest.mark.parametrize(
  ("filterbank_init", "num_filters", "message"),
  [
    ("fourier", 30, "30 filters of 16 samples cannot start as a Fourier"),
    ("fourier", 28, "at least 32"),
    ("gammatone", 32, "filterbank_init is 'uniform' or 'fourier'"),
  ],
)
def test_refuses_impossible_filters(filterbank_init, num_filters, message):
  encoder = Encoder(num_filters, filterbank_init=filterbank_init)
  with pytest.raises(ValueError, match=message):
    encoder.init(jax.random.key(0), signal(1, 100))
