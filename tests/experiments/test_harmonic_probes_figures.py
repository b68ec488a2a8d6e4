"""The figures, and the command that computes, draws and writes them."""

import csv
import os

import jax
import jax.numpy as jnp
import matplotlib.image
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle

import jaxsep
from experiments.cores import allowed_cores
from experiments.harmonic_probes import (
  figure,
  figures,
  output,
  probe_set,
  suite,
)
from experiments.harmonic_probes.figures.pitch import density
from experiments.harmonic_probes.figures.spectrogram import (
  at_level_of,
  spectrogram_db,
)
from jaxsep import models

RATE_HZ = 8000


def line(band, low_hz, high_hz, sdr_db, **more):
  return {
    "filter": f"{band} {low_hz}" if band else "none",
    "band": band,
    "low_hz": low_hz,
    "high_hz": high_hz,
    "sdr_db": sdr_db,
    "sdr_error_db": 0.2,
    "trained_on_filtered_sdr_db": None,
    "filtered_after_sdr_db": None,
    **more,
  }


TABLE = [
  line(None, None, None, 12.0),
  line("lowpass", 700, 700, 8.0, trained_on_filtered_sdr_db=11.0),
  line("lowpass", 300, 300, 5.0, filtered_after_sdr_db=9.0),
  line("highpass", 180, 180, 4.0),
  line("highpass", 400, 400, 2.0),
  line("bandstop", 200, 800, 3.0),
  line("bandstop", 350, 400, 7.0),
]


def drawn(figure_, tmp_path):
  """The pixels of a figure, as it is saved."""
  figure_.savefig(tmp_path / "figure.png", dpi=80)
  return matplotlib.image.imread(tmp_path / "figure.png")[..., :3]


def count(pixels, colour):
  """Pixels of nearly a colour."""
  return (np.abs(pixels - np.array(colour)) < 0.25).all(-1).sum()


def labels(figure_):
  return [text.get_text() for text in figure_.legends[0].get_texts()]


# Reference: what is drawn is what the results say.


def test_low_pass_is_blue_and_high_pass_red(tmp_path):
  made = figures.draw_cutoffs(TABLE, model="M")
  (axes,) = made.axes
  assert axes.get_xlabel() == "cut-off frequency (Hz)"
  assert axes.get_ylabel() == "SDR (dB)" and "M" in axes.get_title()
  found = {}
  for bars in axes.containers:
    curve = bars.lines[0]
    key = to_rgb(curve.get_color()), curve.get_linestyle()
    found[key] = np.stack(curve.get_data(), axis=1).tolist()
  blue, red = to_rgb("tab:blue"), to_rgb("tab:red")
  assert found == {
    (blue, "-"): [[300, 5], [700, 8]],
    (blue, "--"): [[700, 11]],
    (blue, ":"): [[300, 9]],
    (red, "-"): [[180, 4], [400, 2]],
  }
  native = [x for x in axes.lines if x.get_linestyle() == "-."]
  assert native[0].get_ydata()[0] == 12
  assert len(labels(made)) == 5
  assert axes.get_ylim()[0] <= 0 < 12 < axes.get_ylim()[1]
  assert drawn(made, tmp_path).std() > 0.02


def test_band_stops_lie_from_edge_to_edge(tmp_path):
  made = figures.draw_bandstops(TABLE)
  (axes,) = made.axes
  lines = [
    x for x in axes.lines if to_rgb(x.get_color()) == to_rgb("tab:green")
  ]
  assert [np.stack(x.get_data(), axis=1).tolist() for x in lines] == [
    [[200, 3], [800, 3]],
    [[350, 7], [400, 7]],
  ]
  assert axes.get_xlabel() == "stop-band (Hz)"
  assert labels(made) == [
    "band-stop, trained on natural speech",
    "natural speech, 12.0 dB",
  ]
  assert drawn(made, tmp_path).std() > 0.02


def test_shares_and_density_of_pitch(tmp_path):
  rows = [{"log2_ratio": x} for x in (0.9, 1.0, 0.1, -0.2, np.nan)]
  made = figures.draw_f0_order(rows)
  (axes,) = made.axes
  words = [text.get_text() for text in axes.texts]
  assert words[0].startswith("75%\nlower voice in channel 1")
  assert words[1].startswith("25%\nlower voice in channel 2")
  curve = next(x for x in axes.lines if x.get_label() == "smoothed density")
  where, values = curve.get_data()
  values_wanted = density(np.array([0.9, 1.0, 0.1, -0.2]), where)
  np.testing.assert_allclose(values, values_wanted)
  wide = np.linspace(-9, 9, 5001)
  area = density(np.array([0.3, 0.1, -2.0]), wide).sum() * (wide[1] - wide[0])
  assert area == pytest.approx(1, abs=1e-3)
  bars = [p for p in axes.patches if isinstance(p, Rectangle)]
  total = sum(bar.get_height() * bar.get_width() for bar in bars)
  assert total == pytest.approx(1)
  assert "log_2" in axes.get_xlabel()
  assert drawn(made, tmp_path).std() > 0.02


