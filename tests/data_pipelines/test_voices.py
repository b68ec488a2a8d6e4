import concurrent.futures
import dataclasses

import numpy as np
import pytest
import scipy.linalg
import scipy.signal
import scipy.stats

from data_pipelines import _lexicon, _utterances, _vocal_tract
from data_pipelines.voices import (
  PITCH_RANGE_HZ,
  PRONUNCIATIONS,
  SPLITS,
  Speaker,
  make_voices,
  speaker_of,
)

RATE_HZ = 8000


def plain_speaker():
  """A speaker without variation."""
  zeros = "jitter shimmer breathiness rise_probability"
  ones = "tract_scale vowel_space bandwidth_scale rate pause_scale"
  values = dict.fromkeys(zeros.split(), 0.0) | dict.fromkeys(ones.split(), 1.0)
  values |= dict(f0_hz=120.0, range_semitones=4.0, formant_scale=(1.0,) * 5)
  values |= dict(open_quotient=0.6, asymmetry=0.7, tilt_hz=3000.0, blend_s=0.02)
  return Speaker(**values)


def sound(*, rate_hz=RATE_HZ, **changes):
  """A second of the plain speaker, the controls constant or as given."""
  zeros = "voicing aspiration frication nasality"
  values = dict.fromkeys(zeros.split(), 0.0)
  values |= dict(f0_hz=120.0, centre_hz=3000.0, width_hz=1000.0)
  values = {
    name: np.broadcast_to(value, _utterances.CONTROL_HZ)
    for name, value in (values | changes).items()
    if name != "formants_hz"
  }
  formants_hz = changes.get("formants_hz", (500.0, 1500.0, 2500.0))
  values["formants_hz"] = np.tile(formants_hz, (_utterances.CONTROL_HZ, 1))
  return _vocal_tract.render(
    _utterances.Tracks(**values),
    plain_speaker(),
    np.random.default_rng(0),
    rate_hz=rate_hz,
    num_samples=rate_hz,
    start=0,
    length=rate_hz,
  )


def spectrum_of(signal):
  """Frequencies and magnitudes."""
  spectrum = np.fft.rfft(signal * np.hanning(len(signal)), 2**16)
  return np.fft.rfftfreq(2**16, 1 / RATE_HZ), np.abs(spectrum)


def formants_of(signal):
  """First three resonances by linear prediction."""
  emphasised = np.append(signal[0], signal[1:] - 0.95 * signal[:-1])
  emphasised = emphasised * np.hamming(len(emphasised))
  levels = np.correlate(emphasised, emphasised, "full")[len(emphasised) - 1 :]
  predictor = scipy.linalg.solve_toeplitz(levels[:10], levels[1:11])
  roots = np.roots(np.append(1.0, -predictor))
  roots = roots[roots.imag > 0]
  centres = np.angle(roots) * RATE_HZ / (2 * np.pi)
  widths = -np.log(np.abs(roots)) * RATE_HZ / np.pi
  return np.sort(centres[(widths < 500) & (centres > 150)])[:3]


@pytest.mark.parametrize("f0_hz", [85.0, 133.0, 260.0])
def test_steady_pitch_is_exact(f0_hz):
  frequency, level = spectrum_of(sound(f0_hz=f0_hz, voicing=1.0)[1000:-1000])
  for harmonic in (1, 2, 5):
    near = np.abs(frequency - harmonic * f0_hz) < 0.4 * f0_hz
    peak_hz = frequency[near][np.argmax(level[near])]
    assert abs(peak_hz - harmonic * f0_hz) < 0.5
    # Nothing lies between harmonics: neither noise nor aliases.
    between = np.abs(frequency - (harmonic + 0.5) * f0_hz) < 0.1 * f0_hz
    assert level[between].max() < 1e-2 * level[near].max()


