"""Finds the hisses of speech that a separator gives to the wrong talker."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsep import dsp, metrics
from jaxsep.typing import Array, Float

Row = dict[str, Any]

#: A fricative's energy lies above this; at 8 kHz most of a voiced sound's
#: does not.
BAND_HZ = 2500.0
WINDOW_S = 0.032
HOP_S = 0.008
#: A frame is a fricative of a talker where the band holds more energy than
#: all below it, ...
_BALANCE_DB = 0.0
#: ... where the talker is so far above the other one in the band, ...
_DOMINANCE_DB = 10.0
#: ... and no further than this below the talker's loudest frame of the band.
_RANGE_DB = 20.0
# Added to the energy of a channel before it divides.
_SILENCE = 1e-20
#: Shorter runs of wrong frames are not marked.
_SHORTEST_S = 0.032


def probe_fricatives(
  estimate: Float[Array, "mixtures sources time"],
  reference: Float[Array, "mixtures sources time"],
  names: Sequence[str],
  *,
  sample_rate_hz: int,
) -> list[Row]:
  """How many of the fricatives of each mixture are in the wrong channel.

  Which frames are fricatives is read off the references. A frame is wrong if
  another channel has more of its energy above `BAND_HZ` than the channel that
  belongs to the talker, by the best SI-SDR of the whole mixture.

  Args:
    estimate: Channels in any order, `[N, S, T]`.
    reference: The sources, `[N, S, T]`.
    names: Name of each mixture.
    sample_rate_hz: Sample rate, above twice `BAND_HZ`.

  Returns:
    A row for every mixture: `fricative_s`, `wrong_s` and their `share`, NaN
    where there is no fricative; to compare with, the same of the frames where a
    talker dominates below the band, `low_s`, `low_wrong_s` and `low_share`; and
    `wrong_energy`, the energy of the wrong frames relative to all of the band.

  Raises:
    ValueError: If the sample rate has no room for the band.
  """
  if sample_rate_hz <= 2 * BAND_HZ:
    raise ValueError(
      f"sample_rate_hz is {sample_rate_hz}; fricatives need more than "
      f"{2 * BAND_HZ:g}"
    )
  rows = []
  for i, name in enumerate(names):
    found = find_frames(
      estimate[i], reference[i], sample_rate_hz=sample_rate_hz
    )
    fricative, wrong = found["fricative"], found["wrong"]
    count = int(fricative.sum())
    energy = found["band_energy"]
    low, low_wrong = int(found["low"].sum()), int(found["low_wrong"].sum())
    rows.append(
      {
        "mixture": name,
        "fricative_s": count * HOP_S,
        "wrong_s": int(wrong.sum()) * HOP_S,
        "share": wrong.sum() / count if count else np.nan,
        "low_s": low * HOP_S,
        "low_wrong_s": low_wrong * HOP_S,
        "low_share": low_wrong / low if low else np.nan,
        "wrong_energy": float(
          np.sum(energy, where=wrong) / max(energy.sum(), 1e-30)
        ),
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

  Channels are compared at the levels at which each fits its talker best: a
  model that was trained on a scale-invariant loss has no level of its own.

  Args:
    estimate: Channels in any order, `[S, T]`.
    reference: The sources, `[S, T]`.
    sample_rate_hz: Sample rate.

  Returns:
    Of every talker and frame, `[S, N]`: `fricative`, `wrong`, `band_energy`,
    and the same below the band as `low` and `low_wrong`; and `permutation`
    `[S]`, the channel of each talker.
  """
  permutation, above, below, estimate_above, estimate_below = jax.device_get(
    _energies(jnp.asarray(estimate), jnp.asarray(reference), sample_rate_hz)
  )
  # What follows has the channels in the order of the talkers.
  found = {"permutation": permutation, "band_energy": above}
  for name, energy, estimated, more in (
    ("", above, estimate_above, above > below * 10 ** (_BALANCE_DB / 10)),
    ("low", below, estimate_below, np.ones_like(below, bool)),
  ):
    loud = energy > energy.max(axis=1, keepdims=True) * 10 ** (-_RANGE_DB / 10)
    others = energy.sum(axis=0) - energy
    dominant = energy > others * 10 ** (_DOMINANCE_DB / 10)
    heard = more & loud & dominant
    rest = np.stack(
      [
        np.delete(estimated, talker, axis=0).max(axis=0)
        for talker in range(len(estimated))
      ]
    )
    wrong = heard & (rest > estimated)
    found |= (
      {"low": heard, "low_wrong": wrong}
      if name
      else {"fricative": heard, "wrong": wrong}
    )
  return found


