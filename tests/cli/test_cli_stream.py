"""`jaxsep separate --stream`: pipes and files, written as they come."""

import io
import os
import pathlib
import resource
import signal
import struct
import threading
import time
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile
from two_bands import RATE, draw, small_conv_tasnet

from jaxsep import audio, cli, inference, model_io
from jaxsep.cli import _stream_output

TO_STDOUT = ["separate", "--model=any", "--stream", "-", "--output_dir=-"]


@pytest.fixture(scope="module")
def small():
  model = small_conv_tasnet(causal=True)
  return model_io.LoadedModel(model, draw(model), RATE)


@pytest.fixture(autouse=True)
def loaded(monkeypatch, small):
  monkeypatch.setattr(model_io, "load", lambda folder: small)
  return small


@pytest.fixture
def as_the_model(monkeypatch):
  """Leaves the outputs at the model's level."""
  monkeypatch.setattr(
    inference.RunningGains, "apply", lambda self, mixture, sources: sources
  )


@pytest.fixture
def stdout_of(monkeypatch):
  """Puts an open file in the place of stdout."""

  def replace(file):
    stdout = types.SimpleNamespace(buffer=file, fileno=file.fileno)
    monkeypatch.setattr("sys.stdout", stdout)

  return replace


@pytest.fixture
def separate(tmp_path, capsys):
  def call(*words, output_dir=None):
    output_dir = output_dir or tmp_path / "out"
    words = ("separate", "--model=any", "--stream", *words)
    code = cli.main([*words, f"--output_dir={output_dir}"])
    captured = capsys.readouterr()
    return code, captured.out.splitlines(), captured.err.splitlines()

  return call


@pytest.fixture
def separate_file(separate, tmp_path):
  def call(samples, *words, rate=RATE, **options):
    (tmp_path / "x.wav").write_bytes(wav(samples, rate))
    return separate(f"{tmp_path}/x.wav", *words, **options)

  return call


@pytest.fixture
def pipe(monkeypatch):
  """Feeds bytes to stdin from another thread, which then calls `then`."""
  threads, files = [], []

  def feed(*contents, then=lambda: None):
    reader, writer = os.pipe()
    files.append(os.fdopen(reader, "rb", buffering=0))
    monkeypatch.setattr("sys.stdin", files[-1])

    def write():
      with os.fdopen(writer, "wb", buffering=0) as file:
        for content in contents:
          file.write(content)
        then()

    threads.append(threading.Thread(target=write))
    threads[-1].start()
    return threads[-1]

  yield feed
  for thread in threads:
    thread.join(10)
    assert not thread.is_alive()
  for file in files:
    file.close()


def noise(length, amplitude=0.1):
  generator = np.random.default_rng(0)
  return (amplitude * generator.standard_normal(length)).astype(np.float32)


def wav(samples, rate=RATE, subtype="FLOAT", container="WAV"):
  file = io.BytesIO()
  soundfile.write(file, np.transpose(samples), rate, subtype, format=container)
  return file.getvalue()


def with_size(content, size):
  """The same WAV file with another size of the samples in its header."""
  start = content.index(b"data") + 4
  return content[:start] + struct.pack("<I", size) + content[start + 4 :]


def read(paths):
  return np.concatenate([audio.read(path)[0] for path in paths])


def offline(loaded, mixture):
  apply = jax.jit(loaded.model.apply)
  return apply(loaded.variables, jnp.asarray(mixture)[None])[0]


# What comes out is the model's output on the whole.


def test_outputs_beside_the_file(tmp_path, capsys):
  (tmp_path / "x.wav").write_bytes(wav(noise(3000)))
  words = ["separate", "--model=any", "--stream", f"{tmp_path}/x.wav"]
  assert cli.main(words) == 0
  expected = [f"{tmp_path}/x_{number}.wav" for number in (1, 2)]
  assert capsys.readouterr().out.splitlines() == expected
  assert read(expected).shape == (2, 3000)


