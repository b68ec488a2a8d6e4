import csv
import dataclasses

import matplotlib.image
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

import jaxsep
from experiments import quickstart
from experiments._quickstart_results import COLUMNS
from experiments.plots import plot_separation
from jaxsep import audio, inference, metrics

TINY = quickstart.Recipe(
  model=dict(
    num_filters=16,
    filter_length=32,
    bottleneck_channels=8,
    hidden_channels=16,
    skip_channels=8,
    num_blocks=2,
    num_repeats=1,
    mask_activation="relu",
  ),
  num_steps=6,
  batch_size=2,
  crop_s=0.5,
  num_speakers=4,
  utterances_per_speaker=2,
  num_valid=4,
  num_examples=3,
  num_to_keep=2,
)


@pytest.fixture(autouse=True)
def _memory(monkeypatch):
  """Leaves this process, which other tests share, its way with memory."""
  monkeypatch.setattr(quickstart, "keep_freed_memory", lambda: False)


@pytest.fixture
def given():
  """Sets flags as a command line does."""
  flags.FLAGS.mark_as_parsed()
  return flagsaver.as_parsed


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  folder = tmp_path_factory.mktemp("quickstart") / "out"
  return folder, quickstart.run(folder, TINY, progress=False)


def test_table_is_what_the_audio_says(made):
  folder, rows = made
  assert len(rows) == 3
  with open(folder / "scores.csv", newline="") as file:
    table = list(csv.DictReader(file))
  assert tuple(table[0]) == COLUMNS
  assert [row["example"] for row in table] == ["0", "1", "2", "mean"]
  for row in table[:2]:
    place = folder / "audio" / f"example_{row['example']}"
    mixture, *signals = (
      audio.read(place / f"{name}.wav")[0][0]
      for name in (
        "mixture",
        "estimate_1",
        "estimate_2",
        "reference_1",
        "reference_2",
      )
    )
    estimate, reference = np.stack(signals[:2]), np.stack(signals[2:])
    np.testing.assert_allclose(reference.sum(0), mixture, atol=1e-5)
    before = float(metrics.si_sdr(np.stack([mixture] * 2), reference).mean())
    after = float(metrics.si_sdr(estimate, reference).mean())
    swapped = metrics.si_sdr(estimate[::-1].copy(), reference).mean()
    sdr, _, _ = metrics.bss_eval(estimate, reference)
    assert after >= swapped
    assert float(row["si_sdr_db"]) == pytest.approx(after, abs=0.02)
    assert float(row["mixture_si_sdr_db"]) == pytest.approx(before, abs=0.02)
    assert float(row["si_sdr_improvement_db"]) == pytest.approx(
      after - before, abs=0.03
    )
    assert float(row["sdr_db"]) == pytest.approx(float(sdr.mean()), abs=0.05)
    assert row["talker_1"] != row["talker_2"]
  for column in COLUMNS[5:]:
    values = [float(row[column]) for row in table]
    assert values[3] == pytest.approx(np.mean(values[:3]), abs=0.02)


def test_audio_has_the_rate_and_length_of_the_mixture(made):
  folder, _ = made
  places = sorted((folder / "audio").iterdir())
  assert [place.name for place in places] == ["example_0", "example_1"]
  for place in places:
    files = sorted(place.iterdir())
    assert len(files) == 5
    shapes = set()
    for file in files:
      signal, rate_hz = audio.read(file)
      assert rate_hz == 8000
      assert np.isfinite(signal).all() and np.abs(signal).max() > 0
      shapes.add(signal.shape)
    assert len(shapes) == 1
    assert 2 * 8000 < shapes.pop()[1] <= 4 * 8000


def test_picture_shows_something(made):
  image = matplotlib.image.imread(made[0] / "separation.png")
  assert image.shape[0] > 800 and image.shape[1] > 1000
  assert len(np.unique(image.reshape(-1, image.shape[-1]), axis=0)) > 200


def test_model_loads_and_separates_as_it_did(made):
  folder, _ = made
  loaded = jaxsep.load(folder / "model")
  assert loaded.sample_rate_hz == 8000
  place = folder / "audio" / "example_0"
  mixture = audio.read(place / "mixture.wav")[0][0]
  estimate = inference.separate(loaded.model, loaded.params, mixture)
  assert estimate.shape == (2, len(mixture))
  saved = np.stack(
    [audio.read(place / f"estimate_{n}.wav")[0][0] for n in (1, 2)]
  )
  # The files are in the order of the references.
  errors = [np.abs(estimate[order] - saved).max() for order in ([0, 1], [1, 0])]
  assert min(errors) < 1e-4


def test_second_run_makes_the_same(made):
  folder, rows = made
  (folder / "scores.csv").unlink()
  assert quickstart.run(folder, TINY, progress=False) == rows
  assert (folder / "scores.csv").is_file()