@functools.partial(jax.jit, static_argnums=2)
def _energies(estimate, reference, sample_rate_hz):
  """Permutation, and energy `[S, N]` above and below the band's edge.

  Of the references and of the estimates, these in the order of the references
  and as loud as fits them best.
  """
  pairs = (len(estimate), *reference.shape)
  si_sdr = metrics.si_sdr(
    jnp.broadcast_to(estimate[:, None], pairs),
    jnp.broadcast_to(reference[None], pairs),
  )
  permutation = dsp.best_permutation(-si_sdr)
  estimate = dsp.projection(reference, estimate[permutation], eps=_SILENCE)
  n_fft = round(WINDOW_S * sample_rate_hz)
  options = {"n_fft": n_fft, "hop_length": round(HOP_S * sample_rate_hz)}
  is_above = np.fft.rfftfreq(n_fft, 1 / sample_rate_hz) >= BAND_HZ
  energies = []
  for signal in (reference, estimate):
    power = jnp.square(jnp.abs(dsp.stft(signal, **options)))
    energies.append(jnp.sum(power[..., is_above], axis=-1))
    energies.append(jnp.sum(power[..., ~is_above], axis=-1))
  return permutation, *energies


def boxes(
  wrong: np.ndarray, *, shortest_s: float = _SHORTEST_S
) -> list[tuple[int, float, float]]:
  """Runs of frames, to be marked in a picture.

  Args:
    wrong: As `find_frames` returns it, `[S, N]`.
    shortest_s: Shorter runs are left out; runs less than this apart are one.

  Returns:
    `(talker, start, end)` of each, in seconds.

  Example:
    >>> wrong = np.zeros((2, 100), bool)
    >>> wrong[1, 10:20] = True
    >>> boxes(wrong)
    [(1, 0.08, 0.16)]
  """
  runs = []
  for talker, row in enumerate(wrong):
    edges = np.flatnonzero(np.diff(np.pad(row.astype(int), 1)))
    merged: list[list[int]] = []
    for start, end in edges.reshape(-1, 2).tolist():
      if merged and (start - merged[-1][1]) * HOP_S < shortest_s:
        merged[-1][1] = end
      else:
        merged.append([start, end])
    runs += [
      (talker, round(start * HOP_S, 6), round(end * HOP_S, 6))
      for start, end in merged
      if (end - start) * HOP_S >= shortest_s
    ]
  return runs


def clearest_example(rows: Sequence[Row]) -> int:
  """A mixture to look at: separated well, but for its fricatives.

  Args:
    rows: As `probe_fricatives` returns them.

  Returns:
    Of the half of the mixtures with the least share of errors below the band,
    the place of that with most energy of fricatives in the wrong channel.
  """
  low = np.array([row["low_share"] for row in rows])
  low = np.where(np.isfinite(low), low, 1.0)
  wrong = np.array([row["wrong_energy"] for row in rows])
  return int(np.argmax(np.where(low <= np.median(low), wrong, -1.0)))


def summarize_fricatives(rows: Sequence[Row]) -> list[Row]:
  """Shares over all mixtures.

  Args:
    rows: As `probe_fricatives` returns them.

  Returns:
    One row: seconds of fricatives and the share of them in the wrong channel;
    and the same of the frames below the band. Shares are of the seconds of all
    mixtures together; NaN where there are none.
  """
  total = {
    name: sum(row[name] for row in rows)
    for name in ("fricative_s", "wrong_s", "low_s", "low_wrong_s")
  }

  def share(part, whole):
    return total[part] / total[whole] if total[whole] else np.nan

  return [
    {
      "mixtures": len(rows),
      "fricative_s": total["fricative_s"],
      "share_wrong": share("wrong_s", "fricative_s"),
      "low_s": total["low_s"],
      "share_wrong_low": share("low_wrong_s", "low_s"),
    }
  ]
