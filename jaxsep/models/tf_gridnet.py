"""TF-GridNet: recurrent layers along frequency and time, and attention."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxsep import dsp
from jaxsep.models._linear import Linear
from jaxsep.models._options import (
  check_floating,
  check_mixture,
  check_positive,
)
from jaxsep.models.coders import zero_padding
from jaxsep.models.norms import ChannelLayerNorm, GlobalLayerNorm
from jaxsep.models.recurrent import LSTM
from jaxsep.typing import Array, Float, Int

_EPS = 1e-5
# RMS below which a mixture counts as silent.
_FLOOR = 1e-8


class TFGridNet(nn.Module):
  """Separates a waveform by estimating the complex spectra of its sources.

  Maps `[[B]atch, [T]ime]` to `[[B]atch, [S]ources, [T]ime]`, for any length
  from one sample on. Each block runs an LSTM along the frequencies of every
  frame and another along the frames of every frequency, then lets all frames
  attend to each other. The defaults are a small network for 8 kHz, with sizes
  of our own.

  A level change of the mixture changes the level of the estimates and nothing
  else. Estimates of a padded example are those of the example alone.

  Attributes:
    num_sources: Speakers to separate.
    stft: The short-time Fourier transform.
    feature_size: Features D of every time-frequency bin; a multiple of
      `num_heads`.
    num_blocks: Blocks B.
    hidden_size: Width H of an LSTM in one direction.
    unfold: Neighbouring bins I that an LSTM takes at once; a multiple of
      `stride`.
    stride: Bins J from one step of an LSTM to the next.
    num_heads: Heads L of the attention.
    key_size: Features of a query or key over all frequencies, about; each bin
      has `ceil(key_size / F)`, E in the paper.
    dtype: Type of the matmuls of the LSTMs, the layers after them and the
      attention. All sums, statistics and parameters stay float32.

  References:
    Wang et al., TF-GridNet: integrating full- and sub-band modeling for speech
    separation, 2023, arXiv 2211.12433.

  Example:
    >>> model = TFGridNet(feature_size=8, num_blocks=1, hidden_size=8)
    >>> mixture = jnp.zeros((1, 800))
    >>> variables = model.init(jax.random.key(0), mixture)
    >>> model.apply(variables, mixture).shape
    (1, 2, 800)
  """

  num_sources: int = 2
  stft: dsp.Stft = dsp.Stft(n_fft=256, hop_length=128, window="sqrt_hann")
  feature_size: int = 24
  num_blocks: int = 4
  hidden_size: int = 64
  unfold: int = 4
  stride: int = 4
  num_heads: int = 4
  key_size: int = 512
  dtype: DTypeLike = jnp.float32

  @property
  def hop_length(self) -> int:
    """Samples from one frame to the next."""
    return self.stft.hop_length

  @nn.nowrap
  def example_inputs(self) -> dict[str, jax.Array]:
    """Small arguments for `init`."""
    return {"mixture": jnp.zeros((1, 2 * self.stft.n_fft))}

  @nn.compact
  def __call__(
    self,
    mixture: Float[Array, "batch time"],
    *,
    length: Int[Array, "batch"] | None = None,
    train: bool = False,
  ) -> Float[Array, "batch {self.num_sources} time"]:
    """Separates the mixtures.

    Args:
      mixture: Mixtures, shape `[B, T]`.
      length: See `ConvTasNet.__call__`.
      train: Ignored: training and separation are the same.

    Returns:
      Estimates, shape `[B, S, T]`.

    Raises:
      ValueError: If the mixture is empty or has other axes, or if an option
        is impossible.
    """
    del train
    check_mixture(mixture)
    self._check()
    time = mixture.shape[1]
    samples = jnp.full(len(mixture), time) if length is None else length
    frames = None if length is None else self.stft.num_frames(length)
    mixture = zero_padding(mixture, samples)
    energy = jnp.sum(jnp.square(mixture), axis=1) / jnp.maximum(samples, 1)
    level = jnp.sqrt(energy + _FLOOR**2)[:, None]
    spectrum = self.stft(mixture / level)
    y = jnp.stack([spectrum.real, spectrum.imag], axis=-1)
    y = Linear(self.feature_size, name="input")(_neighbours(_valid(y, frames)))
    y = _GridNorm(name="input_norm")(y, frames)
    for index in range(self.num_blocks):
      y = _Block(
        self.feature_size,
        self.hidden_size,
        self.unfold,
        self.stride,
        self.num_heads,
        -(-self.key_size // self.stft.num_bins),
        self.dtype,
        name=f"block_{index}",
      )(y, frames)
    # A transposed convolution of 3 x 3 bins: the features of the neighbours.
    y = _neighbours(_valid(y, frames))
    y = Linear(2 * self.num_sources, name="output")(y)
    y = y.reshape(*y.shape[:-1], self.num_sources, 2)
    spectra = jnp.moveaxis(jax.lax.complex(y[..., 0], y[..., 1]), -1, 1)
    estimates = self.stft.inverse(spectra, length=time, num_frames=frames)
    return zero_padding(level[..., None] * estimates, samples)

  @nn.nowrap
  def _check(self):
    check_floating(self.dtype)
    check_positive(
      num_sources=self.num_sources,
      num_blocks=self.num_blocks,
      hidden_size=self.hidden_size,
      stride=self.stride,
      num_heads=self.num_heads,
      key_size=self.key_size,
    )
    if self.unfold % self.stride or self.unfold < 1:
      raise ValueError(
        f"unfold must be a multiple of the stride {self.stride}, not"
        f" {self.unfold}."
      )
    if self.feature_size % self.num_heads or self.feature_size < 1:
      raise ValueError(
        f"feature_size must be a multiple of the {self.num_heads} heads, not"
        f" {self.feature_size}."
      )


class _Block(nn.Module):
  """A block of TF-GridNet: `[B, N, F, D]` to the same shape."""

  feature_size: int
  hidden_size: int
  unfold: int
  stride: int
  num_heads: int
  key_size: int
  dtype: DTypeLike

  @nn.compact
  def __call__(self, x, frames):
    bins = x.shape[2]
    flat = x.reshape(-1, bins, self.feature_size)
    x = self._recurrent("intra", flat, None).reshape(x.shape)
    sequences = jnp.swapaxes(_valid(x, frames), 1, 2)
    flat = sequences.reshape(-1, *sequences.shape[2:])
    lengths = None if frames is None else jnp.repeat(frames, bins)
    flat = self._recurrent("inter", flat, lengths)
    x = jnp.swapaxes(flat.reshape(sequences.shape), 1, 2)
    return x + self._attention(x, frames)

  def _recurrent(self, name, x, lengths):
    """A layer along sequences `[M, P, D]`, with its input added."""
    length, stride = x.shape[1], self.stride
    y = ChannelLayerNorm(_EPS, name=f"{name}_norm")(x)
    steps = max(0, -(-(length - self.unfold) // stride)) + 1
    ratio = self.unfold // stride
    missing = (steps + ratio - 1) * stride - length
    if lengths is not None:
      y = zero_padding(y, lengths, axis=-2)
      lengths = jnp.maximum(0, -(-(lengths - self.unfold) // stride)) + 1
    # Steps are strides of bins, with those that follow them.
    y = jnp.pad(y, ((0, 0), (0, missing), (0, 0)))
    y = y.reshape(len(y), -1, stride * self.feature_size)
    windows = [y[:, place : place + steps] for place in range(ratio)]
    windows = jnp.concatenate(windows, axis=-1)
    lstm = LSTM(self.hidden_size, dtype=self.dtype, name=f"{name}_lstm")
    states = lstm(windows, lengths)
    if lengths is not None:
      states = zero_padding(states, lengths, axis=-2)
    # The transposed convolution: each step adds to its `unfold` bins.
    kernel = Linear(
      self.unfold * self.feature_size,
      use_bias=False,
      dtype=self.dtype,
      name=f"{name}_linear",
    )
    parts = jnp.split(kernel(states), ratio, axis=-1)
    y: Any = sum(
      jnp.pad(part, ((0, 0), (place, ratio - 1 - place), (0, 0)))
      for place, part in enumerate(parts)
    )
    y = y.reshape(len(y), -1, self.feature_size)[:, :length]
    bias = self.param(
      f"{name}_bias", nn.initializers.zeros, (self.feature_size,)
    )
    return x + y + bias[None, None]

  def _attention(self, x, frames):
    """Every frame attends to all, with all of its bins at once."""
    heads, values = self.num_heads, self.feature_size // self.num_heads
    query = self._heads("query", x, self.key_size)
    key = self._heads("key", x, self.key_size)
    value = self._heads("value", x, values)
    scores = _product("bhqc,bhkc->bhqk", query, key)
    scores = scores / jnp.sqrt(jnp.float32(query.shape[-1]))
    if frames is not None:
      valid = jnp.arange(scores.shape[-1])[None] < frames[:, None]
      scores = jnp.where(valid[:, None, None], scores, -jnp.inf)
    weights = jax.nn.softmax(scores, axis=-1).astype(self.dtype)
    mixed = _product("bhqk,bhkc->bhqc", weights, value)
    mixed = mixed.reshape(*mixed.shape[:3], x.shape[2], values)
    mixed = jnp.transpose(mixed, (0, 2, 3, 1, 4))
    mixed = mixed.reshape(*mixed.shape[:3], heads * values)
    y = Linear(self.feature_size, dtype=self.dtype, name="joined")(mixed)
    return _FrameNorm(1, name="joined_norm")(y)[..., 0, :]

  def _heads(self, name, x, size):
    """Features `[B, L, N, F * size]` of each head, in the type of matmuls."""
    heads = self.num_heads
    y = Linear(heads * size, dtype=self.dtype, name=name)(x)
    y = _FrameNorm(heads, name=f"{name}_norm")(y)
    y = jnp.transpose(y, (0, 3, 1, 2, 4)).astype(self.dtype)
    return y.reshape(*y.shape[:3], -1)


class _FrameNorm(nn.Module):
  """PReLU, then each head of a frame normalised over its bins and features.

  Maps `[B, N, F, L * E]` to `[B, N, F, L, E]`.
  """

  num_heads: int

  @nn.compact
  def __call__(self, x):
    heads = self.num_heads
    x = x.reshape(*x.shape[:-1], heads, -1)
    slope = self.param("slope", nn.initializers.constant(0.25), (heads, 1))
    x = jnp.where(x >= 0, x, slope[None, None, None] * x)
    mean = jnp.mean(x, axis=(2, 4), keepdims=True)
    centred = x - mean
    variance = jnp.mean(jnp.square(centred), axis=(2, 4), keepdims=True)
    shape = (x.shape[2], heads, x.shape[4])
    scale = self.param("scale", nn.initializers.ones, shape)
    bias = self.param("bias", nn.initializers.zeros, shape)
    normalised = centred * jax.lax.rsqrt(variance + _EPS)
    return normalised * scale[None, None] + bias[None, None]


class _GridNorm(nn.Module):
  """Normalises each example `[B, N, F, D]` over all but the batch."""

  @nn.compact
  def __call__(self, x, frames):
    flat = x.reshape(len(x), -1, x.shape[-1])
    count = None if frames is None else frames * x.shape[2]
    return GlobalLayerNorm(_EPS, name="norm")(flat, count).reshape(x.shape)


def _valid(x, frames):
  """`[B, N, F, D]` with zeros in the frames of padding."""
  return x if frames is None else zero_padding(x, frames, axis=-3)


def _neighbours(x):
  """Each bin `[B, N, F, D]` with the eight around it: `[B, N, F, 9 D]`."""
  frames, bins = x.shape[1:3]
  padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
  around = [
    padded[:, row : row + frames, column : column + bins]
    for row in range(3)
    for column in range(3)
  ]
  return jnp.concatenate(around, axis=-1)


def _product(formula, x, y):
  return jnp.einsum(formula, x, y, preferred_element_type=jnp.float32)
