"""The models that ship: listed, chosen, and used without a flag."""

import pathlib
import subprocess
import sys

import pytest
import soundfile
from two_bands import RATE, Bands, tones

from jaxsep import cli, model_io


@pytest.fixture
def call(capsys):
  """Runs a command; returns exit code, stdout and stderr lines."""

  def run(*words):
    code = cli.main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out.splitlines(), captured.err.splitlines()

  return run


@pytest.fixture
def ships(monkeypatch):
  """Lets models with other cards ship; all are the model of two bands."""

  def replace(*cards):
    found = {
      name: {
        "folder": pathlib.Path("/shipped", name),
        "num_sources": num_sources,
        "sample_rate_hz": rate,
        "causal": causal,
      }
      for name, num_sources, rate, causal in cards
    }
    monkeypatch.setattr(model_io, "pretrained", lambda: found)
    monkeypatch.setattr(
      model_io,
      "load",
      lambda folder: model_io.LoadedModel(
        Bands(found[folder.name]["num_sources"]),
        {},
        found[folder.name]["sample_rate_hz"],
        folder=folder,
      ),
    )

  return replace


def test_models_are_listed(call):
  code, out, err = call("models")
  assert (code, err) == (0, [])
  shown = "\n".join(out)
  for name, card in model_io.pretrained().items():
    assert any(
      line.startswith(name) and f"{card['sample_rate_hz']} Hz" in line
      for line in out
    )
    for text in (card["summary"], card["license"], *card["scores"]):
      assert text in shown


def test_a_reader_that_has_read_enough_is_no_error():
  command = [
    sys.executable,
    "-c",
    "from jaxsep import cli; cli.run()",
    "models",
  ]
  with subprocess.Popen(
    command, stdout=subprocess.PIPE, stderr=subprocess.PIPE
  ) as process:
    process.stdout.close()
    assert process.stderr.read() == b""
  assert process.returncode == 141


INTERRUPTED = """
import gc, os, signal, time
from jaxsep import cli

def interrupt(*_):
  gc.callbacks.remove(interrupt)
  os.kill(os.getpid(), signal.SIGINT)
  time.sleep(0)

def main():
  gc.callbacks.append(interrupt)
  gc.collect()
  try:
    time.sleep(20)
  except KeyboardInterrupt:
    return 130

# A shell's background jobs ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
cli.main = main
cli.run()
"""


def test_a_signal_in_a_callback_is_not_lost():
  done = subprocess.run(
    [sys.executable, "-c", INTERRUPTED], capture_output=True, check=False
  )
  assert (done.returncode, done.stderr) == (130, b"")


def test_info_prints_the_card(call):
  code, out, _ = call("info", "--model=two_speakers_8k")
  assert code == 0
  assert "  num_sources     2" in out
  assert "## Data" in out


def test_separate_with_nothing_but_a_file(call, ships, make, tmp_path):
  ships(("two", 2, RATE, False))
  path = make("meeting.flac", tones(2 * RATE).sum(0))
  code, out, err = call("separate", path)
  assert code == 0
  assert out == [f"{tmp_path}/meeting_{number}.wav" for number in (1, 2)]
  assert err == [
    "note: separating with two (2 speakers, 8000 Hz); `jaxsep models` lists all"
  ]
  assert {soundfile.info(name).frames for name in out} == {2 * RATE}
  code, out, err = call("separate", path)
  assert (code, out, len(err)) == (2, [], 1)
  assert "meeting_1.wav: exists already" in err[0]


def test_outputs_beside_each_input(call, ships, make, tmp_path):
  ships(("two", 2, RATE, False))
  (tmp_path / "b").mkdir()
  signal = tones(RATE).sum(0)
  paths = [make("x.wav", signal), make("b/x.wav", signal)]
  code, out, err = call("separate", *paths, "--quiet")
  assert (code, err) == (0, [])
  assert [pathlib.Path(name).parent for name in out] == (
    [tmp_path] * 2 + [tmp_path / "b"] * 2
  )


ALL = (
  ("a_16k", 2, 16000, False),
  ("b_8k", 2, 8000, False),
  ("c_8k_causal", 2, 8000, True),
  ("d_three", 3, 8000, False),
)


@pytest.mark.parametrize(
  ("cards", "words", "name"),
  [
    (ALL, [], "b_8k"),
    (ALL, ["--num_speakers=2"], "b_8k"),
    (ALL[:1] + ALL[2:], [], "a_16k"),
    (ALL[2:], [], "c_8k_causal"),
    (ALL, ["--stream"], "c_8k_causal"),
  ],
)
def test_the_model_that_fits(
  call, ships, make, tmp_path, monkeypatch, cards, words, name
):
  ships(*cards)
  path = make("x.wav", tones(RATE).sum(0))
  _, _, err = call("separate", path, *words)
  # Two bands cannot stream, which is found after the choice.
  assert f"separating with {name} (2" in err[0]


@pytest.mark.parametrize(
  ("rates", "name"),
  [
    ([44100], "a_16k"),
    ([16000], "a_16k"),
    ([11025], "b_8k"),
    # Nearer to 16 kHz, but without its highest frequencies.
    ([15000], "b_8k"),
    ([7919], "b_8k"),
    # One model for all files: none is heard above half its rate.
    ([44100, 8000], "b_8k"),
  ],
)
def test_the_rate_of_the_recordings(call, ships, make, rates, name):
  ships(*ALL)
  paths = [
    make(f"{rate}.wav", tones(rate, rate).sum(0), rate) for rate in rates
  ]
  code, _, err = call("separate", *paths)
  assert code == 0
  assert f"separating with {name} (2" in err[0]


@pytest.mark.parametrize(
  ("cards", "words", "match"),
  [
    (ALL, ["--num_speakers=4"], "separates 4 speakers, only 2 or 3: give"),
    (ALL, ["--num_speakers=3", "--stream"], "separates 3 speakers, only 2:"),
    (ALL[:2], ["--stream"], "--stream needs a causal model, and none ships"),
    (ALL, ["--num_speakers=0"], "--num_speakers: must be above 0"),
  ],
)
def test_no_model_fits(call, ships, make, tmp_path, cards, words, match):
  ships(*cards)
  path = make("x.wav", tones(RATE).sum(0))
  code, out, err = call("separate", path, *words)
  assert (code, out, len(err)) == (2, [], 1)
  assert match in err[0]
  assert [entry.name for entry in tmp_path.iterdir()] == ["x.wav"]


def test_a_model_that_is_named(call, make, tmp_path):
  path = make("x.wav", tones(RATE).sum(0))
  code, out, err = call("separate", path, "--model=two_speaker_8k")
  assert (code, out, len(err)) == (2, [], 1)
  assert "models that ship: " in err[0] and "two_speakers_8k" in err[0]
  named = ["--model=two_speakers_8k", f"--output_dir={tmp_path}/out"]
  code, out, err = call("separate", path, *named, "--num_speakers=3")
  assert (code, out, len(err)) == (2, [], 1)
  assert "two_speakers_8k: separates 2 speakers, not 3" in err[0]
  assert not (tmp_path / "out").exists()


def test_the_bar_ends_at_the_end(call, ships, make, monkeypatch):
  ships(("two", 2, RATE, False))
  monkeypatch.setattr("sys.stderr.isatty", lambda: True)
  path = make("x.wav", tones(3 * 7919, 7919).sum(0), 7919)
  code, _, err = call("separate", path, "--chunk_s=1")
  assert code == 0
  assert "x.wav: 100%" in err[-1] and "3/3 s of audio" in err[-1]
