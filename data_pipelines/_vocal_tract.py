"""Source and filter of the built-in voices, one short grain at a time.

Every pulse of the glottis, and every few milliseconds of noise, becomes a
grain: its spectrum, known in closed form, is filtered by the vocal tract at
that moment, transformed and added at its place. Nothing aliases, pitch and
formants move within a sound, and a pulse costs one small FFT.
"""

import functools
import itertools
import types

import numpy as np

from data_pipelines._utterances import CONTROL_HZ, Speaker, Tracks

_GRAIN_S = 0.064  # Length of a grain,
_PULSE_S = 0.024  # and how far into it its pulse lies.
_NOISE_S = 0.016  # Noise is filtered in half-overlapping windows.
_STEPS = 32  # Places of a pulse between two samples.
_BLOCK = 128  # Grains rendered together: they fit into the cache.
_LEVEL = 0.05  # Root mean square of a neutral vowel.
_NOISE_LEVEL = 0.043  # Of frication and aspiration of amplitude 1.
_INAUDIBLE = 1e-3  # Lower amplitudes are not rendered.

_BANDWIDTHS_HZ = (65.0, 90.0, 130.0, 200.0, 280.0)
_NASAL_POLE_HZ, _NASAL_ZERO_HZ, _NASAL_WIDTH_HZ = 270.0, 470.0, 100.0
_HIGHEST_FORMANT_HZ = 16000.0
_QUIETEST_PITCH_HZ = 60.0


def _quadratic(frequencies, centre_hz, width_hz):
  """Denominator of a resonance whose gain at 0 Hz is one."""
  scale = 1.0 / (np.square(centre_hz) + 0.25 * np.square(width_hz))
  scale = np.asarray(scale, np.float32)[..., None]
  width = np.asarray(width_hz, np.float32)[..., None] * scale
  shape = np.broadcast_shapes(scale.shape, frequencies.shape)
  out = np.empty(shape, np.complex64)
  np.multiply(frequencies * frequencies, -scale, out=out.real)
  out.real += 1.0
  np.multiply(frequencies, width, out=out.imag)
  return out