def tone_example(num_samples=16000):
  step = np.arange(num_samples) / RATE_HZ
  tones = np.sin(2 * np.pi * np.array([[300.0], [1200.0]]) * step)
  burst = np.arange(num_samples) // 248
  estimate = 0.1 * tones * np.stack([burst % 2 == 0, burst % 2 == 1])
  wrong = np.zeros(num_samples // 248, bool)
  wrong[[20, 30, 40]] = True
  after = np.full(num_samples // 248, -1)
  after[[20, 21]], after[40] = 0, 1
  return {
    "mixture": estimate.sum(0),
    "estimate": estimate,
    "starts": np.array([19, 26, 33, 38]) * 248,
    "gap": 248,
    "burst": 248,
    "wrong": wrong,
    "after": after,
  }


def test_gaps_have_arrows_and_wrong_bursts_boxes(tmp_path):
  made = figures.draw_gaps(tone_example(), sample_rate_hz=RATE_HZ)
  mixture, *channels, _ = made.axes
  arrows = [text.arrow_patch.get_facecolor()[:3] for text in mixture.texts]
  colours = [to_rgb(name) for name in ("red", "limegreen")]
  assert arrows == [colours[tone] for tone in (0, 1, 0, 1)]
  middles = [text.xy[0] for text in mixture.texts]
  np.testing.assert_allclose(
    middles, np.array([19.5, 26.5, 33.5, 38.5]) * 0.031
  )
  for axes in channels:
    boxes = [p.get_x() / 0.031 for p in axes.patches]
    # Not the wrong burst that follows no gap.
    np.testing.assert_allclose(boxes, [20, 40])
    assert "channel" in axes.get_ylabel()
  assert labels(made) == [
    "gap mutes the low tone",
    "gap mutes the high tone",
    "burst in the wrong channel",
  ]
  pixels = drawn(made, tmp_path)
  assert count(pixels, (1, 1, 0)) > 300


def test_spectrograms_show_each_channel_at_its_time_and_frequency(tmp_path):
  made = figures.draw_harmonics(
    {"a": tone_example(), "b": tone_example()},
    sample_rate_hz=RATE_HZ,
    seconds=(0.5, 1.0),
  )
  grid = np.reshape(made.axes[:6], (3, 2))
  assert [axes.get_title() for axes in grid[0]] == [
    "harmonics a",
    "harmonics b",
  ]
  for row, frequency in ((1, 0.3), (2, 1.2)):
    image = grid[row, 0].images[0]
    left, right, _, top = image.get_extent()
    assert (left, right, top) == (
      pytest.approx(0.5, abs=0.01),
      pytest.approx(1.0, abs=0.01),
      4.0,
    )
    picture = image.get_array()
    loudest = np.unravel_index(picture.argmax(), picture.shape)[0]
    bins = picture.shape[0] - 1
    assert loudest / bins * 4.0 == pytest.approx(frequency, abs=0.05)
    # On in the bursts of its tone only.
    level = picture[loudest]
    time = left + (np.arange(len(level)) + 0.5) / len(level) * (right - left)
    place = time / 0.031 % 2
    middle = (np.abs(place % 1 - 0.5) < 0.1) & (place // 1 == row - 1)
    other = (np.abs(place % 1 - 0.5) < 0.1) & (place // 1 != row - 1)
    assert level[middle].min() > level[other].max() + 10
  assert drawn(made, tmp_path).std() > 0.05


def test_fricatives_have_boxes_where_they_belong(tmp_path):
  rng = np.random.default_rng(0)
  sources = 0.1 * rng.standard_normal((2, 8000))
  made = figures.draw_fricatives(
    {
      "mixture": sources.sum(0),
      "estimate": sources,
      "reference": sources,
      "boxes": [(1, 0.2, 0.3)],
    },
    sample_rate_hz=RATE_HZ,
  )
  styles = [
    [patch.get_linestyle() for patch in axes.patches] for axes in made.axes[:5]
  ]
  assert styles == [[], ["--"], ["-"], [], ["-"]]
  box = made.axes[4].patches[0]
  assert (box.get_x(), box.get_width()) == (0.2, pytest.approx(0.1))
  assert box.get_y() == 2.5
  assert count(drawn(made, tmp_path), (1, 0, 0)) > 50


# Law.


def test_level_of_the_channels_does_not_show():
  mixture = np.random.default_rng(0).standard_normal(500)
  parts = np.stack([0.7 * mixture, 0.3 * mixture])
  for gain in (-30.0, 0.01):
    np.testing.assert_allclose(
      at_level_of(mixture, gain * parts) * np.sign(gain), parts
    )
  silence = np.zeros((2, 500))
  np.testing.assert_array_equal(at_level_of(mixture, silence), silence)


def test_spectrogram_has_bins_before_frames():
  picture = spectrogram_db(
    np.zeros((3, 4000), np.float32), sample_rate_hz=RATE_HZ
  )
  assert picture.shape == (3, 129, 126) and np.isfinite(picture).all()


# Edge.


def test_silence_and_empty_tables_can_be_drawn(tmp_path):
  example = {
    **tone_example(),
    "mixture": np.zeros(16000),
    "estimate": np.zeros((2, 16000)),
  }
  for made in (
    figures.draw_gaps(example, sample_rate_hz=RATE_HZ),
    figures.draw_harmonics({"a": example}, sample_rate_hz=RATE_HZ),
    figures.draw_cutoffs(TABLE[:1]),
    figures.draw_bandstops(TABLE[:1]),
    figures.draw_f0_order([{"log2_ratio": np.nan}]),
    figures.draw_f0_order([{"log2_ratio": 0.5}]),
  ):
    drawn(made, tmp_path)


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


# The command.


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
