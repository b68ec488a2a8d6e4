import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxsep import dsp

# n_fft, hop_length, win_length, window: even and odd frames, divisible by the
# hop or not, short windows.
SIZES = [
  (256, 64, None, "hann"),
  (256, 100, 255, "hamming"),
  (400, 160, None, "sqrt_hann"),
  (25, 6, 24, "rectangular"),
]


def make(*sizes, **options):
  names = ("n_fft", "hop_length", "win_length", "window")
  return dsp.Stft(**dict(zip(names, sizes, strict=False)), **options)


def options_of_torch(stft):
  options = dataclasses.asdict(stft)
  window = dsp.get_window(stft.window, stft.win_length or stft.n_fft)
  del options["center"]
  return options | {"window": torch.tensor(window)}


# Reference.


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("sizes", SIZES)
def test_forward_against_torch(rng, sizes, center):
  signal = rng.standard_normal((2, 1001)).astype(np.float32)
  stft = make(*sizes, center=center)
  got = stft(signal)
  assert got.dtype == jnp.complex64
  assert got.shape == (2, stft.num_frames(1001), stft.num_bins)
  expected = torch.stft(
    torch.tensor(signal),
    **options_of_torch(stft),
    center=center,
    pad_mode="constant",
    return_complex=True,
  )
  np.testing.assert_allclose(got, expected.mT.numpy(), atol=1e-4)


@pytest.mark.parametrize("num_hops", [None, 10])
@pytest.mark.parametrize("sizes", SIZES)
def test_inverse_of_any_spectrum_against_torch(rng, sizes, num_hops):
  # No signal has this spectrum, so the inverse is a least-squares fit.
  stft = make(*sizes)
  shape = (2, 12, stft.num_bins)
  spectrum = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
  spectrum = spectrum.astype(np.complex64)
  length = num_hops and num_hops * stft.hop_length
  got = stft.inverse(spectrum, length=length)
  expected = torch.istft(
    torch.tensor(spectrum).mT, **options_of_torch(stft), length=length
  )
  assert got.shape[-1] == length or length is None
  compared = 10 * stft.hop_length
  np.testing.assert_allclose(
    got[:, :compared], expected.numpy()[:, :compared], atol=1e-4
  )


# Law.


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("length", [1, 601])
def test_there_and_back_is_the_signal(rng, sizes, length):
  signal = rng.standard_normal((2, 2, length)).astype(np.float32)
  stft = make(*sizes)
  got = stft.inverse(stft(signal), length=length)
  # Samples that only the small ends of a window cover have larger errors.
  np.testing.assert_allclose(got, signal, atol=2e-3)
  start = np.s_[..., : -stft.hop_length]
  np.testing.assert_allclose(got[start], signal[start], atol=1e-5)


@pytest.mark.parametrize("window", ["hann", "hamming"])
def test_reconstruction_without_center(rng, window):
  stft = make(64, 16, window=window, center=False)
  signal = rng.standard_normal(64 + 16 * 20).astype(np.float32)
  got = stft.inverse(stft(signal))
  assert got.shape == signal.shape
  np.testing.assert_allclose(got[8:-8], signal[8:-8], atol=1e-4)
  # The Hann window is zero at the first sample: it is lost, not blown up.
  first = 0.0 if window == "hann" else signal[0]
  assert got[0] == pytest.approx(first, abs=1e-5)
  # Long signals repeat the weight of the middle instead of computing it.
  start = stft.inverse(stft(signal)[:6])
  np.testing.assert_allclose(got[:80], start[:80], atol=1e-5)


@pytest.mark.parametrize("n_fft", [64, 25])
def test_frames_past_the_length_are_ignored(rng, n_fft):
  stft = make(n_fft, 12)
  length = np.array([100, 57])
  signal = rng.standard_normal((2, 100)).astype(np.float32)
  signal *= np.arange(100) < length[:, None]
  spectra = stft(signal)
  # Not the spectrum of a signal, as after a mask; two sources.
  spectra = jnp.stack([spectra, spectra * jnp.abs(spectra)], axis=1)
  count = stft.num_frames(length)
  whole = stft.inverse(spectra, length=100, num_frames=count)
  for row in range(2):
    alone = stft.inverse(spectra[row, :, : count[row]], length=int(length[row]))
    np.testing.assert_allclose(
      whole[row, :, : length[row]], alone, atol=1e-3, rtol=1e-4
    )


# Edge.


@pytest.mark.parametrize("length", [0, 7, 500])
def test_length_cuts_and_fills_up(rng, length):
  signal = rng.standard_normal(100).astype(np.float32)
  stft = make(16, 4)
  got = stft.inverse(stft(signal), length=length)
  assert got.shape == (length,)
  known = min(length, 100)
  np.testing.assert_allclose(got[:known], signal[:known], atol=1e-5)
  np.testing.assert_allclose(got[108:], 0.0)


def test_types_and_equality():
  assert make(16, 4)(jnp.ones(100, jnp.bfloat16)).dtype == jnp.complex64
  assert len({dsp.Stft(), make(256, 64), make(256, 32)}) == 2


# Transform.


