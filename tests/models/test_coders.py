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


@pytest.mark.parametrize("padding", ["both", "none"])
@pytest.mark.parametrize(
  ("filter_length", "length"), [(16, 16), (16, 23), (40, 40), (2, 203)]
)
def test_equal_to_the_convolutions_of_torch(padding, filter_length, length):
  hop = filter_length // 2
  encoder = Encoder(5, filter_length, padding=padding)
  decoder = Decoder(filter_length, padding=padding)
  mixture, kernel = signal(2, length), signal(filter_length, 5)
  features = encoder.apply({"params": {"kernel": kernel}}, mixture)
  before = after = 0
  if padding == "both":  # As in the paper.
    rest = filter_length - (hop + length % filter_length) % filter_length
    before, after = hop, hop + rest
  padded = torch.from_numpy(np.pad(mixture, ((0, 0), (before, after))))
  weight = torch.from_numpy(np.array(kernel.T))[:, None]
  expected = torch.nn.functional.conv1d(padded[:, None], weight, stride=hop)
  np.testing.assert_allclose(features, expected.mT.numpy(), atol=1e-5)
  frames = num_frames(length, filter_length=filter_length, padding=padding)
  assert features.shape[1] == frames

  decoded = decoder.apply(
    {"params": {"kernel": kernel.T}}, features, length=length
  )
  expected = torch.nn.functional.conv_transpose1d(expected, weight, stride=hop)
  # The peers fill up with zeros.
  expected = np.pad(expected[:, 0].numpy(), ((0, 0), (0, filter_length)))
  expected = expected[:, before : before + length]
  assert decoded.shape == (2, length)
  np.testing.assert_allclose(decoded, expected, atol=1e-4)


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
  mixture, params = signal(1, 5), {"params": {"kernel": jnp.eye(16)}}
  features = Encoder(16, padding="none").apply(params, mixture)
  assert features.shape == (1, 1, 16)
  decoded = Decoder(padding="none").apply(params, features, length=5)
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
  # By default TPUs and some GPUs multiply float32 in 8 to 11 bits.
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


def test_refuses_frames_of_another_length():
  features = signal(1, 10, 4)
  with pytest.raises(ValueError, match="50 samples have 8 frames"):
    Decoder().init(jax.random.key(0), features, length=50)


@pytest.mark.parametrize(
  ("filterbank_init", "num_filters", "message"),
  [
    ("fourier", 30, "30 filters of 16 samples"),
    ("fourier", 28, "at least 32"),
    ("gammatone", 32, "filterbank_init is 'uniform' or 'fourier'"),
  ],
)
def test_refuses_impossible_filters(filterbank_init, num_filters, message):
  encoder = Encoder(num_filters, filterbank_init=filterbank_init)
  with pytest.raises(ValueError, match=message):
    encoder.init(jax.random.key(0), signal(1, 100))
