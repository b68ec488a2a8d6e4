"""The command that computes, draws and writes the figures."""

import csv
import os

import jax
import jax.numpy as jnp
import matplotlib.image
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

import jaxsep
from experiments.cores import allowed_cores
from experiments.harmonic_probes import figure, output, probe_set, suite
from jaxsep import models

RATE_HZ = 8000


def test_tables_leave_out_what_is_empty(tmp_path):
  rows = [
    {"name": "a", "value": 1.23456, "none": None, "count": 3},
    {"name": "b", "value": np.nan, "none": None, "count": 0},
  ]
  assert output.markdown(rows).splitlines() == [
    "| name | value | count |",
    "| --- | --- | --- |",
    "| a | 1.23 | 3 |",
    "| b |  | 0 |",
  ]
  output.write_csv(tmp_path / "rows.csv", rows)
  assert (tmp_path / "rows.csv").read_text() == (
    "name,value,none,count\na,1.234560,,3\nb,,,0\n"
  )


def test_cores_are_counted_on_every_system(monkeypatch):
  monkeypatch.delattr(os, "sched_getaffinity", raising=False)
  monkeypatch.setattr(os, "cpu_count", lambda: 6)
  assert allowed_cores() == [0, 1, 2, 3, 4, 5]
  monkeypatch.setenv("XLA_FLAGS", "")
  wanted = {}
  monkeypatch.setattr(jax.config, "update", wanted.__setitem__)
  flags.FLAGS.mark_as_parsed()
  figure.use_cores()
  assert wanted == {"jax_num_cpu_devices": 2}  # Of batches of 4.
  monkeypatch.setattr(os, "cpu_count", lambda: None)
  assert allowed_cores() == [0]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
  home = tmp_path_factory.mktemp("models")
  small = dict(
    bottleneck_channels=4,
    hidden_channels=8,
    skip_channels=4,
    num_blocks=1,
    num_repeats=1,
  )
  for name, model in (
    ("waveform", models.ConvTasNet(num_filters=8, **small)),
    ("causal", models.ConvTasNet(num_filters=8, causal=True, **small)),
    ("spectrogram", models.SpectrogramTasNet(num_sources=2, **small)),
  ):
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 800)))
    jaxsep.save(home / name, model, params["params"], sample_rate_hz=RATE_HZ)
  return home


@pytest.fixture
def command():
  """Runs the command with flags."""
  flags.FLAGS.mark_as_parsed()

  def run(**options):
    with flagsaver.as_parsed(**{k: str(v) for k, v in options.items()}):
      figure.main(["figure"])

  return run


@pytest.mark.slow
def test_command_draws_all_figures(folders, tmp_path, command, capsys):
  command(
    figure="all",
    model=folders / "waveform",
    causal_model=folders / "causal",
    spectrogram_model=folders / "spectrogram",
    filtered_models=f"hp300={folders / 'causal'}",
    corpus="voices",
    num_examples=3,
    crop_s=1.5,
    num_seeds=1,
    num_processes=0,
    output_dir=tmp_path / "out",
  )
  shown = capsys.readouterr().out
  for number in range(2, 10):
    picture = tmp_path / f"out/figure_{number}.png"
    assert str(picture) in shown
    image = matplotlib.image.imread(picture)[..., :3]
    assert min(image.shape[:2]) > 400 and image.std() > 0.02
    tables = {}
    for ending in ("", "_rows"):
      path = tmp_path / f"out/figure_{number}{ending}.csv"
      with open(path, newline="") as file:
        tables[ending] = list(csv.DictReader(file))
    assert 1 <= len(tables[""]) and tables["_rows"]
    assert "|" in (tmp_path / f"out/figure_{number}.md").read_text()
    if number == 3:
      names = [row["filter"] for row in tables[""]]
      assert names[:2] == ["none", "lowpass 300 Hz"] and len(names) == 8
      trained = [row["trained_on_filtered_sdr_db"] for row in tables[""]]
      assert [bool(value) for value in trained] == [
        name == "highpass 300 Hz" for name in names
      ]
    if number == 5:
      assert len(tables[""]) == 9 and len(tables["_rows"]) == 27
    if number in (4, 7):
      assert len(tables[""]) == 2 * 5
    if number in (6, 8):
      assert len(tables[""]) == 2 + 2 * 3 + 2 * 12


def test_nothing_is_replaced_unasked(folders, tmp_path, command, capsys):
  options = dict(
    figure=9,
    model=folders / "waveform",
    corpus="voices",
    num_examples=2,
    crop_s=1.5,
    output_dir=tmp_path,
  )
  command(**options)
  captured = capsys.readouterr()
  assert "2 mixtures of speech" in captured.err
  assert "share_one_order" in captured.out
  path = tmp_path / "figure_9_rows.csv"
  with open(path, newline="") as file:
    rows = list(csv.DictReader(file))
  assert [row["mixture"] for row in rows] == ["0000", "0001"]
  path.write_text("precious")
  with pytest.raises(SystemExit):
    command(**options)
  assert "is there already" in capsys.readouterr().err
  assert path.read_text() == "precious"
  command(**options, overwrite=True)
  assert path.read_text() != "precious"


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"figure": "1"}, "'1'; it is a number from 2 to 9"),
    ({"figure": "three"}, "'three'; it is a number from 2 to 9"),
    ({"figure": "3,8"}, "figure 8 is of a SpectrogramTasNet"),
    ({"figure": "3"}, "name the mixtures by --mixture_list or --corpus"),
    ({"figure": "4", "filtered_models": "lp300"}, "takes NAME=DIR"),
    ({"figure": "4", "model": "nowhere"}, "no model folder nowhere"),
    ({"figure": "4", "model": ""}, "name a model by --model"),
    (
      {"figure": "3", "mixture_list": "x", "root": "x", "split": "tt"},
      "--split is tt, but it is for a --corpus",
    ),
  ],
)
def test_mistakes_end_in_one_line(
  folders, tmp_path, command, capsys, options, message
):
  with pytest.raises(SystemExit) as stopped:
    command(
      **{"model": folders / "waveform", "output_dir": tmp_path / "o", **options}
    )
  assert stopped.value.code == 1
  lines = capsys.readouterr().err.strip().splitlines()
  assert len(lines) == 1
  assert lines[0].startswith("error: ") and message in lines[0]


def test_unknown_filter_of_a_model_is_told_early(folders):
  with pytest.raises(ValueError, match=r"'lp5', which is none of lp300"):
    suite.Probes(None, lambda: None, filtered_models={"lp5": None})


def test_all_without_a_spectrogram_model_leaves_its_figures_out(capsys):
  assert figure.wanted_figures(["all"], spectrogram=None) == {2, 3, 4, 5, 6, 9}
  assert "7 and 8 are left out" in capsys.readouterr().err
  assert figure.wanted_figures(["all"], spectrogram="x") == set(range(2, 10))


def test_mixtures_left_out_are_told():
  sources = np.zeros((3, 2, 800), np.float32)
  said = []
  for short in (0, 7):
    mixtures = probe_set.ProbeSet(["a", "b", "c"], sources, RATE_HZ, short)
    suite.Probes(None, lambda m=mixtures: m, say=said.append).open()
  assert said == [
    "3 mixtures of speech",
    "3 mixtures of speech; 7 others are shorter and were left out",
  ]


def test_output_may_not_be_a_file(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(ValueError, match="is a file; choose another"):
    output.claim(tmp_path / "file", [3], overwrite=True)
