"""The quickstart with a tiny recipe, and how it ends."""

import csv

import jax
import jax.numpy as jnp
import matplotlib.image
import numpy as np
import pytest

import jaxsep
from experiments import options, quickstart
from experiments.data import open_data
from jaxsep import audio, metrics


def tiny():
  config = quickstart.get_config(num_steps=4)
  config.model.stft.update(n_fft=64, hop_length=32)
  config.model.masker.update(
    bottleneck_channels=8, hidden_channels=16, skip_channels=8
  )
  config.model.masker.update(num_blocks=1, num_repeats=1)
  config.data.update(
    num_voices=4, num_utterances=2, num_valid_voices=4, num_valid_examples=4
  )
  config.data.update(crop_s=0.5, valid_crop_s=0.5)
  # Muon takes long to compile.
  config.optimizer.name = "adam"
  config.train.update(eval_every=4, checkpoint_every=4)
  return config


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  folder = tmp_path_factory.mktemp("quickstart") / "out"
  return folder, quickstart.run(folder, tiny(), num_examples=3, num_saved=2)


def test_table_is_what_the_audio_says(made):
  folder, rows = made
  with open(folder / "scores.csv", newline="") as file:
    table = list(csv.DictReader(file))
  assert [row["index"] for row in table] == ["0", "1", "2", "mean"]
  for row in table[:2]:
    place = folder / "audio" / f"example_{row['index']}"
    names = ("mixture", "estimate_1", "estimate_2")
    names += ("reference_1", "reference_2")
    read = [audio.read(place / f"{name}.wav") for name in names]
    assert {rate_hz for _, rate_hz in read} == {8000}
    mixture, *signals = (signal[0] for signal, _ in read)
    assert 2 * 8000 < len(mixture) <= 4 * 8000
    estimate, reference = np.stack(signals[:2]), np.stack(signals[2:])
    np.testing.assert_allclose(reference.sum(0), mixture, atol=1e-5)
    before = float(metrics.si_sdr(np.stack([mixture] * 2), reference).mean())
    after = float(metrics.si_sdr(estimate, reference).mean())
    assert float(row["si_sdr"]) == pytest.approx(after, abs=0.02)
    assert float(row["mixture_si_sdr"]) == pytest.approx(before, abs=0.02)
    assert row["speaker_1"] != row["speaker_2"]
  # The estimates are those of the model in the folder, of whole mixtures.
  loaded = jaxsep.load(folder / "model")
  whole = jnp.asarray(mixture[None])
  found = jax.jit(loaded.model.apply)(loaded.variables, whole)[0]
  ratios = [
    metrics.si_sdr(estimate, found[order]).min()
    for order in (slice(None), slice(None, None, -1))
  ]
  assert max(ratios) > 60
  for column in quickstart.RATIOS:
    values = [float(row[column]) for row in table]
    assert values[3] == pytest.approx(np.mean(values[:3]), abs=0.02)
  assert f"mean of {len(rows)}" in quickstart.markdown(rows)


def test_picture_shows_something(made):
  image = matplotlib.image.imread(made[0] / "separation.png")
  assert image.shape[0] > 800 and image.std() > 0.02


def test_second_run_makes_the_same(made):
  folder, rows = made
  (folder / "scores.csv").unlink()
  again = quickstart.run(folder, tiny(), num_examples=3, num_saved=2)
  assert again == rows and (folder / "scores.csv").is_file()
  with pytest.raises(Exception, match="learning_rate"):
    config = tiny()
    config.optimizer.learning_rate = 1e-4
    quickstart.run(folder, config)


def test_recipe_is_the_usual_one():
  config = quickstart.get_config()
  task = quickstart.make_task(config)
  assert (task.simulation.snr_db, task.simulation.peak) == ((-2.5, 2.5), 0.9)
  assert options.build(config.optimizer).name == "muon"
  data = open_data(config, say=lambda line: None)
  # None is left out for its length: 300 speakers of 4 utterances.
  assert len(data.train) == 1200 and len(data.valid) == 512
  assert not set(data.train.speakers) & set(data.valid.speakers)


@pytest.mark.slow
def test_usual_recipe_reaches_six_decibels(tmp_path):
  rows = quickstart.run(tmp_path / "out", quickstart.get_config())
  improvement = quickstart.mean_row(rows)["si_sdr_improvement"]
  assert improvement > quickstart.LEAST_IMPROVEMENT_DB


def test_foreign_folder_is_refused_and_left_alone(tmp_path, refused):
  (tmp_path / "thesis.txt").write_text("years of work")
  for place in (tmp_path, tmp_path / "thesis.txt"):
    line = refused(quickstart.main, [f"--output_dir={place}"])
    assert "not made by the quickstart" in line
  assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("steps", [[], ["--num_steps=7"]])
def test_command_fails_where_the_usual_recipe_does(
  made, monkeypatch, capsys, steps
):
  folder, rows = made
  monkeypatch.setattr(quickstart, "run", lambda *_, **__: rows)
  monkeypatch.setattr(quickstart.train, "keep_freed_memory", lambda: False)
  words = [f"--output_dir={folder}", *steps]
  if steps:
    quickstart.main(words)
  else:
    with pytest.raises(SystemExit, match=r"^quickstart: .*below the 6 dB"):
      quickstart.main(words)
  shown = capsys.readouterr().out
  assert f"jaxsep separate --model={folder}/model your.wav" in shown
  for name in ("scores.csv", "separation.png", "audio", "model"):
    assert name in shown and (folder / name).exists()
