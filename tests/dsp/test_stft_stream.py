"""The transform chunk by chunk is that of the whole."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsep import dsp

# n_fft, hop_length: a divisor of the half and not, odd, and long hops.
SIZES = [(64, 16), (50, 20), (25, 6), (25, 13), (30, 24), (33, 20)]


def in_chunks(live, signal, num_hops):
  """Spectra of the frames that count, and a nonlinear function's samples."""
  hop = live.hop_length
  state, kept, parts = live.init(len(signal), num_sources=2), [], []
  whole = signal.shape[1] // hop * hop
  rest = live.ending(signal[:, whole:])
  starts = range(0, whole, num_hops * hop)
  chunks = [signal[:, start:whole][:, : num_hops * hop] for start in starts]
  for chunk in [*chunks, rest]:
    if chunk.shape[1]:
      state, spectra, valid = live.analyze(state, chunk)
      kept.append(spectra[:, np.all(valid, axis=0)])
      state, samples = live.synthesize(state, sources(spectra))
      assert samples.shape == (len(signal), 2, chunk.shape[1])
      parts.append(samples)
  parts.append(live.finish(state))
  return np.concatenate(kept, axis=1), np.concatenate(parts, axis=-1)


def sources(spectra):
  return jnp.stack([spectra, spectra * jnp.abs(spectra)], axis=1)


# Reference: the whole at once.


@pytest.mark.parametrize("num_hops", [1, 3])
@pytest.mark.parametrize("window", ["hann", "rectangular"])
@pytest.mark.parametrize(("n_fft", "hop_length"), SIZES)
def test_equals_the_whole(rng, n_fft, hop_length, window, num_hops):
  options = {"n_fft": n_fft, "hop_length": hop_length, "window": window}
  live = dsp.StftStream(**options)
  # As short as a sample, up to past a window; whole hops and not.
  for length in (1, hop_length, n_fft // 2, 2 * n_fft + 1, 6 * hop_length):
    signal = rng.standard_normal((2, length)).astype(np.float32)
    spectra, samples = in_chunks(live, signal, num_hops)
    whole = dsp.stft(signal, **options)
    np.testing.assert_allclose(spectra, whole, atol=1e-5)
    expected = dsp.istft(sources(whole), length=length, **options)
    np.testing.assert_array_equal(samples[..., : live.latency], 0)
    samples = samples[..., live.latency :][..., :length]
    # Where a hop is too long, the last samples have no frame.
    given = samples.shape[-1]
    np.testing.assert_allclose(expected[..., given:], 0)
    error = np.abs(samples - expected[..., :given])
    assert error.max() < 1e-4 * max(1, np.abs(expected).max())


# Laws.


@pytest.mark.parametrize(
  ("n_fft", "hop_length", "latency"),
  [(256, 64, 192), (512, 128, 384), (256, 96, 224), (25, 6, 24), (64, 64, 32)],
)
def test_latency(n_fft, hop_length, latency):
  live = dsp.StftStream(
    n_fft=n_fft, hop_length=hop_length, window="rectangular"
  )
  assert live.latency == latency


def test_rows_may_have_begun_at_other_times(rng):
  live = dsp.StftStream(n_fft=32, hop_length=8)
  first, second = rng.standard_normal((2, 1, 80)).astype(np.float32)

  def step(state, chunk):
    state, spectra, _ = live.analyze(state, chunk)
    return live.synthesize(state, sources(spectra))

  old, _ = step(live.init(1, num_sources=2), first[:, :40])
  joined = jax.tree.map(
    lambda *rows: jnp.concatenate(rows), old, live.init(1, num_sources=2)
  )
  _, both = step(joined, np.concatenate([first[:, 40:], second[:, :40]]))
  np.testing.assert_allclose(both[:1], step(old, first[:, 40:])[1], atol=1e-5)
  alone = step(live.init(1, num_sources=2), second[:, :40])[1]
  np.testing.assert_allclose(both[1:], alone, atol=1e-5)


# Failures.


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"hop_length": 40}, "use a shorter hop_length"),
    ({"hop_length": 0}, "hop_length 0 must be positive"),
    ({"hop_length": 8, "window": "box"}, "window 'box' must be one of"),
  ],
)
def test_refuses_windows_without_an_inverse(options, message):
  with pytest.raises(ValueError, match=message):
    dsp.StftStream(n_fft=32, **options)
