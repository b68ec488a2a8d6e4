"""A recogniser that needs no training: every token is a tone."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

RATE, HOP = 8000, 320
# Of tokens 3, 4, ..., well apart.
_FIRST_HZ, _STEP_HZ = 400, 200


class Tones(nn.Module):
  """Finds tones, with the methods that a search needs; no decoder.

  Frame n is centred on sample `n * HOP`, as in `models.Recognizer`.
  """

  num_tokens: int
  sample_rate_hz: int = RATE
  hop_length: int = HOP

  def features(self, signal, length):
    signal = jnp.pad(signal, ((0, 0), (HOP // 2, HOP)))
    num_frames = 1 + (signal.shape[1] - HOP - HOP // 2) // HOP
    frames = signal[:, : num_frames * HOP].reshape(-1, num_frames, HOP)
    return frames, 1 + length // HOP

  def encode(self, features, num_frames):
    return features, num_frames

  def ctc(self, frames):
    tones_hz = _FIRST_HZ + _STEP_HZ * jnp.arange(self.num_tokens - 3)
    angles = 2j * jnp.pi * jnp.outer(jnp.arange(HOP), tones_hz) / RATE
    found = jnp.abs(frames @ jnp.exp(angles)) / HOP
    others = jnp.zeros((*found.shape[:2], 2))
    blank = jnp.full((*found.shape[:2], 1), 0.05)
    return 100 * jnp.concatenate([blank, others, found], axis=-1)

  def search_start(self, frames, length, max_length):
    del max_length, length
    return None, jnp.zeros(len(frames))

  def search_step(self, shared, state, tokens):
    scores = jnp.zeros((*tokens.shape, self.num_tokens))
    return jax.nn.log_softmax(scores), state


def sound(tokens, *, on_s=0.12, off_s=0.08):
  """Tones of tokens with pauses after them; None is a pause as long."""
  on, off = round(on_s * RATE), round(off_s * RATE)
  rows = [np.zeros(off)]
  for token in tokens:
    frequency = 0 if token is None else _FIRST_HZ + _STEP_HZ * (token - 3)
    tone = 0.5 * np.sin(2 * np.pi * frequency * np.arange(on) / RATE)
    rows += [tone, np.zeros(off)]
  return np.concatenate(rows).astype(np.float32)
