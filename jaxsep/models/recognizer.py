"""A recogniser of speech: Conformer encoder, CTC head, Transformer decoder."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxsep import dsp
from jaxsep.models._linear import Linear
from jaxsep.models._options import check_choice, check_positive
from jaxsep.models.conformer import ConformerLayer, sinusoidal_positions
from jaxsep.models.norms import ChannelLayerNorm, valid_frames
from jaxsep.models.transformer import CausalTransformer
from jaxsep.typing import Array, Float, Int

# Least power of a mel band.
_FLOOR = 1e-10
# Added to the variance of a feature over time.
_LEAST_VARIANCE = 1e-5
_NORMALIZATIONS = ("utterance", "global")


class Recognizer(nn.Module):
  """Maps waveforms `[[B]atch, [T]ime]` to scores of tokens.

  Logarithmic mel bands go through two convolutions, which leave a quarter of
  the frames, and through Conformer layers. From their output, a linear layer
  scores the tokens of each frame, for CTC, and a Transformer the token after
  each token of a transcript. Token 0 is the blank of CTC, 1 the begin and 2 the
  end of a sentence, as in `jaxsep.text`. The layout is that of SpeechBrain's
  Conformer recogniser; the defaults are its sizes for LibriSpeech.

  The bands are `log max(power, 1e-10)` of waveforms within -1 and 1, and so of
  spectra of `stft` that are not scaled otherwise. An utterance's mean and
  deviation over time are removed from each band (`normalization="utterance"`),
  or those of a corpus (`"global"`): `mean` and `deviation`, `[K]`, of the
  collection `constants`. They are 0 and 1 until you set them; a converted
  recogniser has them, and training does not change them.

  The result for an utterance does not depend on its padding.

  Attributes:
    num_tokens: Tokens V.
    stft: Short-time Fourier transform of the features.
    num_mels: Mel bands K.
    sample_rate_hz: Sample rate of the waveforms.
    symmetric_mels: See `dsp.mel_filterbank`; True as SpeechBrain's.
    top_db: How far below the loudest band of the utterance the others may be;
      quieter ones are raised to that. 80 as SpeechBrain's; None for no limit.
    normalization: What is removed from the features.
    conv_channels: Channels of the two convolutions.
    size: Features D of encoder and decoder.
    num_layers: Layers of the encoder.
    num_heads: Heads of each attention.
    feedforward_size: Hidden features of the feed-forward parts.
    kernel_size: Frames that the encoder's convolutions see, odd.
    conv_norm: Norm within them, `"layer"` as SpeechBrain's or `"batch"`.
    num_decoder_layers: Layers of the decoder.
    dropout: Share dropped in training.
    dtype: Type of the factors in matmuls.

  References:
    Gulati et al., Conformer, 2020, arXiv 2005.08100; Watanabe et al., Hybrid
    CTC/attention architecture for end-to-end speech recognition, 2017.

  Example:
    >>> model = Recognizer(
    ...   30, size=16, num_layers=1, num_heads=2, feedforward_size=32,
    ...   num_decoder_layers=1)
    >>> inputs = model.example_inputs()
    >>> variables = jax.jit(model.init)(jax.random.key(0), **inputs)
    >>> ctc, decoder, length = model.apply(variables, **inputs)
    >>> print(ctc.shape, decoder.shape, length)
    (1, 6, 30) (1, 2, 30) [6]
  """

  num_tokens: int
  stft: dsp.Stft = dsp.Stft(
    n_fft=512, win_length=400, hop_length=160, window="hamming"
  )
  num_mels: int = 80
  sample_rate_hz: int = 16000
  symmetric_mels: bool = False
  top_db: float | None = None
  normalization: str = "utterance"
  conv_channels: tuple[int, int] = (64, 32)
  size: int = 512
  num_layers: int = 12
  num_heads: int = 8
  feedforward_size: int = 2048
  kernel_size: int = 31
  conv_norm: str = "layer"
  num_decoder_layers: int = 6
  dropout: float = 0.1
  dtype: DTypeLike = jnp.float32

  def setup(self):
    """Makes the layers."""
    check_choice("normalization", self.normalization, _NORMALIZATIONS)
    check_positive(num_tokens=self.num_tokens, num_layers=self.num_layers)
    if self.normalization == "global":
      shape = (self.num_mels,)
      self.mean = self.variable("constants", "mean", jnp.zeros, shape)
      self.deviation = self.variable("constants", "deviation", jnp.ones, shape)
    self.subsampling = [_HalfRate(width) for width in self.conv_channels]
    self.joined = Linear(self.size, dtype=self.dtype)
    self.drop = nn.Dropout(self.dropout)
    self.encoder = [
      ConformerLayer(
        num_heads=self.num_heads,
        feedforward_size=self.feedforward_size,
        kernel_size=self.kernel_size,
        conv_channels=self.size,
        norm=self.conv_norm,
        positions="sinusoidal",
        use_bias=False,
        final_norm=True,
        dropout=self.dropout,
        dtype=self.dtype,
      )
      for _ in range(self.num_layers)
    ]
    self.encoder_norm = ChannelLayerNorm(1e-6)
    self.ctc_head = Linear(self.num_tokens, dtype=self.dtype)
    self.decoder = CausalTransformer(
      self.num_tokens,
      size=self.size,
      num_layers=self.num_decoder_layers,
      num_heads=self.num_heads,
      feedforward_size=self.feedforward_size,
      cross=True,
      dropout=self.dropout,
      dtype=self.dtype,
    )
    self.decoder_head = Linear(self.num_tokens, dtype=self.dtype)

  @property
  def hop_length(self) -> int:
    """Samples from one encoded frame to the next."""
    return self.stft.hop_length * 2 ** len(self.conv_channels)

  @nn.nowrap
  def example_inputs(self) -> dict[str, jax.Array]:
    """Small arguments for `init`."""
    signal = jnp.zeros((1, 20 * self.stft.hop_length))
    return {"signal": signal, "tokens": jnp.ones((1, 2), jnp.int32)}

  def __call__(
    self,
    signal: Float[Array, "batch time"],
    tokens: Int[Array, "batch steps"],
    *,
    length: Int[Array, "batch"] | None = None,
    train: bool = False,
  ) -> tuple[
    Float[Array, "batch frames {self.num_tokens}"],
    Float[Array, "batch steps {self.num_tokens}"],
    Int[Array, "batch"],
  ]:
    """Scores of CTC and of the decoder.

    Args:
      signal: Waveforms, shape `[B, T]`.
      tokens: Begin of the sentence and the transcript, shape `[B, U + 1]`.
        What follows a transcript has no influence on what is before it.
      length: Samples of each waveform, shape `[B]`; None is all.
      train: Whether dropout acts and batch norms use the batch's statistics.

    Returns:
      `(ctc_logits [B, N, V], decoder_logits [B, U + 1, V], encoded_length
      [B])`; frames past the length mean nothing.
    """
    features, num_frames = self.features(signal, length)
    encoded, encoded_length = self.encode(features, num_frames, train=train)
    logits = self.decode(tokens, encoded, encoded_length, train=train)
    return self.ctc(encoded), logits, encoded_length

  def features(
    self,
    signal: Float[Array, "batch time"],
    length: Int[Array, "batch"] | None = None,
  ) -> tuple[Float[Array, "batch frames {self.num_mels}"], Int[Array, "batch"]]:
    """Normalised features `[B, N, K]` of waveforms, and frames `[B]`."""
    if length is None:
      length = jnp.full(len(signal), signal.shape[1])
    inside = jnp.arange(signal.shape[1])[None] < length[:, None]
    spectrum = self.stft(jnp.where(inside, signal, 0.0))
    num_frames = self.stft.num_frames(length)
    return self.features_of_spectra(jnp.abs(spectrum), num_frames), num_frames

  def features_of_spectra(
    self,
    magnitudes: Float[Array, "batch frames bins"],
    num_frames: Int[Array, "batch"],
  ) -> Float[Array, "batch frames {self.num_mels}"]:
    """Normalised features `[B, N, K]` of magnitudes `[B, N, F]`."""
    bands = jnp.matmul(
      jnp.square(dsp.at_least_float32(magnitudes)),
      dsp.mel_filterbank(
        self.num_mels,
        n_fft=self.stft.n_fft,
        sample_rate_hz=self.sample_rate_hz,
        symmetric=self.symmetric_mels,
      ),
      precision=jax.lax.Precision.HIGHEST,
    )
    features = jnp.log(jnp.maximum(bands, _FLOOR))
    valid = valid_frames(jnp.asarray(num_frames), features.shape[1])
    if self.top_db is not None:
      heard = jnp.where(valid, features, math.log(_FLOOR))
      loudest = jnp.max(heard, axis=(1, 2), keepdims=True)
      least = loudest - self.top_db * math.log(10) / 10
      features = jnp.maximum(features, least)
    if self.normalization == "utterance":
      count = jnp.maximum(jnp.sum(valid, axis=1, keepdims=True), 1)
      mean = jnp.sum(features, axis=1, keepdims=True, where=valid) / count
      square = jnp.square(features - mean)
      variance = jnp.sum(square, axis=1, keepdims=True, where=valid) / count
      features = (features - mean) / jnp.sqrt(variance + _LEAST_VARIANCE)
    else:
      features -= self.mean.value[None, None]
      features /= self.deviation.value[None, None]
    return jnp.where(valid, features, 0.0)

  def encode(
    self,
    features: Float[Array, "batch frames {self.num_mels}"],
    num_frames: Int[Array, "batch"],
    *,
    train: bool = False,
  ) -> tuple[Float[Array, "batch encoded {self.size}"], Int[Array, "batch"]]:
    """Encoded frames, a quarter of `num_frames` rounded up, and how many."""
    x, length = jnp.asarray(features)[..., None], jnp.asarray(num_frames)
    for layer in self.subsampling:
      x, length = layer(x, length), (length + 1) // 2
      x = self.drop(x, deterministic=not train)
    x = self.joined(x.reshape(*x.shape[:2], -1))
    x = self.drop(x, deterministic=not train)
    valid = valid_frames(length, x.shape[1])[..., 0]
    positions = sinusoidal_positions(x.shape[1], self.size)
    for layer in self.encoder:
      x = layer(x, valid, positions=positions, train=train)
    return self.encoder_norm(x), length

  def ctc(
    self, encoded: Float[Array, "batch frames {self.size}"]
  ) -> Float[Array, "batch frames {self.num_tokens}"]:
    """Logits of CTC, `[B, N, V]`."""
    return self.ctc_head(encoded)

  def decode(
    self,
    tokens: Int[Array, "batch steps"],
    encoded: Float[Array, "batch frames {self.size}"],
    encoded_length: Int[Array, "batch"],
    *,
    train: bool = False,
  ) -> Float[Array, "batch steps {self.num_tokens}"]:
    """Logits of the token after each token, `[B, U + 1, V]`."""
    valid = valid_frames(encoded_length, encoded.shape[1])[..., 0]
    x = self.decoder(tokens, encoded, valid, train=train)
    return self.decoder_head(x)

  def search_start(
    self,
    encoded: Float[Array, "batch frames {self.size}"],
    encoded_length: Int[Array, "batch"],
    max_length: int,
  ) -> tuple[Any, Any]:
    """What `search_step` takes: shared arrays and the state at the begin.

    The state holds up to `max_length` tokens, begin included.
    """
    valid = valid_frames(encoded_length, encoded.shape[1])[..., 0]
    shared = self.decoder.shared(encoded, valid)
    return shared, self.decoder.start(len(encoded), max_length)

  def search_step(
    self, shared: Any, state: Any, tokens: Int[Array, "batch beam"]
  ) -> tuple[Float[Array, "batch beam {self.num_tokens}"], Any]:
    """Log probabilities `[B, K, V]` after one more token, and the state."""
    x, state = self.decoder.step(state, tokens, shared)
    return jax.nn.log_softmax(self.decoder_head(x)), state


class _HalfRate(nn.Module):
  """Convolution that halves frames and bands: `[B, N, K, C]`."""

  channels: int

  @nn.compact
  def __call__(self, x, length):
    # Frames and bands are reflected at both ends, frames at those of each
    # example.
    last = jnp.maximum(length, 1)[:, None] - 1
    place = jnp.abs(jnp.arange(-1, x.shape[1] + 1))[None]
    place = jnp.minimum(place, jnp.abs(2 * last - place))
    place = jnp.minimum(place, last)
    x = jnp.take_along_axis(x, place[..., None, None], axis=1)
    x = jnp.pad(x, ((0, 0), (0, 0), (1, 1), (0, 0)), mode="reflect")
    x = nn.Conv(self.channels, (3, 3), (2, 2), padding="VALID", name="conv")(x)
    x = nn.LayerNorm(
      epsilon=1e-5,
      reduction_axes=(-2, -1),
      feature_axes=(-2, -1),
      use_fast_variance=False,
      name="norm",
    )(x)
    return nn.leaky_relu(x, 0.01)