def test_jit_grad_and_vmap(rng):
  signal = rng.standard_normal((3, 300)).astype(np.float32)
  stft = make(50, 20)

  def there_and_back(signal):
    spectrum = stft(signal)
    return stft.inverse(spectrum * jnp.abs(spectrum), length=300)

  expected = there_and_back(signal)
  got = jax.jit(jax.vmap(there_and_back))(signal)
  np.testing.assert_allclose(got, expected, atol=1e-4)
  # On silence too: the magnitude has no slope there.
  power = lambda signal: jnp.sum(there_and_back(signal) ** 2)  # noqa: E731
  slope_of = jax.jit(jax.grad(power))
  for point in (signal, np.zeros_like(signal)):
    assert np.all(np.isfinite(slope_of(point)))


# Stream: chunk by chunk as the whole at once.


def sources(spectra):
  return jnp.stack([spectra, spectra * jnp.abs(spectra)], axis=1)


def in_chunks(stft, signal, num_hops):
  """Spectra of the frames that count, and the samples of `sources`."""
  hop = stft.hop_length
  forward = jax.jit(stft.stream_forward)
  inverse = jax.jit(lambda state, x: stft.stream_inverse(state, sources(x)))
  state, kept, parts = stft.stream_init(len(signal), num_sources=2), [], []
  whole = signal.shape[1] // hop * hop
  rest = stft.stream_ending(signal[:, whole:])
  starts = range(0, whole, num_hops * hop)
  chunks = [signal[:, start:whole][:, : num_hops * hop] for start in starts]
  for chunk in [*chunks, rest]:
    if chunk.shape[1]:
      state, spectra, valid = forward(state, chunk)
      kept.append(spectra[:, np.all(valid, axis=0)])
      state, samples = inverse(state, spectra)
      assert samples.shape == (len(signal), 2, chunk.shape[1])
      parts.append(samples)
  parts.append(jax.jit(stft.stream_finish)(state))
  return np.concatenate(kept, axis=1), np.concatenate(parts, axis=-1)


@pytest.mark.parametrize(
  "sizes",
  [
    (64, 16, 50, "hann"),
    (50, 20, None, "rectangular"),
    # An odd window, and hops so long that the last frame is complete already.
    (25, 13, None, "rectangular"),
  ],
)
def test_a_stream_equals_the_whole(rng, sizes):
  stft = make(*sizes)
  latency = stft.stream_latency
  for length in (1, 6 * stft.hop_length + 1):
    signal = rng.standard_normal((2, length)).astype(np.float32)
    spectra, samples = in_chunks(stft, signal, num_hops=3)
    whole = stft(signal)
    np.testing.assert_allclose(spectra, whole, atol=1e-5)
    expected = stft.inverse(sources(whole), length=length)
    np.testing.assert_array_equal(samples[..., :latency], 0)
    samples = samples[..., latency:][..., :length]
    # If the hop is too long, no frame covers the last samples.
    given = samples.shape[-1]
    np.testing.assert_allclose(expected[..., given:], 0)
    error = np.abs(samples - expected[..., :given])
    assert error.max() < 1e-4 * max(1, np.abs(expected).max())


def test_stream_latency():
  sizes = [(256, 64), (256, 96), (25, 6), (64, 64)]
  latencies = [make(*size).stream_latency for size in sizes]
  assert latencies == [192, 224, 24, 32]


def test_rows_of_a_stream_may_have_begun_at_other_times(rng):
  stft = make(32, 8)
  first, second = rng.standard_normal((2, 1, 80)).astype(np.float32)

  @jax.jit
  def step(state, chunk):
    state, spectra, _ = stft.stream_forward(state, chunk)
    return stft.stream_inverse(state, sources(spectra))

  fresh = stft.stream_init(1, num_sources=2)
  old, _ = step(fresh, first[:, :40])
  joined = jax.tree.map(lambda *rows: jnp.concatenate(rows), old, fresh)
  _, both = step(joined, np.concatenate([first[:, 40:], second[:, :40]]))
  np.testing.assert_allclose(both[:1], step(old, first[:, 40:])[1], atol=1e-5)
  alone = step(fresh, second[:, :40])[1]
  np.testing.assert_allclose(both[1:], alone, atol=1e-5)


# Failure.


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"hop_length": 0}, "hop_length 0 must be positive"),
    ({"win_length": 20}, "win_length 20 must not exceed n_fft 16"),
    ({"window": "box"}, "window 'box' must be one of"),
    ({"n_fft": 0}, "window of 0 samples"),
  ],
)
def test_bad_options_are_named(options, message):
  with pytest.raises(ValueError, match=message):
    dsp.Stft(**{"n_fft": 16, "hop_length": 4, **options})


def test_bad_arguments_are_named():
  with pytest.raises(ValueError, match="shorter than a frame"):
    make(16, 4, center=False)(jnp.ones(8))
  with pytest.raises(ValueError, match="has 9 bins; n_fft=32 has 17"):
    make(32, 4).inverse(make(16, 4)(jnp.ones(100)))
  with pytest.raises(ValueError, match="streams need center=True"):
    make(16, 4, center=False).stream_init(1, num_sources=1)


@pytest.mark.parametrize(
  "sizes",
  [(16, 16), (16, 13, 12, "rectangular"), (16, 12, 12, "sqrt_hann")],
)
def test_no_inverse_where_samples_are_left_out(sizes):
  stft = make(*sizes)
  for use in (
    lambda: stft.inverse(stft(jnp.ones(100))),
    lambda: stft.stream_init(1, num_sources=1),
  ):
    with pytest.raises(ValueError, match="use a shorter hop_length"):
      use()
