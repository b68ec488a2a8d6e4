"""Figure 2: fricatives that a separator gives to the wrong speaker."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.harmonic_probes.separator import in_best_order
from experiments.harmonic_probes.study import Result, figure
from experiments.plots import (
  at_level_of,
  draw_box,
  draw_spectrograms,
  finish_spectrograms,
)
from experiments.rows import Row
from jaxsep import dsp
from jaxsep.typing import Array, Float

#: A fricative's energy lies above this; at 8 kHz most of a voiced sound's
#: does not.
BAND_HZ = 2500.0
WINDOW_S = 0.032
HOP_S = 0.008
# A frame is a fricative of a speaker where the band has more energy than all
# below it, the speaker is this far above the others in the band, and not
# further below the speaker's loudest frame of the band than the range.
_DOMINANCE_DB = 10.0
_RANGE_DB = 20.0
# Added to the energy of a channel before it divides.
_SILENCE = 1e-20
#: Shorter runs of wrong frames are not marked.
_SHORTEST_S = 0.032


@figure(2, "fricatives in the wrong channel", of_speech=True)
def fricatives(study, model):
  """Figure 2."""
  mixtures, rate = study.mixtures, study.mixtures.sample_rate_hz
  rows = probe_fricatives(
    study.native, mixtures.sources, mixtures.name, sample_rate_hz=rate
  )
  chosen = clearest_example(rows)
  estimate, reference = study.native[chosen], mixtures.sources[chosen]
  found = find_frames(estimate, reference, sample_rate_hz=rate)
  example = {
    "mixture": reference.sum(axis=0),
    "estimate": estimate[found["permutation"]],
    "reference": reference,
    "boxes": boxes(found["wrong"]),
  }
  picture = draw_fricatives(example, sample_rate_hz=rate, model=model.name)
  table = summarize_fricatives(rows)
  table[0]["shown"] = mixtures.name[chosen]
  return Result(picture, table, rows, study.caption("Fricatives"))


def probe_fricatives(
  estimate: Float[Array, "mixtures sources time"],
  reference: Float[Array, "mixtures sources time"],
  names: Sequence[str],
  *,
  sample_rate_hz: int,
) -> list[Row]:
  """How many of the fricatives of each mixture are in the wrong channel.

  Returns a row for every mixture: seconds of fricatives, of wrong ones, and
  their `share`, NaN where there is no fricative; to compare with, the same of
  the frames where a speaker dominates below the band, `low...`; and
  `wrong_energy`, the energy of the wrong frames relative to all of the band.
  """
  if sample_rate_hz <= 2 * BAND_HZ:
    raise ValueError(
      f"sample_rate_hz is {sample_rate_hz}; fricatives need more than "
      f"{2 * BAND_HZ:g}"
    )
  rows = []
  for name, channels, sources in zip(names, estimate, reference, strict=True):
    found = find_frames(channels, sources, sample_rate_hz=sample_rate_hz)
    energy, wrong = found["band_energy"], found["wrong"]
    fricative, misplaced, low, low_misplaced = (
      int(found[key].sum())
      for key in ("fricative", "wrong", "low", "low_wrong")
    )
    wrong_energy = np.sum(energy, where=wrong) / max(energy.sum(), 1e-30)
    rows.append(
      {
        "mixture": name,
        "fricative_s": fricative * HOP_S,
        "wrong_s": misplaced * HOP_S,
        "share": misplaced / fricative if fricative else np.nan,
        "low_s": low * HOP_S,
        "low_wrong_s": low_misplaced * HOP_S,
        "low_share": low_misplaced / low if low else np.nan,
        "wrong_energy": float(wrong_energy),
      }
    )
  return rows


def find_frames(
  estimate: Float[Array, "sources time"],
  reference: Float[Array, "sources time"],
  *,
  sample_rate_hz: int,
) -> dict[str, np.ndarray]:
  """Frames of a mixture with fricatives, and where they went.

  Which frames are fricatives is read off the references. A frame is wrong if
  another channel has more of its energy than the channel that belongs to the
  speaker by the best SI-SDR. Channels are compared at the levels at which each
  fits its speaker best: a model trained on a scale-invariant loss has none.

  Returns, of every speaker and frame, `[S, N]`: `fricative`, `wrong`,
  `band_energy`, and the same below the band as `low` and `low_wrong`; and
  `permutation` `[S]`, the channel of each speaker.
  """
  permutation, above, below, estimate_above, estimate_below = jax.device_get(
    _energies(jnp.asarray(estimate), jnp.asarray(reference), sample_rate_hz)
  )

  def find(energy, estimated, is_heard):
    """Frames of `[S, N]` where a speaker dominates, and the wrong of them."""
    loud = energy > energy.max(axis=1, keepdims=True) * 10 ** (-_RANGE_DB / 10)
    others = energy.sum(axis=0) - energy
    dominant = energy > others * 10 ** (_DOMINANCE_DB / 10)
    heard = is_heard & loud & dominant
    rest = [
      np.delete(estimated, speaker, axis=0).max(axis=0)
      for speaker in range(len(estimated))
    ]
    return heard, heard & (np.stack(rest) > estimated)

  fricative, wrong = find(above, estimate_above, above > below)
  low, low_wrong = find(below, estimate_below, True)
  return {
    "permutation": permutation,
    "band_energy": above,
    "fricative": fricative,
    "wrong": wrong,
    "low": low,
    "low_wrong": low_wrong,
  }


@functools.partial(jax.jit, static_argnums=2)
def _energies(estimate, reference, sample_rate_hz):
  """Permutation; energies `[S, N]` of references and estimates by band."""
  (ordered,), (permutation,) = in_best_order(estimate[None], reference[None])
  estimate = dsp.projection(reference, ordered, eps=_SILENCE)
  n_fft = round(WINDOW_S * sample_rate_hz)
  stft = dsp.Stft(n_fft=n_fft, hop_length=round(HOP_S * sample_rate_hz))
  is_above = np.fft.rfftfreq(n_fft, 1 / sample_rate_hz) >= BAND_HZ
  energies = []
  for signal in (reference, estimate):
    power = jnp.square(jnp.abs(stft(signal)))
    energies.append(jnp.sum(power[..., is_above], axis=-1))
    energies.append(jnp.sum(power[..., ~is_above], axis=-1))
  return permutation, *energies


def boxes(wrong: np.ndarray) -> list[tuple[int, float, float]]:
  """Longer runs of frames `[S, N]`: `(speaker, start, end)`, in seconds."""
  runs = []
  for speaker, row in enumerate(wrong):
    edges = np.flatnonzero(np.diff(np.pad(row.astype(int), 1)))
    merged: list[list[int]] = []
    for start, end in edges.reshape(-1, 2).tolist():
      if merged and (start - merged[-1][1]) * HOP_S < _SHORTEST_S:
        merged[-1][1] = end
      else:
        merged.append([start, end])
    runs += [
      (speaker, round(start * HOP_S, 6), round(end * HOP_S, 6))
      for start, end in merged
      if (end - start) * HOP_S >= _SHORTEST_S
    ]
  return runs


def clearest_example(rows: Sequence[Row]) -> int:
  """Index of a mixture to look at: separated well, but for its fricatives.

  Of the half with the least share of errors below the band, that with most
  energy of fricatives in the wrong channel.
  """
  low = np.array([row["low_share"] for row in rows])
  low = np.where(np.isfinite(low), low, 1.0)
  wrong = np.array([row["wrong_energy"] for row in rows])
  return int(np.argmax(np.where(low <= np.median(low), wrong, -1.0)))


def summarize_fricatives(rows: Sequence[Row]) -> list[Row]:
  """Seconds and shares of all mixtures together, in one row."""
  fricative, wrong, low, low_wrong = (
    sum(row[name] for row in rows)
    for name in ("fricative_s", "wrong_s", "low_s", "low_wrong_s")
  )
  return [
    {
      "mixtures": len(rows),
      "fricative_s": fricative,
      "share_wrong": wrong / fricative if fricative else np.nan,
      "low_s": low,
      "share_wrong_low": low_wrong / low if low else np.nan,
    }
  ]


def draw_fricatives(
  example: Mapping[str, Any], *, sample_rate_hz: int, model: str
) -> Figure:
  """Draws a mixture, its estimates and references, with red boxes.

  Boxes are on the band of a speaker's misplaced fricatives, in the reference
  and where they are missing, dashed where they went.
  """
  reference = example["reference"]
  estimate = at_level_of(example["mixture"], example["estimate"])
  signals = {"mixture": example["mixture"]}
  signals |= {f"estimate {n}": x for n, x in enumerate(estimate, 1)}
  signals |= {f"reference {n}": x for n, x in enumerate(reference, 1)}
  drawn = Figure(figsize=(10, 1.7 * len(signals) + 1.0), layout="constrained")
  axes = drawn.subplots(len(signals), 1, sharex=True, sharey=True)
  image = draw_spectrograms(axes, signals, sample_rate_hz=sample_rate_hz)
  count = len(reference)
  for speaker, start, end in example["boxes"]:
    edges = (start, end, BAND_HZ / 1000, sample_rate_hz / 2000 - 0.04)
    for source in range(count):
      style = "-" if source == speaker else "--"
      draw_box(axes[1 + source], edges, colour="red", style=style)
    draw_box(axes[1 + count + speaker], edges, colour="red")
  handles = [
    Line2D([], [], color="red", label="fricative of this speaker, misplaced"),
    Line2D([], [], color="red", linestyle="--", label="where it went"),
  ]
  title = f"Fricatives in the wrong channel: {model}"
  finish_spectrograms(drawn, axes, image, title, handles)
  return drawn