@pytest.mark.usefixtures("as_the_model")
def test_a_file(separate_file, tmp_path, loaded):
  mixture = noise(3001)
  code, out, err = separate_file(mixture, "--chunk_s=0.002")
  assert (code, err) == (0, [])
  assert out == [f"{tmp_path}/out/x_{number}.wav" for number in (1, 2)]
  np.testing.assert_allclose(read(out), offline(loaded, mixture), atol=1e-6)


@pytest.mark.usefixtures("as_the_model")
@pytest.mark.parametrize(
  ("subtype", "container", "size"),
  [
    ("FLOAT", "WAV", None),
    ("DOUBLE", "WAV", 0xFFFFFFFF),  # As from ffmpeg.
    ("PCM_16", "WAV", 0x7FFFF000),  # As from sox.
    ("PCM_24", "WAV", 0),
    ("PCM_32", "RF64", None),
  ],
)
def test_wav_from_a_pipe(separate, pipe, loaded, subtype, container, size):
  mixture = noise(3001)
  content = wav(np.stack([0 * mixture, mixture]), RATE, subtype, container)
  if size is not None:
    content = with_size(content, size)
  # In pieces that end within samples.
  pipe(content[:5], content[5:1001], content[1001:])
  code, out, err = separate("-", "--channel=2")
  assert (code, err) == (0, [])
  assert [pathlib.Path(name).name for name in out] == [
    f"stdin_{number}.wav" for number in (1, 2)
  ]
  np.testing.assert_allclose(read(out), offline(loaded, mixture), atol=1e-4)


@pytest.mark.usefixtures("as_the_model")
def test_from_a_pipe_to_a_pipe(pipe, loaded, stdout_of, tmp_path):
  mixture = noise(3001)
  pipe(wav(mixture))
  with open(tmp_path / "stdout", "wb") as file:
    stdout_of(file)
    assert cli.main(TO_STDOUT) == 0
  written = np.fromfile(tmp_path / "stdout", "<f4").reshape(-1, 2).T
  np.testing.assert_allclose(written, offline(loaded, mixture), atol=1e-4)


def test_another_rate(separate_file):
  code, out, _ = separate_file(noise(15_001), rate=7919)
  assert code == 0
  assert {audio.info(name).sample_rate_hz for name in out} == {7919}
  assert read(out).shape == (2, 15_001)


@pytest.mark.parametrize(
  ("encoding", "step"), [("float", 1e-9), ("pcm16", 2**-15), ("pcm24", 2**-23)]
)
def test_encodings(separate_file, tmp_path, encoding, step):
  mixture = noise(3001)
  mixture[0] = 20.0
  expected = read(separate_file(mixture)[1])
  code, out, err = separate_file(
    mixture, f"--encoding={encoding}", output_dir=tmp_path / "other"
  )
  assert code == 0
  if encoding == "float":
    assert err == []
  else:
    assert "samples beyond full scale were clipped" in err[0]
    expected = np.clip(expected, -1, 1)
  np.testing.assert_allclose(read(out), expected, atol=step)
  assert soundfile.info(out[0]).frames == 3001


def test_past_4_gb_the_header_is_another(separate_file, monkeypatch):
  expected = read(separate_file(noise(3001))[1])
  monkeypatch.setattr(_stream_output, "_MOST_BYTES", 10_000)
  _, out, _ = separate_file(noise(3001), "--overwrite")
  assert pathlib.Path(out[0]).read_bytes()[:4] == b"RF64"
  np.testing.assert_array_equal(read(out), expected)


# Ends that come early.


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_whole_files(separate, pipe, tmp_path, number):
  path, seen, late = tmp_path / "out/stdin_1.wav", [], threading.Event()

  def wait_and_stop():
    while not path.exists() or path.stat().st_size < 4 * 2.9 * RATE:
      time.sleep(0.01)
    seen.append(audio.info(path, allow_truncated=True).num_samples)
    os.kill(os.getpid(), number)
    # The pipe stays open, but nothing comes.
    late.wait(10)

  endless = with_size(wav(noise(3 * RATE)), 0)
  feeder = pipe(endless, then=wait_and_stop)
  before = signal.getsignal(number)
  code, out, err = separate("-")
  assert feeder.is_alive()
  late.set()
  assert code == 128 + number
  assert signal.getsignal(number) == before
  name = signal.Signals(number).name
  assert err == [f"note: ended by {name}; 3.00 s are separated"]
  assert read(out).shape == (2, 3 * RATE)
  # It could be played while it grew, but for the last second at most.
  assert 2 * RATE <= seen[0]


