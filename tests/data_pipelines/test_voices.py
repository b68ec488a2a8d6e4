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


def plain_speaker(**changes):
  """A speaker with no whims of its own."""
  zeros = "jitter shimmer breathiness rise_probability"
  ones = "tract_scale vowel_space bandwidth_scale rate pause_scale"
  values = dict.fromkeys(zeros.split(), 0.0) | dict.fromkeys(ones.split(), 1.0)
  values |= dict(f0_hz=120.0, range_semitones=4.0, formant_scale=(1.0,) * 5)
  values |= dict(open_quotient=0.6, asymmetry=0.7, tilt_hz=3000.0, blend_s=0.02)
  return Speaker(**(values | changes))


def steady(num_frames, **changes):
  """Control tracks that stand still."""
  zeros = "voicing aspiration frication nasality"
  values = dict.fromkeys(zeros.split(), 0.0)
  values |= dict(f0_hz=120.0, centre_hz=3000.0, width_hz=1000.0)
  formants_hz = changes.pop("formants_hz", (500.0, 1500.0, 2500.0))
  values = {
    name: np.full(num_frames, value)
    for name, value in (values | changes).items()
  }
  return _utterances.Tracks(
    formants_hz=np.tile(formants_hz, (num_frames, 1)), **values
  )


def sound(tracks, speaker, *, rate_hz=RATE_HZ, seed=0):
  num_samples = int(len(tracks.f0_hz) / _utterances.CONTROL_HZ * rate_hz)
  return _vocal_tract.render(
    tracks,
    speaker,
    np.random.default_rng(seed),
    rate_hz=rate_hz,
    num_samples=num_samples,
    start=0,
    length=num_samples,
  )


def formants_of(signal, rate_hz=RATE_HZ):
  """First three resonances by linear prediction."""
  emphasised = np.append(signal[0], signal[1:] - 0.95 * signal[:-1])
  emphasised = emphasised * np.hamming(len(emphasised))
  levels = np.correlate(emphasised, emphasised, "full")[len(emphasised) - 1 :]
  predictor = scipy.linalg.solve_toeplitz(levels[:10], levels[1:11])
  roots = np.roots(np.append(1.0, -predictor))
  roots = roots[roots.imag > 0]
  centres = np.angle(roots) * rate_hz / (2 * np.pi)
  widths = -np.log(np.abs(roots)) * rate_hz / np.pi
  return np.sort(centres[(widths < 500) & (centres > 150)])[:3]


