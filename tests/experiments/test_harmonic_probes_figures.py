"""The figures: what each of them shows."""

import matplotlib.image
import numpy as np
from matplotlib.colors import to_rgb

from experiments.harmonic_probes.probes import (
  f0_order,
  filters,
  gaps,
  tones,
)
from experiments.plots import at_level_of

RATE_HZ = 8000
NAMED = {"sample_rate_hz": RATE_HZ, "model": "M"}


def line(band, low_hz, high_hz, sdr_db, **more):
  return {
    "filter": f"{band} {low_hz}" if band else "none",
    "band": band,
    "low_hz": low_hz,
    "high_hz": high_hz,
    "sdr_db": sdr_db,
    "sdr_error_db": 0.2,
    "trained_on_filtered_sdr_db": np.nan,
    "filtered_after_sdr_db": np.nan,
    **more,
  }


TABLE = [
  line(None, None, None, 12.0),
  line("lowpass", 700, 700, 8.0, trained_on_filtered_sdr_db=11.0),
  line("lowpass", 300, 300, 5.0, filtered_after_sdr_db=9.0),
  line("highpass", 180, 180, 4.0),
  line("highpass", 400, 400, 2.0),
]


def labels(figure_):
  return [text.get_text() for text in figure_.legends[0].get_texts()]


# Reference: what is drawn is what the results say.


def test_low_pass_is_blue_and_high_pass_red():
  made = filters.draw_cutoffs(TABLE[:5], model="M")
  (axes,) = made.axes
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


def test_shares_and_density_of_pitch():
  rows = [{"log2_ratio": x} for x in (0.9, 1.0, 0.1, -0.2, np.nan)]
  made = f0_order.draw_f0_order(rows, model="M")
  (axes,) = made.axes
  words = [text.get_text() for text in axes.texts]
  assert words[0].startswith("75%\nlower speaker in channel 1")
  assert words[1].startswith("25%\nlower speaker in channel 2")
  curve = next(x for x in axes.lines if x.get_label() == "smoothed density")
  where, values = curve.get_data()
  assert 0.5 < values.sum() * (where[1] - where[0]) <= 1


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
    "sample_rate_hz": RATE_HZ,
    "wrong": wrong,
    "after": after,
  }


def test_gaps_have_arrows_and_wrong_bursts_boxes():
  made = gaps.draw_gaps(tone_example(), model="M")
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


# Edge.


def test_silence_and_empty_tables_can_be_drawn(tmp_path):
  example = {
    **tone_example(),
    "mixture": np.zeros(16000),
    "estimate": np.zeros((2, 16000)),
  }
  for made in (
    gaps.draw_gaps(example, model="M"),
    tones.draw_harmonics({"a": example}, **NAMED),
    filters.draw_cutoffs(TABLE[:1], model="M"),
    f0_order.draw_f0_order([{"log2_ratio": np.nan}], model="M"),
    f0_order.draw_f0_order([{"log2_ratio": 0.5}], model="M"),
  ):
    made.savefig(tmp_path / "figure.png", dpi=40)
    image = matplotlib.image.imread(tmp_path / "figure.png")
    assert image[..., :3].std() > 0.02
