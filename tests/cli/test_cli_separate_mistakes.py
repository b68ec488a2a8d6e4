"""Mistakes of `jaxsep separate`: one line, exit code 2, nothing left behind."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest
from two_bands import RATE, Bands, outputs, tones

from jaxsep import audio, model_io, models

load = model_io.load


def refused(separate, tmp_path, match, *words):
  code, out, err = separate(*words)
  assert code == 2
  assert out == []
  assert len(err) == 1
  assert err[0].startswith("jaxsep: ")
  assert match in err[0]
  assert outputs(tmp_path) == []


def test_inputs_and_folders(make, separate, tmp_path, monkeypatch):
  signal = tones(10 * RATE).sum(0)
  whole = make("whole.wav", signal)
  path = tmp_path / "x.wav"
  path.write_text("no audio " * 99)
  refused(separate, tmp_path, "missing.wav: no such file", "missing.wav")
  refused(separate, tmp_path, "is a folder", str(tmp_path))
  refused(separate, tmp_path, "not an audio file", str(path))
  make("x.wav", signal, subtype="PCM_16")
  path.write_bytes(path.read_bytes()[:50000])
  refused(separate, tmp_path, "is cut off", str(path))
  signal[-RATE] = np.nan
  make("x.wav", signal, subtype="FLOAT")
  refused(separate, tmp_path, "the first 9.000 s into", str(path))
  (tmp_path / "a").mkdir()
  same = make("a/whole.wav", signal)
  refused(separate, tmp_path, "two inputs", whole, same)
  is_file = f"{path}: is a file; choose another --output_dir"
  refused(separate, tmp_path, is_file, whole, f"--output_dir={path}")
  monkeypatch.setattr(model_io, "load", load)
  for folder in (tmp_path / "missing", tmp_path, path):
    refused(separate, tmp_path, str(folder), whole, f"--model={folder}")


def test_what_is_there_of_a_file_that_is_cut_off(make, separate, tmp_path):
  path, rate = tmp_path / "x.flac", 11025
  make("x.flac", tones(20 * rate, rate).sum(0), rate)
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
  assert "x_2.wav: exists already" in err[0]
  assert precious.read_text() == "precious"
  assert outputs(tmp_path) == ["x_2.wav"]
  assert separate(path, "--overwrite")[0] == 0
  assert audio.info(precious).num_samples == RATE
  code, _, err = separate(path, str(precious), "--overwrite")
  assert code == 2
  assert "x_2.wav: is an input" in err[0]


def test_options_out_of_range(make, separate, tmp_path):
  path = make("x.wav", tones(RATE))
  for words, match in [
    (["--channel=left"], "--channel must be mix or a number from 1"),
    (["--channel=0"], "--channel must be"),
    (["--channel=3"], "has 2 channels, no channel 3"),
    (["--overlap_s=1"], "--overlap_s must be from 0 to 0.9 of --chunk_s 1"),
    (["--chunk_s=0.01"], "--chunk_s below 0.1 seconds"),
    (["--batch_size=0"], "--batch_size: must be above 0"),
    (["-"], "- for a pipe needs --stream"),
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


class Conditioned(nn.Module):
  num_sources: int = 2

  def example_inputs(self):
    return {"mixture": jnp.zeros((1, 8)), "enrollment": jnp.zeros((1, 8))}

  def __call__(self, mixture, *, enrollment, length=None, train=False):
    return jnp.stack([mixture, enrollment], axis=1)


@pytest.mark.parametrize("stream", [[], ["--stream"]])
def test_folders_that_hold_no_separator(
  make, separate, tmp_path, monkeypatch, stream
):
  path = make("x.wav", tones(RATE).sum(0))
  encoder = models.Encoder(num_filters=4, filter_length=16)
  for loaded, match in [
    (model_io.LoadedModel(encoder, {}, RATE), "any: its model, Encoder (task"),
    (
      model_io.LoadedModel(Bands(), {}, RATE, "asr"),
      "Bands (task: asr), does not",
    ),
    (
      model_io.LoadedModel(Conditioned(), {}, RATE),
      "any: this Conditioned needs enrollment beside the mixture",
    ),
  ]:
    monkeypatch.setattr(model_io, "load", lambda folder, found=loaded: found)
    refused(separate, tmp_path, match, path, *stream)


def test_damaged_parameters(make, separate, tmp_path, monkeypatch):
  class Broken(nn.Module):
    num_sources: int = 2

    @nn.compact
    def __call__(self, mixture, *, length=None):
      return jnp.stack([mixture, mixture * jnp.nan], axis=1)

  broken = model_io.LoadedModel(Broken(), {}, RATE)
  monkeypatch.setattr(model_io, "load", lambda folder: broken)
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