def test_pitch_follows_the_contour():
  contour_hz = np.geomspace(100, 200, _utterances.CONTROL_HZ)
  signal = sound(f0_hz=contour_hz, voicing=1.0)
  for moment_s in (0.25, 0.5, 0.75):
    middle = int(moment_s * RATE_HZ)
    f0_hz = contour_hz[int(moment_s * _utterances.CONTROL_HZ)]
    frequency, level = spectrum_of(signal[middle - 400 : middle + 400])
    near = np.abs(frequency - f0_hz) < 0.4 * f0_hz
    peak_hz = frequency[near][np.argmax(level[near])]
    assert peak_hz == pytest.approx(f0_hz, rel=0.03)


@pytest.mark.parametrize("vowel", ["iy", "aa", "uw", "ae"])
def test_vowels_have_their_formants(vowel):
  targets, _ = _lexicon.word_segments(vowel)
  wanted = targets[0, 1:4]
  signal = sound(voicing=1.0, formants_hz=wanted, f0_hz=100.0)
  found = formants_of(signal[800:-800])
  np.testing.assert_allclose(found[:2], wanted[:2], rtol=0.12)


def test_a_speaker_scales_pitch_and_formants():
  for number in range(4):
    speaker = speaker_of(seed=3, split="valid", number=number)
    utterance = _utterances.compose(speaker, np.random.default_rng(0), 2.5)
    tracks, neutral = (
      _utterances.make_tracks(utterance, someone, np.random.default_rng(1))
      for someone in (speaker, dataclasses.replace(speaker, tract_scale=1.0))
    )
    mean_hz = np.median(tracks.f0_hz[tracks.voicing > 0.1])
    assert abs(np.log2(mean_hz / speaker.f0_hz)) < 4 / 12
    scaled = speaker.tract_scale * neutral.formants_hz
    np.testing.assert_allclose(tracks.formants_hz, scaled)


@pytest.mark.parametrize(
  "phoneme, lowest_hz, highest_hz", [("sh", 2000, 3600), ("s", 3600, 6500)]
)
def test_fricatives_hiss_where_they_should(phoneme, lowest_hz, highest_hz):
  targets, _ = _lexicon.word_segments(phoneme)
  row = dict(zip(_lexicon.COLUMNS, targets[0], strict=True))
  names = ("frication", "centre_hz", "width_hz")
  signal = sound(rate_hz=16000, **{name: row[name] for name in names})
  frequency, power = scipy.signal.welch(signal, 16000, nperseg=512)
  centroid_hz = np.sum(frequency * power) / np.sum(power)
  assert lowest_hz < centroid_hz < highest_hz
  flatness = scipy.stats.gmean(power[100:]) / power[100:].mean()
  assert flatness > 0.1


def test_speech_has_the_rhythm_of_syllables_and_pauses():
  voices = make_voices(num_speakers=12, utterances_per_speaker=1, utterance_s=6)
  rhythm, silent = [], []
  for row in range(len(voices)):
    # Frames of 256 samples, one every 10 ms.
    frames = np.lib.stride_tricks.sliding_window_view(voices.read(row), 256)
    level = np.sqrt((frames[::80] ** 2).mean(axis=1))
    power = np.abs(np.fft.rfft((level - level.mean()) * np.hanning(len(level))))
    power, rate = power**2, np.fft.rfftfreq(len(level), 0.01)
    rhythm.append(power[(rate > 2) & (rate < 8)].sum() / power.sum())
    silent.append(np.mean(level < 0.01 * level.max()))
  assert np.mean(rhythm) > 0.3
  assert 0.05 < np.mean(silent) < 0.4


def test_rows_do_not_depend_on_what_else_was_read():
  options = dict(utterances_per_speaker=3)
  voices = make_voices(num_speakers=2, **options)
  signals = [voices.read(row) for row in range(6)]
  more = make_voices(num_speakers=4, **options)
  assert more.speakers[:2] == voices.speakers
  assert list(more["text"][:6]) == list(voices["text"])
  np.testing.assert_array_equal(more.read(4), signals[4])
  # Many threads, and a cache with room for some of the rows only.
  cached = make_voices(num_speakers=4, cache_mb=0.4, **options)
  rows = [row % 6 for row in range(48)]
  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    read = list(pool.map(lambda row: cached.read(row, 100, 9000), rows))
  for row, signal in zip(rows, read, strict=True):
    np.testing.assert_allclose(signal, signals[row][100:9100], atol=1e-6)
  cached.read(0, 0, 100)[:] = 7.0
  assert cached.read(0, 0, 100).max() < 1.0


