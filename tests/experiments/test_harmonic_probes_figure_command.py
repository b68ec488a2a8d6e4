"""The command that computes, draws and writes the figures."""

import csv
import types

import jax
import jax.numpy as jnp
import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure
from small_corpora import tiny

import jaxsep
from experiments.harmonic_probes import figure, mixtures, study

RATE_HZ = 8000


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
  home = tmp_path_factory.mktemp("models")
  for name, model in (
    ("waveform", tiny("ConvTasNet")),
    ("causal", tiny("ConvTasNet", causal=True)),
    ("spectrogram", tiny("SpectrogramTasNet")),
    ("three", tiny("ConvTasNet", num_sources=3)),
  ):
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 800)))
    jaxsep.save(home / name, model, variables, sample_rate_hz=RATE_HZ)
  return home


def command(**options):
  """Runs the command with flags."""
  figure.main([f"--{name}={value}" for name, value in options.items()])


def read(path):
  with open(path, newline="") as file:
    return list(csv.DictReader(file))


def test_registry_has_the_figures_of_the_paper():
  study.load_probes()
  assert sorted(study.FIGURES) == [2, 3, 4, 5, 6, 7, 8, 9]
  assert {n for n, f in study.FIGURES.items() if f.of_speech} == {2, 3, 5, 9}
  with pytest.raises(ValueError, match="two figures 9"):
    study.figure(9, "another")(lambda study: None)
  with pytest.raises(ValueError, match="no probe has the option 'seeds'"):
    study.Study(None, lambda: None, seeds=3)


def test_new_probe_is_one_file_with_its_own_flags(
  folders, tmp_path, monkeypatch
):
  """What a file in `probes/` would declare is in the command at once."""
  monkeypatch.setattr(study, "FIGURES", dict(study.FIGURES))
  monkeypatch.setattr(study, "OPTIONS", dict(study.OPTIONS))
  monkeypatch.setattr(figure, "FIGURES", study.FIGURES)
  monkeypatch.setattr(figure, "OPTIONS", study.OPTIONS)
  study.option("clicks_s", (0.1,), "Places of the clicks.")

  @study.figure(10, "clicks")
  def clicks(probed, model):
    rows = [{"click_s": place} for place in probed["clicks_s"]]
    return study.Result(Figure(), rows, rows, model.name)

  command(
    figure="10",
    model=folders / "waveform",
    clicks_s="0.5,1",
    output_dir=tmp_path,
  )
  assert read(tmp_path / "figure_10.csv") == [
    {"click_s": "0.500000"},
    {"click_s": "1.000000"},
  ]


@pytest.mark.slow
def test_command_draws_all_figures(folders, tmp_path, capsys):
  command(
    figure="all",
    model=folders / "waveform",
    causal_model=folders / "causal",
    spectrogram_model=folders / "spectrogram",
    filtered_models=f"hp300={folders / 'causal'}",
    corpus="voices",
    num_examples=2,
    crop_s=1.5,
    num_seeds=1,
    periods_s=0.062,
    gaps_s="0.02,0.031",
    num_processes=0,
    output_dir=tmp_path,
  )
  shown = capsys.readouterr().out
  lengths = {2: 1, 3: 8, 4: 10, 5: 9, 6: 8, 7: 10, 8: 8, 9: 2}
  for number, length in lengths.items():
    picture = tmp_path / f"figure_{number}.png"
    assert str(picture) in shown
    image = matplotlib.image.imread(picture)[..., :3]
    assert min(image.shape[:2]) > 400 and image.std() > 0.02
    assert len(read(tmp_path / f"figure_{number}.csv")) == length
    assert read(tmp_path / f"figure_{number}_rows.csv")
    assert "|" in (tmp_path / f"figure_{number}.md").read_text()
  for row in read(tmp_path / "figure_3.csv"):
    has_trained = row["filter"] == "highpass 300 Hz"
    assert bool(row["loss_trained_db"]) == has_trained
    assert bool(row["loss_after_error_db"]) == (row["filter"] != "none")


def test_nothing_is_replaced_unasked(folders, tmp_path, capsys):
  options = dict(
    figure=4, model=folders / "waveform", num_seeds=1, output_dir=tmp_path
  )
  command(**options)
  path = tmp_path / "figure_4_rows.csv"
  path.write_text("precious")
  with pytest.raises(SystemExit):
    command(**options)
  assert "is there already" in capsys.readouterr().err
  assert path.read_text() == "precious"
  command(overwrite="true", **options)
  assert path.read_text() != "precious"


THREE = "models with 2 outputs, but ConvTasNet has 3"


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"figure": "1"}, "'1'; it is one of 2, 3"),
    ({"figure": "three"}, "'three'; it is one of 2, 3"),
    ({"figure": "3,8"}, "figure 8 is of a SpectrogramTasNet"),
    ({"figure": "3"}, "name the mixtures by --mixture_list or --corpus"),
    ({"figure": "3", "filtered_models": "lp300"}, "takes NAME=DIR"),
    ({"figure": "3", "filtered_models": "lp5=x"}, "one of lp300, lp700"),
    ({"figure": "4", "model": "nowhere"}, "nowhere"),
    ({"figure": "4", "model": ""}, "--model is missing"),
    ({"figure": "4", "amplitude": "loud"}, "loud"),
    (
      {"figure": "3", "mixture_list": "x", "root": "x", "split": "tt"},
      "--split is for a --corpus",
    ),
    ({"figure": "4", "model": "three"}, THREE),
    ({"figure": "6", "model": "three"}, THREE),
    ({"figure": "9", "model": "three", "corpus": "voices"}, THREE),
    ({"figure": "4", "output_dir": __file__}, "choose another --output_dir"),
  ],
)
def test_mistakes_end_in_one_line(
  folders, tmp_path, capsys, monkeypatch, options, message
):
  monkeypatch.chdir(folders)
  with pytest.raises(SystemExit) as stopped:
    command(**{"model": "waveform", "output_dir": tmp_path / "o", **options})
  assert stopped.value.code == 1
  (line,) = capsys.readouterr().err.strip().splitlines()
  assert line.startswith("error: ") and message in line
  assert not (tmp_path / "o").exists()


def test_all_leaves_out_what_cannot_be(folders, tmp_path, capsys, monkeypatch):
  done = []
  made = types.SimpleNamespace(table=[], left_out="", __len__=lambda: 1)
  monkeypatch.setattr(
    study.Study, "figure", lambda self, n: done.append(n) or made
  )
  monkeypatch.setattr(study.Study, "mixtures", made)
  monkeypatch.setattr(figure, "write", lambda *_: None)
  options = dict(output_dir=tmp_path, corpus="voices")
  command(model=folders / "waveform", **options)
  assert done == [2, 3, 4, 5, 6, 9]
  assert "left out: figure 7" in capsys.readouterr().err
  done.clear()
  command(model=folders / "three", **options)
  assert done == [2, 3, 5]


def test_mixtures_left_out_are_told():
  sources = np.zeros((3, 2, 800), np.float32)
  said = []
  made = mixtures.ProbeSet(["a", "b", "c"], sources, RATE_HZ, 7)
  model = types.SimpleNamespace(name="M")
  probed = study.Study(model, lambda: made, say=said.append)
  assert probed.mixtures is made is probed.mixtures
  left_out = "; 7 others are shorter and were left out"
  assert said == [f"3 mixtures of speech{left_out}"]
  assert probed.caption("X") == f"X: M, 3 mixtures of 0.1 s{left_out}."
