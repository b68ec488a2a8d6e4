"""Joins separated chunks to one recording per voice."""

import jax
import numpy as np

from jaxsep import dsp
from jaxsep.inference._chunks import Chunk
from jaxsep.inference._voices import VoiceMemory, describe
from jaxsep.typing import Float

# How strongly the gains of a chunk hold on to those of the chunk before, as a
# share of the mean energy of its estimates: it decides for a source 15 dB
# below the others, which its own chunk tells little about.
_GAIN_INERTIA = 0.03
# Energy below this share of the recording's level is no evidence.
_EVIDENCE_FLOOR = 1e-3
# What the memory of the voices counts beside the waveforms in the overlap,
# where agreement is 1.
_MEMORY_WEIGHT = 0.05

_assign = jax.jit(dsp.best_permutation)


class Stitcher:
  """Takes separated chunks in order; gives back what is finished.

  For each chunk it settles

  - the level: least-squares gains that make the sources add up to the
    mixture, held near the gains of the chunk before;
  - the order: the permutation whose waveforms agree with what is already
    there on the overlap, weighted by energy, so that a silent source has no
    say; where all are silent, the memory of the voices decides;
  - the seam: a cross-fade over the middle half of the overlap, as the ends of
    a chunk are separated without the context beyond them.
  """

  def __init__(self, num_sources: int):
    self._start = 0
    self._pending = np.zeros((num_sources, 0), np.float32)
    self._gains: np.ndarray | None = None
    self._voices = VoiceMemory(num_sources)

  def add(
    self, chunk: Chunk, estimate: Float[np.ndarray, "sources time"]
  ) -> Float[np.ndarray, "sources _finished"]:
    """Adds a chunk; no later one may begin before it.

    Args:
      chunk: The chunk of the recording.
      estimate: What the model made of it, at any level, shape `[S, T]`.

    Returns:
      The samples before the chunk that were not given yet, shape `[S, any]`.
    """
    overlap = self._start + self._pending.shape[1] - chunk.start
    finished = self._pending[:, : self._pending.shape[1] - overlap]
    shared = self._pending[:, self._pending.shape[1] - overlap :]
    if self._is_silent(chunk, estimate):
      voices = np.zeros_like(estimate)
    else:
      voices = self._settle(chunk, estimate, shared)
    if overlap:
      fade = _fade(overlap)
      voices[:, :overlap] = shared + fade * (voices[:, :overlap] - shared)
    self._pending = voices
    self._start = chunk.start
    return finished

  def flush(self) -> Float[np.ndarray, "sources _finished"]:
    """The rest of the recording."""
    rest = self._pending
    self._start += rest.shape[1]
    self._pending = rest[:, rest.shape[1] :]
    return rest

  def _is_silent(self, chunk, estimate):
    return not (chunk.samples.any() and estimate.any())

  def _settle(self, chunk, estimate, shared):
    """The chunk's sources at their level and in their order."""
    # At a level of one, so that gains carry over to a louder or softer chunk.
    mixture = chunk.samples.astype(np.float64) / chunk.level
    estimate = estimate.astype(np.float64)
    gram, match = estimate @ estimate.T, estimate @ mixture
    if self._gains is None:
      # One gain for all, as long as nothing is known.
      common = match.sum() / max(gram.sum(), np.finfo(np.float64).tiny)
      before = np.full(len(match), common)
    else:
      before = np.full(len(match), self._gains.mean())
    order = np.arange(len(match))
    if len(match) > 1:
      rough = _gains(gram, match, before)[:, np.newaxis] * estimate
      spectrum, weight = describe(rough.astype(np.float32))
      if self._gains is not None:
        unlike = self._voices.distance((spectrum, weight))
        order = self._order(rough, shared / chunk.level, unlike)
      self._voices.update((spectrum[order], weight[order]))
    if self._gains is not None:
      before = self._gains
    self._gains = _gains(gram[np.ix_(order, order)], match[order], before)
    voices = self._gains[:, np.newaxis] * estimate[order]
    return (chunk.level * voices).astype(np.float32)

  def _order(self, estimate, shared, unlike):
    """Which estimate belongs to which voice."""
    length = shared.shape[1]
    begin = estimate[:, :length]
    floor = _EVIDENCE_FLOOR * max(length, 1)
    energy = np.sum(begin**2) + np.sum(shared**2) + floor
    # Of |estimate - voice|^2 only the product depends on the permutation.
    cost = -2 * (begin @ shared.T) / energy + _MEMORY_WEIGHT * unlike
    # On the host, where it does not queue behind the model.
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
      return np.asarray(_assign(cost.astype(np.float32)))


def _gains(gram, match, before):
  """Least-squares gains of estimates onto the mixture, near given ones."""
  inertia = _GAIN_INERTIA * np.trace(gram) / len(gram)
  return np.linalg.solve(
    gram + inertia * np.eye(len(gram)), match + inertia * before
  )


def _fade(length):
  """Rises from 0 to 1 over the middle half."""
  place = (np.arange(length) + 0.5) / length
  ramp = np.clip(2 * place - 0.5, 0.0, 1.0)
  return (np.sin(np.pi / 2 * ramp) ** 2).astype(np.float32)
