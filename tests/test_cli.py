"""The commands, on files good and bad."""

import json
import re
import struct
import subprocess
import sys
import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile

import jaxsep
from jaxsep import audio, cli, metrics, model_io, models
from jaxsep.cli import _info

RATE = 8000
load = _info.load


class Bands(nn.Module):
  """Low and high frequencies; which is first changes from chunk to chunk."""

  num_sources: int = 2

  @nn.compact
  def __call__(self, mixture):
    length = mixture.shape[-1]
    spectrum = jnp.fft.rfft(mixture)
    is_high = jnp.arange(spectrum.shape[-1]) >= spectrum.shape[-1] // 2
    masks = jnp.stack([~is_high, is_high])[None]
    bands = jnp.fft.irfft(spectrum[:, None] * masks, length)
    seed = (jnp.abs(mixture[:, length // 2]) * 1e7).astype(jnp.uint32)
    swap = jax.vmap(lambda s: jax.random.bernoulli(jax.random.key(s)))(seed)
    return 30 * jnp.where(swap[:, None, None], bands[:, ::-1], bands)


@pytest.fixture(autouse=True)
def model(monkeypatch):
  loaded = types.SimpleNamespace(
    model=Bands(),
    params={},
    sample_rate_hz=RATE,
    task="separation",
    metadata={"trained_on": "nothing"},
  )
  monkeypatch.setattr(_info, "load", lambda folder: loaded)
  return loaded


def tones(length, rate=RATE, amplitude=0.1):
  """Two sources of noisy tones, one in each band `[2, T]`."""
  time_s = np.arange(length) / rate
  generator = np.random.default_rng(0)
  slow = generator.normal(size=(2, length // (rate // 4) + 1))
  shape = np.stack([np.repeat(row, rate // 4)[:length] for row in slow])
  pitch = np.array([[400.0], [3000.0]])
  carrier = np.sin(2 * np.pi * pitch * time_s)
  return (amplitude * carrier * (1 + 0.3 * shape)).astype(np.float32)


@pytest.fixture
def make(tmp_path):
  def write(name, samples, rate=RATE, **options):
    soundfile.write(tmp_path / name, np.transpose(samples), rate, **options)
    return str(tmp_path / name)

  return write


@pytest.fixture
def separate(tmp_path, capsys):
  """Runs the command; returns exit code, stdout and stderr lines."""

  def call(*words):
    words = ("separate", "--model=any", "--chunk_s=1", *words)
    code = cli.main([*words, f"--output_dir={tmp_path}/out"])
    captured = capsys.readouterr()
    return code, captured.out.splitlines(), captured.err.splitlines()

  return call


def outputs(tmp_path):
  folder = tmp_path / "out"
  return (
    sorted(entry.name for entry in folder.iterdir()) if folder.exists() else []
  )


# `jaxsep separate`: ordinary files.


def test_one_file_per_voice(make, separate, tmp_path):
  sources = tones(20 * RATE + 123)
  path = make("meeting.flac", sources.sum(0), subtype="PCM_24")
  code, out, err = separate(path)
  assert code == 0
  assert err == []
  expected = [f"{tmp_path}/out/meeting_{number}.wav" for number in (1, 2)]
  assert out == expected
  assert outputs(tmp_path) == ["meeting_1.wav", "meeting_2.wav"]
  assert {soundfile.info(name).subtype for name in out} == {"FLOAT"}
  estimate = np.concatenate([audio.read(name)[0] for name in out])
  assert estimate.shape == sources.shape
  if abs(estimate[0] @ sources[1]) > abs(estimate[0] @ sources[0]):
    estimate = estimate[::-1]
  error = np.sum((estimate - sources) ** 2, -1) / np.sum(sources**2, -1)
  assert (error < 1e-2).all()


@pytest.mark.parametrize("rate", [7919, 16000, 44100])
@pytest.mark.parametrize("num_channels", [1, 8])
def test_any_rate_and_channels(make, separate, rate, num_channels):
  sources = tones(3 * rate + 17, rate)
  mixture = sources.sum(0)
  path = make(
    "x.wav", np.tile(mixture, (num_channels, 1)), rate, subtype="FLOAT"
  )
  code, out, err = separate(path)
  assert code == 0
  estimate, read_rate = zip(*map(audio.read, out), strict=True)
  assert set(read_rate) == {rate}
  total = np.concatenate(estimate).sum(0)
  assert total.shape == mixture.shape
  middle = slice(rate // 10, -rate // 10)
  error = np.sum((total - mixture)[middle] ** 2) / np.sum(mixture**2)
  assert error < 1e-2
  assert len(err) == (num_channels > 1) + (rate > RATE)
  if num_channels > 1:
    assert "mean of its 8 channels" in err[0]
  if rate > RATE:
    assert "nothing above 4000 Hz" in err[-1]


def test_one_channel_of_many(make, separate):
  sources = tones(2 * RATE)
  path = make("x.wav", np.stack([sources[0], sources.sum(0)]), subtype="FLOAT")
  code, out, err = separate(path, "--channel=2")
  assert code == 0
  assert err == [f"note: {path}: separating channel 2 of 2"]
  total = sum(audio.read(name)[0][0] for name in out)
  np.testing.assert_allclose(total, sources.sum(0), atol=0.01)


def test_channels_that_cancel_are_pointed_out(make, separate):
  mixture = tones(RATE).sum(0)
  path = make("x.wav", np.stack([mixture, -mixture]), subtype="FLOAT")
  code, _, err = separate(path)
  assert code == 0
  assert "cancel" in err[-1] or "silent" in err[-1]


@pytest.mark.parametrize(
  "samples",
  [
    np.zeros(3 * RATE),
    np.full(1, 0.5),
    np.sign(np.random.default_rng(0).normal(size=3 * RATE)),
    2.0**-15 * (np.random.default_rng(0).normal(size=3 * RATE) > 0),
  ],
  ids=["silent", "one_sample", "full_scale_bits", "lowest_bit"],
)
@pytest.mark.parametrize("rate", [7919, 8000])
def test_ordinary_files(make, separate, samples, rate):
  path = make("x.wav", samples, rate, subtype="FLOAT")
  code, out, err = separate(path)
  assert code == 0
  for name in out:
    voice, voice_rate = audio.read(name)
    assert voice.shape == (1, len(samples))
    assert voice_rate == rate
    assert np.abs(voice).max() <= 4 * np.abs(samples).max()
  silent = not samples.any()
  assert err == ([f"note: {path}: is silent; so are the outputs"] * silent)


def test_a_wrong_extension_is_no_matter(make, separate, tmp_path):
  made = make("x.flac", tones(RATE).sum(0))
  path = f"{tmp_path}/x.raw"
  (tmp_path / "x.flac").rename(path)
  assert made != path
  assert separate(path)[0] == 0


def test_integer_outputs_report_clipping(make, separate):
  path = make("x.wav", tones(2 * RATE, amplitude=2.0).sum(0), subtype="FLOAT")
  code, out, err = separate(path, "--format=flac", "--encoding=pcm16")
  assert code == 0
  assert {soundfile.info(name).subtype for name in out} == {"PCM_16"}
  assert len(err) == 2
  for name, line in zip(out, sorted(err), strict=True):
    assert line.startswith(f"note: {name}: ")
    assert "samples beyond full scale were clipped" in line


# `jaxsep separate`: mistakes. One line, exit code 2, nothing left behind.


def refused(separate, tmp_path, match, *words):
  code, out, err = separate(*words)
  assert code == 2
  assert out == []
  assert len(err) == 1
  assert err[0].startswith("jaxsep: ")
  assert match in err[0]
  assert outputs(tmp_path) == []


def test_no_such_file_or_no_file(separate, tmp_path):
  refused(separate, tmp_path, "missing.wav: no such file", "missing.wav")
  refused(separate, tmp_path, "is a folder", str(tmp_path))


def test_damaged_files(make, separate, tmp_path):
  signal_10_s = tones(10 * RATE).sum(0)
  path = tmp_path / "x.wav"
  path.write_bytes(b"")
  refused(separate, tmp_path, "is empty", str(path))
  path.write_text("no audio " * 99)
  refused(separate, tmp_path, "no audio file", str(path))
  make("x.wav", np.zeros(0))
  refused(separate, tmp_path, "no samples", str(path))
  make("x.wav", signal_10_s, subtype="PCM_16")
  whole = path.read_bytes()
  path.write_bytes(whole[:50000])
  refused(separate, tmp_path, "is cut off", str(path))
  path.write_bytes(whole[:40] + struct.pack("<I", 1000) + whole[44:])
  refused(separate, tmp_path, "header is wrong", str(path))
  for value in (np.nan, np.inf):
    signal_10_s[-RATE] = value
    make("x.wav", signal_10_s, subtype="FLOAT")
    refused(separate, tmp_path, "the first 9.000 s into", str(path))


@pytest.mark.parametrize("name", ["x.wav", "x.flac"])
@pytest.mark.parametrize("rate", [8000, 11025])
def test_what_is_there_of_a_file_that_is_cut_off(
  make, separate, tmp_path, name, rate
):
  path = tmp_path / name
  make(name, tones(20 * rate, rate).sum(0), rate)
  whole = path.read_bytes()
  path.write_bytes(whole[: len(whole) // 2])
  code, out, _ = separate(str(path), "--allow_truncated", "--quiet")
  assert code == 0
  expected = audio.read(path, allow_truncated=True)[0].shape
  assert 0 < expected[1] < 20 * rate
  assert {audio.read(name)[0].shape for name in out} == {expected}


def test_nothing_is_overwritten_unasked(make, separate, tmp_path):
  path = make("x.wav", tones(RATE).sum(0))
  (tmp_path / "out").mkdir()
  precious = tmp_path / "out" / "x_2.wav"
  precious.write_text("precious")
  code, _, err = separate(path)
  assert code == 2
  assert err == [
    f"jaxsep: {precious}: exists already; choose another --output_dir or add"
    " --overwrite"
  ]
  assert precious.read_text() == "precious"
  assert outputs(tmp_path) == ["x_2.wav"]
  assert separate(path, "--overwrite")[0] == 0
  assert audio.info(precious).num_samples == RATE


def test_an_input_is_never_overwritten(make, separate, tmp_path):
  (tmp_path / "out").mkdir()
  first = make("out/x.wav", tones(RATE).sum(0))
  second = make("out/x_1.wav", tones(RATE).sum(0))
  code, _, err = separate(first, second, "--overwrite")
  assert code == 2
  assert "x_1.wav: is an input" in err[0]


def test_two_inputs_of_one_name(make, separate, tmp_path):
  (tmp_path / "a").mkdir()
  paths = [make("x.wav", tones(RATE).sum(0)), make("a/x.wav", tones(RATE)[0])]
  refused(separate, tmp_path, "two inputs", *paths)
  refused(separate, tmp_path, "two inputs", paths[0], paths[0])


def test_options_out_of_range(make, separate, tmp_path):
  path = make("x.wav", tones(RATE))
  for words, match in [
    (["--channel=left"], "--channel must be mix or a number from 1"),
    (["--channel=0"], "--channel must be"),
    (["--channel=3"], "has 2 channels, no channel 3"),
    (["--overlap_s=1"], "--overlap_s must be from 0 to 0.9 of --chunk_s 1"),
    (["--batch_size=0"], "--batch_size must be positive"),
    (["--format=mp3"], "invalid choice: 'mp3'"),
    (["--format=flac", "--encoding=float"], "FLAC holds no float"),
    (["--no_such_flag"], "unrecognized arguments: --no_such_flag"),
  ]:
    refused(separate, tmp_path, match, path, *words)


def test_other_files_go_on_after_a_damaged_one(make, separate, tmp_path):
  bad = tones(RATE).sum(0)
  bad[700] = np.nan
  paths = [
    make("bad.wav", bad, subtype="FLOAT"),
    make("good.wav", tones(RATE).sum(0)),
  ]
  code, out, err = separate(*paths)
  assert code == 2
  assert len(out) == 2
  assert len(err) == 1
  assert outputs(tmp_path) == ["good_1.wav", "good_2.wav"]


def test_where_no_folder_can_be(make, separate, tmp_path):
  path = make("x.wav", tones(RATE).sum(0))
  (tmp_path / "out").write_text("a file")
  code, _, err = separate(path)
  assert code == 2
  assert len(err) == 1
  assert f"{tmp_path}/out" in err[0]


def test_damaged_parameters(make, separate, tmp_path, model):
  class Broken(nn.Module):
    num_sources: int = 2

    @nn.compact
    def __call__(self, mixture):
      return jnp.stack([mixture, mixture * jnp.nan], axis=1)

  model.model = Broken()
  path = make("x.wav", tones(RATE).sum(0))
  refused(separate, tmp_path, "parameters are damaged", path)


def test_an_interruption_leaves_nothing(make, separate, tmp_path, monkeypatch):
  def interrupt(*unused):
    raise KeyboardInterrupt

  path = make("x.wav", tones(3 * RATE).sum(0))
  monkeypatch.setattr(audio.Writer, "write", interrupt)
  code, _, err = separate(path)
  assert code == 130
  assert len(err) == 1
  assert outputs(tmp_path) == []


# A model in a folder.


def test_a_saved_model(make, separate, tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(_info, "load", load)
  model = models.ConvTasNet(
    num_sources=3,
    num_filters=16,
    bottleneck_channels=8,
    hidden_channels=8,
    skip_channels=8,
    num_blocks=2,
    num_repeats=1,
  )
  params = model.init(jax.random.key(0), jnp.zeros((1, RATE)))["params"]
  folder = tmp_path / "model"
  model_io.save(folder, model, params, sample_rate_hz=16000)
  path = make("x.wav", tones(3 * RATE).sum(0))
  code, out, _ = separate(path, f"--model={folder}")
  assert code == 0
  assert len(out) == 3
  for name in out:
    assert audio.read(name)[0].shape == (1, 3 * RATE)
  assert cli.main(["info", f"--model={folder}"]) == 0
  out = capsys.readouterr().out
  assert "16000 Hz" in out
  assert re.search(r"dtype +float32\n", out)


def test_folders_that_hold_no_model(make, separate, tmp_path, monkeypatch):
  monkeypatch.setattr(_info, "load", load)
  path = make("x.wav", tones(RATE).sum(0))
  missing, empty = tmp_path / "missing", tmp_path / "empty"
  empty.mkdir()
  for folder in (missing, empty, path):
    refused(separate, tmp_path, str(folder), path, f"--model={folder}")


# `jaxsep score`.


@pytest.fixture
def score(capsys):
  def call(*words):
    code = cli.main(["score", *words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err.splitlines()

  return call


@pytest.fixture
def pair(make):
  generator = np.random.default_rng(3)
  reference = generator.normal(0, 0.1, (2, 2 * RATE)).astype(np.float32)
  noise = generator.normal(0, 0.01, reference.shape).astype(np.float32)
  estimate = 0.5 * (reference + noise)[::-1]
  float_wav = {"subtype": "FLOAT"}
  return types.SimpleNamespace(
    reference=reference,
    estimate=estimate,
    references=[
      make(f"r{i}.wav", row, **float_wav) for i, row in enumerate(reference)
    ],
    estimates=[
      make(f"e{i}.wav", row, **float_wav) for i, row in enumerate(estimate)
    ],
    mixture=make("m.wav", reference.sum(0), **float_wav),
  )


def test_scores_under_the_best_permutation(score, pair):
  words = ["--reference", *pair.references, "--estimate", *pair.estimates]
  code, out, err = score(*words, "--mixture", pair.mixture, "--json")
  assert code == 0
  assert err == []
  result = json.loads(out)
  assert [
    source["reference"] for source in result["sources"]
  ] == pair.references
  assert [source["estimate"] for source in result["sources"]] == [
    pair.estimates[1],
    pair.estimates[0],
  ]
  expected = metrics.si_sdr(pair.estimate[::-1], pair.reference)
  before = metrics.si_sdr(
    np.tile(pair.reference.sum(0), (2, 1)), pair.reference
  )
  for source, value, base in zip(
    result["sources"], expected, before, strict=True
  ):
    assert source["si_sdr"] == pytest.approx(float(value), abs=1e-3)
    gained = float(value - base)
    assert source["si_sdr_improvement"] == pytest.approx(gained, abs=1e-3)
    assert source["snr"] == pytest.approx(6.0, abs=0.2)
    assert source["sdr"] > 19
  mean = float(np.mean(expected))
  assert result["mean"]["si_sdr"] == pytest.approx(mean, abs=1e-3)


def test_the_table_says_which_belongs_to_which(score, pair):
  code, out, _ = score(
    "--reference", *pair.references, "--estimate", *pair.estimates
  )
  assert code == 0
  rows = [line.split() for line in out.splitlines()]
  titles = "reference estimate SI-SDR SI-SNR SNR SDR SIR SAR"
  assert rows[0] == titles.split()
  assert rows[1][:2] == [pair.references[0], pair.estimates[1]]
  assert rows[2][:2] == [pair.references[1], pair.estimates[0]]
  assert rows[3][0] == "mean"
  assert len({len(line) for line in out.splitlines()}) == 1


def test_scores_that_cannot_be(score, pair, make):
  other_rate = make("rate.wav", pair.reference[0], 16000)
  shorter = make("short.wav", pair.reference[0][:-100])
  stereo = make("stereo.wav", pair.reference)
  first, second = pair.references
  for references, estimates, match in [
    ([first], pair.estimates, "1 references, but 2 estimates"),
    ([first], ["missing.wav"], "missing.wav: no such file"),
    ([first], [other_rate], "rate.wav: 16000 Hz, but"),
    ([first], [shorter], "--trim"),
    ([first], [stereo], "has 2 channels; say which with --channel"),
  ]:
    code, out, err = score("--reference", *references, "--estimate", *estimates)
    assert code == 2
    assert out == ""
    assert len(err) == 1
    assert match in err[0]
  words = ["--reference", first, "--estimate", shorter, "--trim", "--json"]
  code, out, err = score(*words)
  assert code == 0
  assert "all cut to 15900" in err[0]
  assert json.loads(out)["mean"]["si_sdr"] > 60
  words = ["--reference", second, "--estimate", stereo, "--channel=2", "--json"]
  assert json.loads(score(*words)[1])["mean"]["si_sdr"] > 60
  code, _, err = score(
    "--reference", first, "--estimate", second, "--channel=5"
  )
  assert code == 2
  assert err == [f"jaxsep: {first}: has 1 channel, no channel 5"]


# The rest.


def test_info(capsys):
  assert cli.main(["info", "--model=any"]) == 0
  out = capsys.readouterr().out
  assert "Bands" in out
  assert "8000 Hz" in out
  assert "num_sources" in out
  assert "trained_on" in out


def test_version_and_help(capsys):
  assert cli.main(["--version"]) == 0
  assert capsys.readouterr().out == f"jaxsep {jaxsep.__version__}\n"
  assert cli.main(["separate", "--help"]) == 0
  assert "--output_dir" in capsys.readouterr().out
  assert cli.main([]) == 2
  assert len(capsys.readouterr().err.splitlines()) == 1


def test_help_is_quick_and_nothing_loads_tensorflow():
  code = (
    "import sys; from jaxsep import cli; cli.main(['--help']);"
    " assert not {'jax', 'numpy', 'soundfile'} & set(sys.modules);"
    " import jaxsep.cli._separate, jaxsep.cli._score;"
    " assert 'tensorflow' not in sys.modules"
  )
  subprocess.run(
    [sys.executable, "-c", code], check=True, capture_output=True, timeout=60
  )
