"""`jaxsep separate --css`: meetings."""

import numpy as np
import pytest
from two_bands import RATE, Bands, outputs, tones

from jaxsep import audio, cli, inference


@pytest.fixture
def separate(model, tmp_path, capsys):
  def call(*words):
    usual = ("--css", "--model=any", f"--output_dir={tmp_path}/out")
    code = cli.main(["separate", *usual, *words])
    captured = capsys.readouterr()
    return code, captured.out.splitlines(), captured.err.splitlines()

  return call


@pytest.mark.parametrize("rate", [RATE, 16000])
def test_a_meeting_becomes_two_streams(make, separate, tmp_path, rate):
  sources = tones(9 * rate + 123, rate)
  path = make("meeting.flac", sources.sum(0), rate, subtype="PCM_24")
  code, out, err = separate(path)
  assert code == 0
  assert len(err) == (rate > RATE)
  assert out == [f"{tmp_path}/out/meeting_{number}.wav" for number in (1, 2)]
  estimate = np.concatenate([audio.read(name)[0] for name in out])
  assert estimate.shape == sources.shape
  if abs(estimate[0] @ sources[1]) > abs(estimate[0] @ sources[0]):
    estimate = estimate[::-1]
  # The windows are levelled by their largest samples: gains differ a little.
  shared = np.sum(estimate * sources, -1) / np.sum(sources**2, -1)
  error = np.sum((estimate - shared[:, None] * sources) ** 2, -1)
  assert (error < 0.1 * np.sum(estimate**2, -1)).all()
  if rate == RATE:
    windows = inference.CssWindows(sample_rate_hz=RATE)
    way = {"cut": windows, "join": inference.CssJoin, "even_level": False}
    expected = inference.separate(
      Bands(), {}, sources.sum(0), sample_rate_hz=RATE, **way
    )
    if np.vdot(estimate, expected) < np.vdot(estimate, expected[::-1]):
      expected = expected[::-1]
    error = np.sum((estimate - expected) ** 2) / np.sum(expected**2)
    assert error < 1e-4


def test_the_first_channel_is_taken(make, separate):
  sources = tones(3 * RATE)
  path = make("x.wav", np.stack([sources.sum(0), 0 * sources[0]]))
  code, out, err = separate(path)
  assert code == 0
  assert err == [f"note: {path}: separating channel 1 of 2"]
  assert audio.read(out[0])[0].any()
  code, out, err = separate(path, "--overwrite", "--channel=2")
  assert err[-1].endswith("is silent; so are the outputs")
  code, out, err = separate(path, "--overwrite", "--channel=mix")
  assert "mean of its 2 channels" in err[0]


def test_shorter_than_a_window(make, separate):
  code, out, _ = separate(make("x.wav", tones(RATE // 4).sum(0)))
  assert code == 0
  assert audio.read(out[1])[0].shape == (1, RATE // 4)


def test_options_that_do_not_go_together(make, separate, tmp_path):
  path = make("x.wav", tones(RATE).sum(0))
  for words, match in [
    (["--chunk_s=4"], "--chunk_s is not for --css"),
    (["--overlap_s=0"], "--overlap_s is not for --css"),
    (["--stream"], "--css is not for --stream"),
  ]:
    code, out, err = separate(path, *words)
    assert (code, out, len(err)) == (2, [], 1)
    assert match in err[0]
    assert outputs(tmp_path) == []