def frames_of(signal, size):
  """Frames of a signal, one every 10 ms, the first around its start."""
  padded = np.pad(signal, size // 2)
  return np.lib.stride_tricks.sliding_window_view(padded, size)[::80]


def pitch_of(signal):
  """Pitch every 10 ms: the peak of the windows' autocorrelation."""
  window = np.hanning(512)

  def correlation(x):
    levels = np.fft.irfft(np.abs(np.fft.rfft(x, 1024)) ** 2)[..., :200]
    return levels / (levels[..., :1] + 1e-12)

  found = correlation(frames_of(signal, 512) * window) / correlation(window)
  lags = np.arange(RATE_HZ // 420, RATE_HZ // 60)
  # Multiples of the period are as good, so short lags are preferred.
  best = lags[np.argmax(found[:, lags] - 0.02 * np.log2(lags), axis=1)]
  rows = np.arange(len(best))
  below, peak, above = (found[rows, best + step] for step in (-1, 0, 1))
  curvature = below - 2 * peak + above - 1e-12
  return RATE_HZ / (best + 0.5 * (below - above) / curvature)


# Reference: what is heard is what was asked for.


@pytest.mark.parametrize("f0_hz", [85.0, 133.0, 260.0])
def test_steady_pitch_is_exact(f0_hz):
  signal = sound(steady(400, f0_hz=f0_hz, voicing=1.0), plain_speaker())
  middle = signal[1000:-1000] * np.hanning(len(signal) - 2000)
  spectrum = np.abs(np.fft.rfft(middle, 2**16))
  frequency = np.arange(len(spectrum)) * RATE_HZ / 2**16
  for harmonic in (1, 2, 5):
    near = np.abs(frequency - harmonic * f0_hz) < 0.4 * f0_hz
    peak_hz = frequency[near][np.argmax(spectrum[near])]
    assert abs(peak_hz - harmonic * f0_hz) < 0.5
    # Nothing lies between harmonics: neither noise nor aliases.
    between = np.abs(frequency - (harmonic + 0.5) * f0_hz) < 0.1 * f0_hz
    assert spectrum[between].max() < 1e-2 * spectrum[near].max()


def test_pitch_follows_the_contour_and_the_speaker():
  errors = []
  for number in range(4):
    speaker = speaker_of(seed=3, split="valid", number=number)
    rng = np.random.default_rng(number)
    utterance = _utterances.compose(speaker, rng, 2.5)
    tracks = _utterances.make_tracks(utterance, speaker, rng)
    mean_hz = np.median(tracks.f0_hz[tracks.voicing > 0.1])
    assert abs(np.log2(mean_hz / speaker.f0_hz)) < 4 / 12
    found = pitch_of(sound(tracks, speaker))
    moment = np.arange(len(found)) * _utterances.CONTROL_HZ // 100
    moment = np.minimum(moment, len(tracks.f0_hz) - 1)
    loud = tracks.voicing[moment] > 0.5
    errors.append(np.log2(found[loud] / tracks.f0_hz[moment][loud]) * 12)
  errors = np.abs(np.concatenate(errors))
  assert len(errors) > 250
  assert np.median(errors) < 0.35
  assert np.mean(errors < 1.0) > 0.9


@pytest.mark.parametrize("vowel", ["iy", "aa", "uw", "ae"])
def test_vowels_have_their_formants(vowel):
  targets, _ = _lexicon.word_segments(vowel)
  wanted = targets[0, 1:4]
  tracks = steady(400, voicing=1.0, formants_hz=wanted, f0_hz=100.0)
  found = formants_of(sound(tracks, plain_speaker(f0_hz=100.0))[800:-800])
  np.testing.assert_allclose(found[:2], wanted[:2], rtol=0.12)


def test_a_shorter_tract_raises_every_formant():
  found = []
  for scale in (1.0, 1.2):
    speaker = plain_speaker(tract_scale=scale, f0_hz=100.0)
    formants = np.array([600.0, 1500.0, 2500.0]) * scale
    tracks = steady(400, voicing=1.0, formants_hz=formants, f0_hz=100.0)
    found.append(formants_of(sound(tracks, speaker)[800:-800]))
  np.testing.assert_allclose(found[1] / found[0], 1.2, rtol=0.06)
  utterance = _utterances.compose(speaker, np.random.default_rng(0), 3.0)
  short, long = (
    _utterances.make_tracks(utterance, speaker, np.random.default_rng(1))
    for speaker in (speaker, plain_speaker(f0_hz=100.0))
  )
  np.testing.assert_allclose(short.formants_hz, 1.2 * long.formants_hz)


@pytest.mark.parametrize(
  "phoneme, lowest_hz, highest_hz", [("sh", 2000, 3600), ("s", 3600, 6500)]
)
def test_fricatives_hiss_where_they_should(phoneme, lowest_hz, highest_hz):
  targets, _ = _lexicon.word_segments(phoneme)
  row = dict(zip(_lexicon.COLUMNS, targets[0], strict=True))
  names = ("frication", "centre_hz", "width_hz")
  tracks = steady(800, **{name: row[name] for name in names})
  signal = sound(tracks, plain_speaker(), rate_hz=16000)
  frequency, power = scipy.signal.welch(signal, 16000, nperseg=512)
  centroid_hz = np.sum(frequency * power) / np.sum(power)
  assert lowest_hz < centroid_hz < highest_hz
  flatness = scipy.stats.gmean(power[100:]) / power[100:].mean()
  assert flatness > 0.1


def test_speech_has_the_rhythm_of_syllables_and_pauses():
  options = dict(utterances_per_speaker=1, utterance_s=6.0)
  voices = make_voices(num_speakers=12, **options)
  rhythm, silent = [], []
  for row in range(len(voices)):
    level = np.sqrt((frames_of(voices.read(row), 256) ** 2).mean(axis=1))
    power = np.abs(np.fft.rfft((level - level.mean()) * np.hanning(len(level))))
    power, rate = power**2, np.fft.rfftfreq(len(level), 0.01)
    rhythm.append(power[(rate > 2) & (rate < 8)].sum() / power.sum())
    silent.append(np.mean(level < 0.01 * level.max()))
  assert np.mean(rhythm) > 0.3
  assert 0.05 < np.mean(silent) < 0.4


# Law: a row is a pure function of (seed, split, row).


def test_rows_do_not_depend_on_what_else_was_read():
  voices = make_voices(num_speakers=3, utterances_per_speaker=4)
  signals = [voices.read(row) for row in range(len(voices))]
  again = make_voices(num_speakers=5, utterances_per_speaker=4)
  for row in reversed(range(len(voices))):
    np.testing.assert_array_equal(again.read(row), signals[row])
    assert again["text"][row] == voices["text"][row]
  assert again.speakers[:3] == voices.speakers


@pytest.mark.parametrize("rate_hz", [8000, 22050])
def test_parts_equal_the_whole(rate_hz):
  voices = make_voices(num_speakers=1, sample_rate_hz=rate_hz)
  whole = voices.read(2)
  for start, length in [(0, 1), (4001, 9999), (12345, 8000)]:
    part = voices.read(2, start, length)
    np.testing.assert_allclose(part, whole[start : start + length], atol=1e-6)


def test_cache_changes_nothing_for_any_thread():
  options = dict(num_speakers=2, utterances_per_speaker=3)
  plain = make_voices(**options)
  # Room for some of the six rows only.
  cached = make_voices(**options, cache_mb=0.4)
  expected = [plain.read(row, 100, 9000) for row in range(6)]
  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    rows = [row % 6 for row in range(48)]
    read = list(pool.map(lambda row: cached.read(row, 100, 9000), rows))
  for row, signal in zip(rows, read, strict=True):
    np.testing.assert_allclose(signal, expected[row], atol=1e-6)
  first = cached.read(0, 0, 100)
  first[:] = 7.0
  assert cached.read(0, 0, 100).max() < 1.0


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
  # High voices tend to short tracts, but neither tells the other.
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


# Edge: text, length and level.


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
    assert np.isfinite(signal).all()
    assert np.abs(signal).max() < 1.0
    assert 0.02 < signal.std() < 0.12


# Failure.


@pytest.mark.parametrize(
  "name, value",
  [
    ("split", "dev"),
    ("utterances_per_speaker", 0),
    ("seed", -1),
    ("sample_rate_hz", 96000),
    ("utterance_s", 1.0),
  ],
)
def test_bad_options_are_refused(name, value):
  with pytest.raises(ValueError, match=f"{name} is '?{value}"):
    make_voices(**{name: value})