def test_voices_of_training_and_test_are_strangers(made, tmp_path, monkeypatch):
  heard = []

  def spied(batches):
    def draw(corpus, **options):
      heard.append(corpus)
      return batches(corpus, **options)

    return draw

  for name in ("train_batches", "eval_batches"):
    monkeypatch.setattr(quickstart, name, spied(getattr(quickstart, name)))
  recipe = dataclasses.replace(TINY, num_steps=1)
  quickstart.run(tmp_path / "out", recipe, progress=False)
  *known, unseen = heard
  assert known
  sounds = {unseen.read(row)[:4000].tobytes() for row in range(len(unseen))}
  for corpus in known:
    assert not set(corpus.speakers) & set(unseen.speakers)
    assert not sounds & {
      corpus.read(row)[:4000].tobytes() for row in range(len(corpus))
    }


@pytest.mark.slow
def test_usual_recipe_reaches_six_decibels(tmp_path):
  rows = quickstart.run(tmp_path / "out", progress=False)
  improvement = np.mean([row["si_sdr_improvement_db"] for row in rows])
  assert improvement > quickstart.LEAST_IMPROVEMENT_DB


def test_silence_can_be_drawn(tmp_path):
  silence = np.zeros((2, 4000), np.float32)
  plot_separation(
    tmp_path / "silence.png",
    silence[0],
    silence,
    silence,
    sample_rate_hz=8000,
  )
  assert (tmp_path / "silence.png").stat().st_size > 5000


def test_folder_of_another_recipe_is_refused(made):
  changed = dataclasses.replace(TINY, num_steps=7)
  with pytest.raises(quickstart.QuickstartError, match="num_steps=6, not 7"):
    quickstart.run(made[0], changed)


@pytest.mark.parametrize("text", ["", '{"num_steps": 6', "[1]", "7", "\xff"])
def test_damaged_marker_is_one_line(tmp_path, text):
  (tmp_path / quickstart.MARKER).write_text(text, encoding="latin-1")
  with pytest.raises(quickstart.QuickstartError, match="json is damaged") as e:
    quickstart.run(tmp_path, TINY)
  assert "\n" not in str(e.value)


def test_start_that_was_killed_leaves_no_half_of_a_marker(
  tmp_path, monkeypatch
):
  def killed(*_, **__):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(quickstart.os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
      quickstart.run(tmp_path / "out", TINY)
  assert not (tmp_path / "out" / quickstart.MARKER).exists()
  monkeypatch.setattr(quickstart, "fit", killed)
  with pytest.raises(KeyboardInterrupt):
    quickstart.run(tmp_path / "out", TINY)
  assert (tmp_path / "out" / quickstart.MARKER).is_file()


@pytest.mark.parametrize("seed", ["-1", str(2**32)])
def test_seeds_that_no_key_has(given, seed):
  with (
    pytest.raises(flags.IllegalFlagValueError, match="seed"),
    given(seed=seed),
  ):
    pass


def test_foreign_folder_is_refused_and_left_alone(tmp_path):
  (tmp_path / "thesis.txt").write_text("years of work")
  with pytest.raises(quickstart.QuickstartError, match="not made by"):
    quickstart.run(tmp_path, TINY)
  with pytest.raises(quickstart.QuickstartError, match="not made by"):
    quickstart.run(tmp_path / "thesis.txt", TINY)
  assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_command_complains_in_one_line(tmp_path, given):
  (tmp_path / "thesis.txt").write_text("years of work")
  with (
    given(output_dir=str(tmp_path)),
    pytest.raises(SystemExit, match=r"^quickstart: .*not made by") as stopped,
  ):
    quickstart.main(["quickstart"])
  assert "\n" not in str(stopped.value)


@pytest.mark.parametrize("steps", [{}, {"num_steps": "7"}])
def test_command_fails_where_the_usual_recipe_does(
  made, given, monkeypatch, capsys, steps
):
  folder, rows = made
  monkeypatch.setattr(quickstart, "run", lambda *_, **__: rows)
  with given(output_dir=str(folder), **steps):
    if steps:
      quickstart.main(["quickstart"])
    else:
      with pytest.raises(SystemExit, match=r"^quickstart: .*below the 6 dB"):
        quickstart.main(["quickstart"])
  assert "scores.csv" in capsys.readouterr().out


def test_command_prints_what_there_is(made, given, monkeypatch, capsys):
  folder, rows = made
  monkeypatch.setattr(quickstart, "run", lambda *_, **__: rows)
  with given(output_dir=str(folder), num_steps="6"):
    quickstart.main(["quickstart"])
  shown = capsys.readouterr().out
  assert "mean of 3" in shown
  mean = np.mean([row["si_sdr_improvement_db"] for row in rows])
  assert f"{mean:.1f}" in shown
  assert f"jaxsep separate --model={folder}/model your.wav" in shown
  for name in ("scores.csv", "separation.png", "audio", "model"):
    assert name in shown and (folder / name).exists()