@pytest.mark.parametrize("rate_hz", [8000, 22050])
def test_parts_equal_the_whole(rate_hz):
  voices = make_voices(num_speakers=1, sample_rate_hz=rate_hz)
  whole = voices.read(2)
  for start, length in [(0, 1), (4001, 9999), (12345, 8000)]:
    part = voices.read(2, start, length)
    np.testing.assert_allclose(part, whole[start : start + length], atol=1e-6)


def test_splits_seeds_and_speakers_differ():
  speakers = [
    speaker_of(seed=seed, split=split, number=number)
    for seed in (0, 1)
    for split in SPLITS
    for number in range(200)
  ]
  assert len(set(speakers)) == len(speakers)
  voices = [make_voices(num_speakers=3, split=split) for split in SPLITS]
  assert len(set().union(*(v.speakers for v in voices))) == 9
  signals = [v.read(0, 0, 8000) for v in voices]
  assert np.abs(np.corrcoef(signals) - np.eye(3)).max() < 0.3


def test_speakers_fill_the_range_of_voices():
  speakers = [speaker_of(seed=0, split="train", number=n) for n in range(300)]
  pitch = np.array([speaker.f0_hz for speaker in speakers])
  tract = np.array([speaker.tract_scale for speaker in speakers])
  lowest_hz, highest_hz = PITCH_RANGE_HZ
  assert lowest_hz <= pitch.min() < 92 and 245 < pitch.max() <= highest_hz
  # High voices tend to short tracts, but not all of them.
  correlation = np.corrcoef(np.log(pitch), tract)[0, 1]
  assert 0.4 < correlation < 0.9
  for field in dataclasses.fields(Speaker):
    values = {getattr(speaker, field.name) for speaker in speakers}
    assert len(values) > 60, field.name


def test_same_speech_at_every_rate():
  low = make_voices(num_speakers=1, sample_rate_hz=8000)
  high = make_voices(num_speakers=1, sample_rate_hz=24000)
  assert low["text"][0] == high["text"][0]
  assert abs(high.length[0] - 3 * low.length[0]) <= 3
  below = scipy.signal.resample_poly(high.read(0), 1, 3)[: low.length[0]]
  below = np.pad(below, (0, low.length[0] - len(below)))
  # Noise is drawn anew; the voice is the same.
  assert np.corrcoef(below, low.read(0))[0, 1] > 0.9
  assert np.isclose(below.std(), low.read(0).std(), rtol=0.1)


@pytest.mark.parametrize("utterance_s", [1.5, 4.0, 12.0])
def test_utterances_are_as_long_as_asked(utterance_s):
  voices = make_voices(
    num_speakers=20, utterances_per_speaker=2, utterance_s=utterance_s
  )
  seconds = voices.length / voices.rate_hz
  assert seconds.max() <= utterance_s
  assert np.median(seconds) > utterance_s - 0.8
  assert all(voices["text"])
  words = {word for text in voices["text"] for word in text.split()}
  assert words <= set(PRONUNCIATIONS)
  assert len(words) > min(15 * utterance_s, 60)


@pytest.mark.parametrize("rate_hz", [8000, 11025, 48000])
def test_level_and_type_at_every_rate(rate_hz):
  voices = make_voices(num_speakers=4, sample_rate_hz=rate_hz)
  for row in (0, 15, 25, 35):
    signal = voices.read(row)
    assert signal.dtype == np.float32
    assert signal.shape == (voices.length[row],)
    assert np.abs(signal).max() < 1.0
    assert 0.02 < signal.std() < 0.12


def test_bad_options_are_refused():
  bad = dict(split="dev", utterances_per_speaker=0, seed=-1)
  bad |= dict(sample_rate_hz=96000, utterance_s=1.0)
  for name, value in bad.items():
    with pytest.raises(ValueError, match=f"{name} is '?{value}"):
      make_voices(**{name: value})
