import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from jaxsep import dsp

# n_fft, hop_length, win_length: powers of two and not, odd, short windows.
SIZES = [
  (256, 64, None),
  (256, 64, 200),
  (256, 100, 255),
  (400, 160, None),
  (25, 6, None),
  (25, 6, 24),
]
WINDOWS = ["hann", "hamming", "sqrt_hann", "rectangular"]


# Reference.


@pytest.mark.parametrize(
  "center, pad_mode",
  [(True, "constant"), (True, "reflect"), (False, "constant")],
)
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("n_fft, hop_length, win_length", SIZES)
def test_stft_against_librosa_and_torch(
  rng, n_fft, hop_length, win_length, window, center, pad_mode
):
  signal = rng.standard_normal((2, 1001)).astype(np.float32)
  sizes = dict(n_fft=n_fft, hop_length=hop_length, win_length=win_length)
  got = dsp.stft(
    signal, window=window, center=center, pad_mode=pad_mode, **sizes
  )
  values = dsp.get_window(window, win_length or n_fft)
  expected = librosa.stft(
    signal, window=values, center=center, pad_mode=pad_mode, **sizes
  )
  assert got.dtype == jnp.complex64
  np.testing.assert_allclose(got, np.moveaxis(expected, -1, -2), atol=1e-4)
  expected = torch.stft(
    torch.tensor(signal),
    window=torch.tensor(values),
    center=center,
    pad_mode=pad_mode,
    return_complex=True,
    **sizes,
  )
  np.testing.assert_allclose(got, expected.mT.numpy(), atol=1e-4)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("n_fft, hop_length, win_length", SIZES)
