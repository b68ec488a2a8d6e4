"""The manifest that models ship from, their recipe, and their scores."""

import jax
import numpy as np
import pytest
from small_corpora import noise_of

from data_pipelines import corpora
from experiments import job
from experiments.pretrained import make_manifest, score
from experiments.pretrained.configs import two_speakers_8k


def test_a_manifest_of_two_corpora(librispeech, tmp_path, refused):
  (tmp_path / "valid.txt").write_text("12\n")
  (tmp_path / "left_out.txt").write_text("13\n")
  words = [
    f"--corpus={librispeech}",
    f"--corpus={librispeech}",
    f"--valid_speakers={tmp_path}/valid.txt",
    f"--left_out={tmp_path}/left_out.txt",
    f"--output={tmp_path}/speech.csv",
  ]
  make_manifest.main(words)
  train, valid = (
    corpora.open_corpus(f"manifest:{tmp_path}/speech.csv", split=split)
    for split in ("train", "valid")
  )
  # The same name in two corpora is not the same speaker.
  assert train.speakers == ("0_10", "0_11", "1_10", "1_11")
  assert valid.speakers == ("0_12", "1_12") and len(valid) == 4
  assert "speech.csv" in refused(make_manifest.main, words)


def test_the_recipe_fits_into_five_mebibytes():
  config = two_speakers_8k.get_config()
  model = job.build(config.model)

  shapes = jax.eval_shape(
    lambda: model.init(jax.random.key(0), **model.example_inputs())
  )
  weights = sum(leaf.size for leaf in jax.tree.leaves(shapes))
  assert 2 * weights < 5 * 2**20 - 50_000


def in_bands(mixture):
  """Separates what is below and above 2 kHz, in the wrong order."""
  spectrum = np.fft.rfft(mixture)
  is_high = np.arange(len(spectrum)) >= len(spectrum) // 2
  return np.stack(
    [
      np.fft.irfft(spectrum * mask, len(mixture))
      for mask in (is_high, ~is_high)
    ]
  )


def test_scores_of_an_ideal_separator():
  noise = noise_of(0, 8000)
  low, high = in_bands(noise)[::-1]
  room = np.stack([np.eye(1, 50, n)[0] for n in (0, 7)])
  examples = [
    ({"folders": name}, np.stack([low, gain * high]).astype(np.float32))
    for name, gain in (("a b", 1.0), ("a c", 2.0), ("a c", 1.0))
  ]
  white = noise_of(1, 5000)[None]
  table = score.score(in_bands, examples, [white], [room])
  found = score.summary(table)
  # Only rounding is left; noise leaves about half of its power in each band.
  assert found["two speakers, SI-SDRi (dB)"] > 80
  assert found["in a room, SI-SDRi (dB)"] > 15
  assert found["in noise of 10 dB, SI-SDRi (dB)"] == pytest.approx(10.4, abs=1)
  assert found["noise alone, outputs below it (median, dB)"] == pytest.approx(
    3.0, abs=0.5
  )
  assert found["one speaker, other output below (median, dB)"] > 80
  worst = found["worst of 2 sets of speakers, SI-SDRi (dB)"]
  means = [
    np.mean([row["si_sdr_improvement"] for row in table if row["folders"] == n])
    for n in ("a b", "a c")
  ]
  assert worst == pytest.approx(min(means), abs=0.01)