def test_a_closed_output_is_no_error(pipe, stdout_of, capsys):
  reader, writer = os.pipe()
  os.close(reader)
  pipe(wav(noise(1000)))
  with os.fdopen(writer, "wb") as file:
    stdout_of(file)
    code = cli.main(TO_STDOUT)
  assert code == 0
  assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
  ("content", "code", "match", "length"),
  [
    (wav(np.append(noise(RATE), np.nan)), 2, f"Inf at sample {RATE}", RATE),
    (with_size(wav(noise(2000)), 40_000), 2, "before the size in its", 2000),
    (with_size(wav(noise(2000)), 0xB0000000), 2, "before the size", 2000),
    (
      with_size(wav(noise(2000)), 0) + bytes(3),
      0,
      "ends within a sample of 4 bytes; the last 3 are left out",
      2000,
    ),
  ],
  ids=["nan", "cut_off", "cut_off_long", "within_a_sample"],
)
def test_what_came_before_is_separated(
  separate, pipe, content, code, match, length
):
  pipe(content[:5000], content[5000:])
  found, out, err = separate("-")
  assert found == code
  assert match in err[0]
  assert read(out).shape == (2, length)


@pytest.mark.parametrize("encoding", ["float", "pcm24"])
def test_a_full_disk_leaves_whole_files(tmp_path, encoding):
  paths = [tmp_path / f"x_{number}.wav" for number in (1, 2)]
  block = np.stack([noise(999), -noise(999)])
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
  resource.setrlimit(resource.RLIMIT_FSIZE, (9000, before[1]))
  try:
    with pytest.raises(audio.AudioError, match="disk full"):
      with _stream_output.Files(
        paths, sample_rate_hz=RATE, encoding=encoding
      ) as files:
        for _ in range(9):
          files.write(block)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)
  expected = np.tile(block, (1, 2))
  np.testing.assert_allclose(read(paths), expected, atol=2**-23)


# Mistakes.


@pytest.mark.parametrize(
  ("words", "match"),
  [
    (["x.wav", "y.wav"], "takes one input"),
    (["x.wav", "--format=flac"], "writes WAV"),
    (["x.wav", "--overlap_s=1"], "--overlap_s is not for --stream"),
    (["x.wav", "--upper_band=share"], "--upper_band is not for --stream"),
    (["x.wav", "--chunk_s=0"], "--chunk_s: must be above 0"),
    (["missing.wav"], "no such file"),
  ],
)
def test_options_that_do_not_go_together(separate, words, match):
  code, out, err = separate(*words)
  assert (code, out) == (2, [])
  assert len(err) == 1
  assert match in err[0]


@pytest.mark.parametrize(
  ("content", "match"),
  [
    (b"", "ends before any sound"),
    (b"fLaC" + bytes(100), "is not a WAV stream"),
    (wav(np.zeros(9), subtype="ULAW"), "can read WAV of 16, 24 or 32 bit"),
    (wav(np.zeros(9))[:30], "ends before any sound"),
    (wav(np.zeros(9), rate=999), "the WAV header is damaged"),
    (b"RIFF1234WAVEdata\4\0\0\0" + bytes(4), "the WAV header is damaged"),
    (
      b"RIFF1234WAVEfmt \4\0\0\0\1\0\1\0data\4\0\0\0" + bytes(4),
      "the WAV header is damaged",
    ),
  ],
)
def test_pipes_that_hold_no_wav(separate, pipe, content, match):
  pipe(content)
  code, _, err = separate("-")
  assert code == 2
  assert len(err) == 1
  assert match in err[0]


def test_a_model_that_needs_the_future(separate_file, monkeypatch):
  model = small_conv_tasnet()
  loaded = model_io.LoadedModel(model, draw(model), RATE)
  monkeypatch.setattr(model_io, "load", lambda folder: loaded)
  code, _, err = separate_file(noise(100))
  assert code == 2
  assert "any: this ConvTasNet cannot stream" in err[0]