@functools.lru_cache(maxsize=8)
def _grid(rate_hz):
  """What depends on the sample rate alone."""
  length = 2 * round(0.5 * _GRAIN_S * rate_hz)
  frequencies = (np.arange(length // 2 + 1) * rate_hz / length).astype(
    np.float32
  )
  bins = np.arange(length // 2 + 1) / length
  steps = np.arange(_STEPS)[:, None] / _STEPS + round(_PULSE_S * rate_hz)
  window = 2 * round(0.5 * _NOISE_S * rate_hz)
  hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
  return types.SimpleNamespace(
    length=length,
    frequencies=frequencies,
    shifts=np.exp(-2j * np.pi * steps * bins).astype(np.complex64),
    hann=hann.astype(np.float32),
  )


def _upper_tract(speaker, frequencies):
  """The part of the vocal tract that is constant: above three formants."""
  response = np.ones(len(frequencies), np.complex64)
  for number in itertools.count(4):
    own = speaker.formant_scale[number - 1] if number <= 5 else 1.0
    centre_hz = (number - 0.5) * 1000.0 * speaker.tract_scale * own
    if centre_hz > _HIGHEST_FORMANT_HZ:
      break
    wide = _BANDWIDTHS_HZ[number - 1] if number <= 5 else 0.08 * centre_hz
    width_hz = wide * speaker.bandwidth_scale
    response *= _quadratic(frequencies, centre_hz, width_hz)
  # Lips and air attenuate what is above 10 kHz.
  return (1.0 / response) / _quadratic(frequencies, 12000.0, 16000.0)


def _tract(speaker, upper, frequencies, formants_hz, nasality):
  """Response of the vocal tract at some moments, shape `[moments, F]`."""
  factors = []
  for place, wider in enumerate((1.0 + nasality, 1.0, 1.0)):
    width_hz = _BANDWIDTHS_HZ[place] * speaker.bandwidth_scale
    width_hz = np.broadcast_to(width_hz * wider, len(formants_hz))
    factors.append(_quadratic(frequencies, formants_hz[:, place], width_hz))
  below = factors[0] * factors[1] * factors[2]
  shift_hz = (_NASAL_ZERO_HZ - _NASAL_POLE_HZ) * speaker.tract_scale
  zero_hz = _NASAL_POLE_HZ + shift_hz * nasality
  wide = np.full(len(zero_hz), _NASAL_WIDTH_HZ)
  above = _quadratic(frequencies, zero_hz, wide)
  pole = _quadratic(frequencies, _NASAL_POLE_HZ, _NASAL_WIDTH_HZ)
  above *= upper / pole
  above /= below
  return above


def _glottis(speaker, frequencies, f0_hz):
  """Spectrum of one pulse of the derivative of the glottal flow.

  An anticausal resonance for the open phase and a causal low-pass for the
  closure: Doval et al., The spectrum of glottal flow models, 2006.
  """
  centre_hz = f0_hz / (2.0 * speaker.open_quotient)
  width_hz = f0_hz / (
    speaker.open_quotient * np.tan(np.pi * (1.0 - speaker.asymmetry))
  )
  spectrum = np.conj(_quadratic(frequencies, centre_hz, width_hz))
  rise = 1j * frequencies / (1.0 + 1j * frequencies / speaker.tilt_hz)
  power = np.square(centre_hz) + 0.25 * np.square(width_hz)
  scale = (1.0 / power).astype(np.float32)
  return (scale[:, None] * rise.astype(np.complex64)) / spectrum


@functools.lru_cache(maxsize=4096)
def _voice(speaker, rate_hz):
  """A speaker at a sample rate."""
  # Levels are computed on one grid, to be equal at every rate.
  wide = _grid(16000)
  upper = _upper_tract(speaker, wide.frequencies)
  neutral_hz = np.array([[500.0, 1500.0, 2500.0]]) * speaker.tract_scale
  tract = _tract(speaker, upper, wide.frequencies, neutral_hz, np.zeros(1))
  pulse = _glottis(speaker, wide.frequencies, np.array([speaker.f0_hz])) * tract
  spacing_hz = float(wide.frequencies[1])
  pulse_power = 2.0 * speaker.f0_hz * np.sum(np.abs(pulse) ** 2) * spacing_hz
  breath_power = np.sum(np.abs(tract) ** 2) * spacing_hz
  grid = _grid(rate_hz)
  return types.SimpleNamespace(
    speaker=speaker,
    grid=grid,
    upper=_upper_tract(speaker, grid.frequencies),
    gain=float(_LEVEL / np.sqrt(pulse_power)),
    breath_gain=float(_NOISE_LEVEL / np.sqrt(breath_power)),
  )


def _add(out, grains, starts, first):
  """Adds grains at their places; `out` begins with sample `first`."""
  length = grains.shape[-1]
  for grain, start in zip(grains, (starts - first).tolist(), strict=True):
    begin, end = max(start, 0), min(start + length, len(out))
    if begin < end:
      out[begin:end] += grain[begin - start : end - start]


def _at(track, times_s):
  return np.interp(times_s * CONTROL_HZ, np.arange(len(track)), track)


def _formants_at(tracks, times_s):
  columns = [_at(column, times_s) for column in tracks.formants_hz.T]
  return np.stack(columns, axis=-1)


def _pulse_times(tracks, speaker, rng):
  """Moments of glottal closure, one per pitch period, with jitter."""
  phase = np.concatenate([[0.0], np.cumsum(tracks.f0_hz[:-1] / CONTROL_HZ)])
  turns = np.arange(1, int(phase[-1]))
  turns = turns + rng.normal(0.0, speaker.jitter, len(turns))
  return np.interp(turns, phase, np.arange(len(phase))) / CONTROL_HZ


def _voiced(out, first, voice, tracks, rng, rate_hz):
  """Adds glottal pulses and the breath that comes with them."""
  speaker, grid = voice.speaker, voice.grid
  times_s = _pulse_times(tracks, speaker, rng)
  loudness = _at(tracks.voicing, times_s)
  loudness = loudness * np.exp(rng.normal(0.0, speaker.shimmer, len(times_s)))
  f0_hz = _at(tracks.f0_hz, times_s)
  longest = int(np.ceil(rate_hz / _QUIETEST_PITCH_HZ))
  breath = rng.standard_normal((len(times_s), longest), np.float32)

  ticks = np.round(times_s * rate_hz * _STEPS).astype(np.int64)
  starts, steps = np.divmod(ticks, _STEPS)
  starts = starts - round(_PULSE_S * rate_hz)
  wanted = (loudness > _INAUDIBLE) & (starts < first + len(out))
  wanted = np.flatnonzero(wanted & (starts + grid.length > first))
  # Breath of unit power, through a Hann window of one pitch period.
  puff = voice.breath_gain * speaker.breathiness * np.sqrt(rate_hz / 2.0)
  puff *= np.sqrt(8.0 / 3.0) / rate_hz
  for begin in range(0, len(wanted), _BLOCK):
    block = wanted[begin : begin + _BLOCK]
    spectra = _glottis(speaker, grid.frequencies, f0_hz[block])
    spectra *= np.float32(voice.gain)
    place = np.arange(longest) * (f0_hz[block, None] / rate_hz)
    window = np.where(place < 1.0, np.sin(np.pi * place) ** 2, 0.0)
    noise = breath[block] * (puff * window).astype(np.float32)
    spectra += np.fft.rfft(noise, grid.length)
    spectra *= _tract(
      speaker,
      voice.upper,
      grid.frequencies,
      _formants_at(tracks, times_s[block]),
      _at(tracks.nasality, times_s[block]),
    )
    spectra *= (rate_hz * loudness[block, None]).astype(np.float32)
    spectra *= grid.shifts[steps[block]]
    _add(out, np.fft.irfft(spectra, grid.length), starts[block], first)


def _noisy(out, first, voice, tracks, rng, rate_hz, num_samples):
  """Adds frication, bursts and breath without voice."""
  grid = voice.grid
  window, hop = len(grid.hann), len(grid.hann) // 2
  num_frames = num_samples // hop + 2
  noise = rng.standard_normal((num_frames + 1) * hop, np.float32)
  noise *= np.sqrt(rate_hz / 2.0)
  centres_s = np.arange(num_frames) * hop / rate_hz
  places = np.arange(window)
  starts = np.arange(num_frames) * hop - hop

  busy = np.maximum(tracks.aspiration, tracks.frication) > _INAUDIBLE
  frame = np.round(centres_s * CONTROL_HZ).astype(int)
  reach = int(np.ceil(0.5 * _NOISE_S * CONTROL_HZ))
  near = np.convolve(busy, np.ones(2 * reach + 1), mode="same") > 0
  wanted = near[np.minimum(frame, len(near) - 1)]
  lead = round(_PULSE_S * rate_hz)
  starts -= lead
  wanted &= (starts < first + len(out)) & (starts + grid.length > first)
  wanted = np.flatnonzero(wanted)
  for begin in range(0, len(wanted), _BLOCK):
    block = wanted[begin : begin + _BLOCK]
    samples = noise[block[:, None] * hop + places] * grid.hann
    times_s = (starts[block, None] + lead + places) / rate_hz
    breath = samples * _at(tracks.aspiration, times_s).astype(np.float32)
    hiss = samples * _at(tracks.frication, times_s).astype(np.float32)
    spectra = np.fft.rfft(breath, grid.length)
    spectra *= np.float32(voice.breath_gain)
    spectra *= _tract(
      voice.speaker,
      voice.upper,
      grid.frequencies,
      _formants_at(tracks, centres_s[block]),
      _at(tracks.nasality, centres_s[block]),
    )
    spectra += np.fft.rfft(hiss, grid.length) * _mouth(
      grid.frequencies, tracks, frame[block]
    )
    spectra *= grid.shifts[0]
    grains = np.fft.irfft(spectra, grid.length)
    _add(out, grains, starts[block], first)


def _mouth(frequencies, tracks, frame):
  """Band-pass of unit power (over all frequencies) where a sound is made."""
  frame = np.minimum(frame, len(tracks.centre_hz) - 1)
  centre_hz, width_hz = tracks.centre_hz[frame], tracks.width_hz[frame]
  power = np.square(centre_hz) + 0.25 * np.square(width_hz)
  band = _quadratic(frequencies, centre_hz, width_hz)
  rise = (width_hz / power).astype(np.float32)[:, None] * frequencies
  band = (1j * rise) / band
  # Two in a row; their power has an integral of nearly pi / 4 widths.
  band *= band
  scale = _NOISE_LEVEL * np.sqrt(4.0 / (np.pi * width_hz))
  band *= scale.astype(np.float32)[:, None]
  return band


def render(
  tracks: Tracks,
  speaker: Speaker,
  rng: np.random.Generator,
  *,
  rate_hz: int,
  num_samples: int,
  start: int,
  length: int,
) -> np.ndarray:
  """Synthesises a part; the random numbers do not depend on which part."""
  voice = _voice(speaker, rate_hz)
  out = np.zeros(length, np.float32)
  _voiced(out, start, voice, tracks, rng, rate_hz)
  _noisy(out, start, voice, tracks, rng, rate_hz, num_samples)
  return np.clip(out, -1.0, 1.0, out=out)
