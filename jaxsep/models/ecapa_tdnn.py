"""ECAPA-TDNN: one embedding of the speaker of a waveform."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxsep import dsp
from jaxsep.models._linear import Linear
from jaxsep.models._options import check_positive
from jaxsep.models.initializers import uniform_fan_in
from jaxsep.models.norms import valid_frames
from jaxsep.typing import Array, Float, Int

_PRE_EMPHASIS = 0.97
_NUM_BANDS = 80
_LOW_HZ, _HIGH_HZ = 20.0, 7600.0
# Added to the power of a band before the logarithm.
_FLOOR = 1e-6
# Least variance over time whose square root is taken.
_LEAST_VARIANCE = 1e-4
# Parts of the channels in a block, each convolved after the one before it.
_NUM_PARTS = 8
_GATE_CHANNELS, _ATTENTION_CHANNELS = 128, 256


class EcapaTdnn(nn.Module):
  """Maps a waveform to an embedding of its speaker.

  Maps `[[B]atch, [T]ime]` to `[[B]atch, [E]mbedding]`, for any length from one
  sample on. Embeddings of one speaker are to have a large cosine similarity;
  their length has no meaning. The defaults are the network of TaoRuijie's
  implementation, with 15,444,544 parameters, and 6,978,176 with 512 channels.
  Its features are logarithmic mel bands of 25 ms every 10 ms, less their mean
  over time. SpecAugment, which that implementation trains with, is left out.

  The embedding of a padded example is that of the example alone. In training,
  batch norms use the statistics of the batch, without its padding, and update
  the collection `batch_stats`. A level change changes nothing, as long as the
  signal is well above the floor of the features.

  Attributes:
    num_channels: Channels C of the blocks, a multiple of 8.
    pooled_channels: Channels whose mean and deviation over time are taken.
    embedding_size: Size E of the embedding.
    sample_rate_hz: Sample rate of the waveforms. The bands go up to 7600 Hz,
      or to half the rate where that is less.

  References:
    Desplanques et al., ECAPA-TDNN: emphasized channel attention, propagation
    and aggregation in TDNN based speaker verification, Interspeech 2020, arXiv
    2005.07143; the details are those of github.com/TaoRuijie/ECAPA-TDNN.

  Example:
    >>> model = EcapaTdnn(64, pooled_channels=96, sample_rate_hz=8000)
    >>> signal = jnp.zeros((1, 800))
    >>> variables = jax.jit(model.init)(jax.random.key(0), signal)
    >>> print(sorted(variables), model.apply(variables, signal).shape)
    ['batch_stats', 'params'] (1, 192)
  """

  num_channels: int = 1024
  pooled_channels: int = 1536
  embedding_size: int = 192
  sample_rate_hz: int = 16000

  @nn.nowrap
  def example_inputs(self) -> dict[str, jax.Array]:
    """Small arguments for `init`."""
    return {"signal": jnp.zeros((1, self.sample_rate_hz // 10))}

  @nn.compact
  def __call__(
    self,
    signal: Float[Array, "batch time"],
    *,
    length: Int[Array, "batch"] | None = None,
    train: bool = False,
  ) -> Float[Array, "batch {self.embedding_size}"]:
    """Embeds the speakers.

    Args:
      signal: Waveforms, shape `[B, T]`.
      length: Samples of each waveform; the rest is padding, which changes
        nothing. None if there is none.
      train: Whether batch norms use the statistics of the batch, and update
        their running ones.

    Returns:
      Embeddings, shape `[B, E]`, not normalised.

    Raises:
      ValueError: If the signal is empty or has other axes, or if an option
        is impossible.
    """
    self._check(signal)
    if length is None:
      length = jnp.full(len(signal), signal.shape[1])
    features, valid = _log_mel(
      dsp.at_least_float32(signal), jnp.maximum(length, 1), self.sample_rate_hz
    )
    x = _Layer(self.num_channels, 5, name="stem")(features, valid, train)
    outputs = []
    for index in range(3):
      # Each block takes the sum of all that is before it.
      block = _Block(self.num_channels, index + 2, name=f"block_{index}")
      outputs.append(block(sum(outputs, x), valid, train))
    x = Linear(self.pooled_channels, name="joined")(
      jnp.concatenate(outputs, axis=-1)
    )
    x = _Pooling(name="pooling")(nn.relu(x), valid, train)
    x = _batch_norm("pooled_norm", train)(x)
    x = Linear(self.embedding_size, name="embedding")(x)
    return _batch_norm("embedding_norm", train)(x)

  @nn.nowrap
  def _check(self, signal):
    check_positive(
      pooled_channels=self.pooled_channels, embedding_size=self.embedding_size
    )
    if self.num_channels % _NUM_PARTS or self.num_channels < 1:
      raise ValueError(
        f"num_channels must be a multiple of {_NUM_PARTS}, not"
        f" {self.num_channels}."
      )
    if self.sample_rate_hz < 1000:
      raise ValueError(
        f"sample_rate_hz must be at least 1000, not {self.sample_rate_hz}."
      )
    if signal.ndim != 2 or signal.shape[1] < 1:
      raise ValueError(
        f"the signal must have shape [batch, time], not {signal.shape}."
      )


class _Layer(nn.Module):
  """Convolution over frames `[B, N, C]`, rectifier and batch norm."""

  features: int
  kernel_size: int = 1
  dilation: int = 1

  @nn.compact
  def __call__(self, x, valid, train):
    init = uniform_fan_in(self.kernel_size * x.shape[-1])
    convolution = nn.Conv(
      self.features,
      (self.kernel_size,),
      kernel_dilation=(self.dilation,),
      kernel_init=init,
      bias_init=init,
      name="conv",
    )
    x = nn.relu(convolution(jnp.where(valid, x, 0.0)))
    return _batch_norm("norm", train)(x, mask=valid)


class _Block(nn.Module):
  """Res2Net block with squeeze and excitation: `[B, N, C]` to the same."""

  features: int
  dilation: int

  @nn.compact
  def __call__(self, x, valid, train):
    y = _Layer(self.features, name="input")(x, valid, train)
    *parts, last = jnp.split(y, _NUM_PARTS, axis=-1)
    outputs = []
    for index, part in enumerate(parts):
      layer = _Layer(last.shape[-1], 3, self.dilation, name=f"part_{index}")
      before = outputs[-1] if outputs else 0.0
      outputs.append(layer(before + part, valid, train))
    y = jnp.concatenate([*outputs, last], axis=-1)
    y = _Layer(self.features, name="output")(y, valid, train)
    gate = jnp.mean(y, axis=1, keepdims=True, where=valid)
    gate = nn.relu(Linear(_GATE_CHANNELS, name="squeeze")(gate))
    return x + y * nn.sigmoid(Linear(self.features, name="excite")(gate))


class _Pooling(nn.Module):
  """Mean and deviation over time, weighted by attention: `[B, 2 C]`."""

  @nn.compact
  def __call__(self, x, valid, train):
    mean = jnp.mean(x, axis=1, keepdims=True, where=valid)
    squares = jnp.sum(jnp.square(x - mean), axis=1, keepdims=True, where=valid)
    # A single frame has no variance.
    freedom = jnp.maximum(jnp.sum(valid, axis=1, keepdims=True) - 1, 1)
    context = [
      jnp.broadcast_to(statistic, x.shape)
      for statistic in (mean, _deviation(squares / freedom))
    ]
    y = jnp.concatenate([x, *context], axis=-1)
    y = _Layer(_ATTENTION_CHANNELS, name="attention")(y, valid, train)
    scores = Linear(x.shape[-1], name="scores")(jnp.tanh(y))
    scores = jnp.where(valid, scores, -jnp.inf)
    weights = jax.nn.softmax(scores, axis=1)
    mean = jnp.sum(weights * x, axis=1, keepdims=True)
    variance = jnp.sum(weights * jnp.square(x - mean), axis=1)
    return jnp.concatenate([mean[:, 0], _deviation(variance)], axis=-1)


def _deviation(variance):
  return jnp.sqrt(jnp.maximum(variance, _LEAST_VARIANCE))


def _batch_norm(name, train):
  return nn.BatchNorm(
    use_running_average=not train,
    momentum=0.9,
    epsilon=1e-5,
    use_fast_variance=False,
    name=name,
  )


def _log_mel(signal, length, sample_rate_hz):
  """Features `[B, N, 80]`, and which frames `[B, N, 1]` are not padding."""
  window = round(0.025 * sample_rate_hz)
  stft = dsp.Stft(
    n_fft=2 ** math.ceil(math.log2(window)),
    hop_length=round(0.01 * sample_rate_hz),
    win_length=window,
    window="hamming",
    center=False,
  )
  signal = _reflected(signal, length, before=1, after=0)
  signal = signal[:, 1:] - _PRE_EMPHASIS * signal[:, :-1]
  half = stft.n_fft // 2
  spectrum = stft(_reflected(signal, length, before=half, after=half))
  power = jnp.square(jnp.real(spectrum)) + jnp.square(jnp.imag(spectrum))
  bands = jnp.matmul(
    power,
    dsp.mel_filterbank(
      _NUM_BANDS,
      n_fft=stft.n_fft,
      sample_rate_hz=sample_rate_hz,
      low_hz=_LOW_HZ,
      high_hz=min(_HIGH_HZ, sample_rate_hz / 2),
    ),
    precision=jax.lax.Precision.HIGHEST,
  )
  valid = valid_frames(1 + length // stft.hop_length, bands.shape[1])
  features = jnp.log(bands + _FLOOR)
  mean = jnp.mean(features, axis=1, keepdims=True, where=valid)
  return features - mean, valid


def _reflected(signal, length, *, before, after):
  """The signal `[B, T]` between reflections about its first and last sample.

  The padding after `length` samples is not part of it: reflections, one after
  another, take its place.
  """
  place = jnp.arange(-before, signal.shape[1] + after)[None]
  last = length[:, None] - 1
  place = jnp.abs(place) % jnp.maximum(2 * last, 1)
  place = jnp.minimum(place, 2 * last - place)
  return jnp.take_along_axis(signal, jnp.maximum(place, 0), axis=1)