@pytest.mark.parametrize("num_hops", [None, 10])
def test_istft_of_any_spectrum_against_torch(
  rng, n_fft, hop_length, win_length, window, num_hops
):
  # No signal has this spectrum, so the inverse is a least-squares fit.
  shape = (2, 12, n_fft // 2 + 1)
  spectrum = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
  spectrum = spectrum.astype(np.complex64)
  sizes = dict(n_fft=n_fft, hop_length=hop_length, win_length=win_length)
  length = num_hops and num_hops * hop_length
  got = dsp.istft(spectrum, window=window, length=length, **sizes)
  values = dsp.get_window(window, win_length or n_fft)
  expected = torch.istft(
    torch.tensor(spectrum).mT,
    window=torch.tensor(values),
    length=length,
    **sizes,
  )
  assert got.shape[-1] == length or length is None
  compared = 10 * hop_length
  np.testing.assert_allclose(
    got[:, :compared], expected.numpy()[:, :compared], atol=1e-4
  )


# Law.


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("n_fft, hop_length, win_length", SIZES)
def test_perfect_reconstruction(rng, n_fft, hop_length, win_length, window):
  options = dict(
    n_fft=n_fft, hop_length=hop_length, win_length=win_length, window=window
  )
  for length in (1001, 2 * n_fft):
    signal = rng.standard_normal((2, length)).astype(np.float32)
    got = dsp.istft(dsp.stft(signal, **options), length=length, **options)
    # The window is small at its ends: what only they carry, rounds more.
    np.testing.assert_allclose(
      got[:, :-hop_length], signal[:, :-hop_length], atol=1e-5
    )
    np.testing.assert_allclose(got, signal, atol=2e-3)


@settings(deadline=None, derandomize=True, max_examples=15)
@given(
  st.integers(4, 70),
  st.integers(1, 35),
  st.integers(1, 150),
  st.sampled_from(WINDOWS),
)
def test_any_sizes_are_inverted(n_fft, hop_length, length, window):
  assume(hop_length <= n_fft // 2)
  signal = np.random.default_rng(length).standard_normal(length)
  signal = signal.astype(np.float32)
  options = dict(n_fft=n_fft, hop_length=hop_length, window=window)
  got = dsp.istft(dsp.stft(signal, **options), length=length, **options)
  np.testing.assert_allclose(got, signal, atol=2e-4)


@pytest.mark.parametrize("window", WINDOWS)
def test_reconstruction_without_center(rng, window):
  options = dict(n_fft=64, hop_length=16, window=window, center=False)
  signal = rng.standard_normal(64 + 16 * 20).astype(np.float32)
  got = dsp.istft(dsp.stft(signal, **options), **options)
  assert got.shape == signal.shape
  np.testing.assert_allclose(got[8:-8], signal[8:-8], atol=1e-4)
  # Hann weighs the first sample with zero: it is lost, not blown up.
  assert got[0] == pytest.approx(
    0.0 if "hann" in window else signal[0], abs=1e-5
  )


def test_many_frames_equal_few(rng):
  # Long signals repeat the weight of the middle instead of computing it.
  options = dict(n_fft=32, hop_length=8, window="hamming")
  signal = rng.standard_normal(32 * 100).astype(np.float32)
  spectrum = dsp.stft(signal, **options)
  whole = dsp.istft(spectrum, **options)
  start = dsp.istft(spectrum[:6], **options)
  np.testing.assert_allclose(whole[:24], start[:24], atol=1e-5)


def test_a_tone_falls_into_its_bin():
  time = np.arange(4000) / 8000
  tone = np.sin(2 * np.pi * 1000 * time).astype(np.float32)
  spectrum = dsp.stft(tone, n_fft=256, hop_length=64)
  assert np.all(np.argmax(np.abs(spectrum[3:-3]), axis=-1) == 32)


def test_leading_axes_are_a_batch(rng):
  signal = rng.standard_normal((2, 3, 500)).astype(np.float32)
  options = dict(n_fft=64, hop_length=16)
  stacked = dsp.stft(signal, **options)
  inverse = dsp.istft(stacked, length=500, **options)
  for index in np.ndindex(2, 3):
    single = dsp.stft(signal[index], **options)
    np.testing.assert_allclose(stacked[index], single, atol=1e-5)
    np.testing.assert_allclose(
      inverse[index], dsp.istft(single, length=500, **options), atol=1e-5
    )


# Edge.


def test_silence_and_one_sample():
  options = dict(n_fft=16, hop_length=4)
  for signal in (jnp.zeros(40), jnp.ones(1)):
    spectrum = dsp.stft(signal, **options)
    length = len(signal)
    got = dsp.istft(spectrum, length=length, **options)
    np.testing.assert_allclose(got, signal, atol=1e-6)


@pytest.mark.parametrize("length", [0, 1, 7, 500])
def test_length_cuts_and_fills_up(rng, length):
  signal = rng.standard_normal(100).astype(np.float32)
  options = dict(n_fft=16, hop_length=4)
  got = dsp.istft(dsp.stft(signal, **options), length=length, **options)
  assert got.shape == (length,)
  known = min(length, 100)
  np.testing.assert_allclose(got[:known], signal[:known], atol=1e-5)
  np.testing.assert_allclose(got[108:], 0.0)


def test_bfloat16_is_transformed_in_float32():
  spectrum = dsp.stft(jnp.ones(64, jnp.bfloat16), n_fft=16, hop_length=4)
  assert spectrum.dtype == jnp.complex64


# Transform.


def test_stft_under_jit_grad_and_vmap(rng):
  signal = rng.standard_normal((3, 300)).astype(np.float32)
  options = dict(n_fft=50, hop_length=20)

  def there_and_back(signal):
    spectrum = dsp.stft(signal, **options)
    return dsp.istft(spectrum * jnp.abs(spectrum), length=300, **options)

  expected = there_and_back(signal)
  for transform in (jax.jit, jax.vmap):
    np.testing.assert_allclose(
      transform(there_and_back)(signal), expected, atol=1e-4
    )
  # On silence too: the magnitude has no slope there.
  for point in (signal, np.zeros_like(signal)):
    slope = jax.grad(lambda signal: jnp.sum(there_and_back(signal) ** 2))(point)
    assert np.all(np.isfinite(slope))


# Failure.


def test_bad_options_are_named():
  signal = jnp.ones(100)
  with pytest.raises(
    ValueError, match="win_length 20 must not exceed n_fft 16"
  ):
    dsp.stft(signal, n_fft=16, hop_length=4, win_length=20)
  with pytest.raises(ValueError, match="use pad_mode='constant'"):
    dsp.stft(jnp.ones(8), n_fft=16, hop_length=4, pad_mode="reflect")
  with pytest.raises(ValueError, match="shorter than a frame"):
    dsp.stft(jnp.ones(8), n_fft=16, hop_length=4, center=False)
  spectrum = dsp.stft(signal, n_fft=16, hop_length=4)
  with pytest.raises(ValueError, match="has 9 bins; n_fft=32 has 17"):
    dsp.istft(spectrum, n_fft=32, hop_length=4)


@pytest.mark.parametrize(
  "hop_length, win_length, window",
  [
    (16, None, "hann"),
    (13, 12, "rectangular"),
    (17, None, "hamming"),
    (12, 12, "sqrt_hann"),
  ],
)
def test_no_inverse_where_samples_are_left_out(hop_length, win_length, window):
  options = dict(
    n_fft=16, hop_length=hop_length, win_length=win_length, window=window
  )
  spectrum = dsp.stft(jnp.ones(100), **options)
  with pytest.raises(
    ValueError, match=r"no inverse: .* use a shorter hop_length"
  ):
    dsp.istft(spectrum, **options)
