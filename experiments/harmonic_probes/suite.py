"""All probes of a model, each computed when first asked for."""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from experiments.harmonic_probes import (
  f0_order,
  figures,
  filter_sets,
  filtered_speech,
  fricatives,
  gap_scores,
  gaps,
  tones,
)
from experiments.harmonic_probes.output import Result
from experiments.harmonic_probes.probe_set import ProbeSet

FIGURES = range(2, 10)
#: Figures that need mixtures of speech, and those of the spectrogram model.
OF_SPEECH = {2, 3, 5, 9}
OF_SPECTROGRAM_MODEL = {7, 8}

#: The sets of harmonics that figures 4 and 7 show.
_SHOWN = ("4-8", "1-3", "1-3, 5")


class Probes:
  """The figures of the paper for one set of models and mixtures."""

  def __init__(
    self,
    model: Any,
    open_mixtures: Callable[[], ProbeSet],
    *,
    causal_model: Any = None,
    spectrogram_model: Any = None,
    filtered_models: Mapping[str, Any] | None = None,
    filter_method: str = "butterworth",
    amplitude: str = "inverse",
    num_seeds: int = tones.NUM_SEEDS,
    periods_s: Iterable[float] = gaps.PERIODS_S,
    gaps_s: Iterable[float] = gaps.GAPS_S,
    f0_tracker: str = "pyin",
    num_processes: int | None = None,
    say: Callable[[str], None] = lambda line: None,
  ):
    """Takes the models and how to probe them; computes nothing yet.

    Args:
      model: A `separator.Separator`.
      open_mixtures: Opens the mixtures of speech.
      causal_model: Separator of figure 6; `model` if None.
      spectrogram_model: Separator of figures 7 and 8.
      filtered_models: Separators trained on filtered speech, by the short
        name of the filter.
      filter_method: "butterworth" or "fir".
      amplitude: Of the partials of the tones that are drawn and that have
        gaps.
      num_seeds: Stimuli of every kind of tones.
      periods_s: Periods of the tones with gaps.
      gaps_s: Durations of the gaps.
      f0_tracker: See `pitch.average_f0`.
      num_processes: See there.
      say: Told of the progress.
    """
    self._model = model
    self._open = open_mixtures
    self._causal_model = causal_model or model
    self._spectrogram_model = spectrogram_model
    self._filtered_models = dict(filtered_models or {})
    self._filter_method = filter_method
    self._amplitude = amplitude
    self._num_seeds = num_seeds
    self._periods_s, self._gaps_s = tuple(periods_s), tuple(gaps_s)
    self._f0_tracker = f0_tracker
    self._num_processes = num_processes
    self._say = say
    known = short_names(filter_sets.ALL)
    for name in self._filtered_models:
      if name not in known:
        raise ValueError(
          f"there is a model for the filter {name!r}, which is none of "
          f"{', '.join(known)}"
        )

  def open(self) -> None:
    """Opens the mixtures now, so that a fault shows early."""
    self._say(f"{len(self.mixtures)} mixtures of speech{self._too_short()}")

  @functools.cached_property
  def mixtures(self) -> ProbeSet:
    """The mixtures of speech."""
    return self._open()

  @functools.cached_property
  def native(self) -> np.ndarray:
    """Estimates for the mixtures as they are, `[N, S, T]`, unsorted."""
    return self._model(self.mixtures.mixture)

  def figure(self, number: int) -> Result:
    """Computes and draws a figure.

    Args:
      number: Its number in the paper, 2 to 9.

    Returns:
      The figure and its numbers.
    """
    return {
      2: self._fricatives,
      3: lambda: self._filters(
        filter_sets.LOWPASS + filter_sets.HIGHPASS, figures.draw_cutoffs
      ),
      4: lambda: self._tones(self._model),
      5: lambda: self._filters(filter_sets.BANDSTOP, figures.draw_bandstops),
      6: lambda: self._gaps(self._causal_model),
      7: lambda: self._tones(self._spectrogram_model),
      8: lambda: self._gaps(self._spectrogram_model),
      9: self._f0_order,
    }[number]()

  def _fricatives(self):
    """Figure 2."""
    mixtures, rate = self.mixtures, self.mixtures.sample_rate_hz
    rows = fricatives.probe_fricatives(
      self.native, mixtures.sources, mixtures.name, sample_rate_hz=rate
    )
    chosen = fricatives.clearest_example(rows)
    estimate, reference = self.native[chosen], mixtures.sources[chosen]
    found = fricatives.find_frames(estimate, reference, sample_rate_hz=rate)
    example = {
      "mixture": reference.sum(axis=0),
      "estimate": estimate[found["permutation"]],
      "reference": reference,
      "boxes": fricatives.boxes(found["wrong"]),
    }
    figure = figures.draw_fricatives(
      example, sample_rate_hz=rate, model=self._model.name
    )
    table = fricatives.summarize_fricatives(rows)
    table = [{**row, "shown": mixtures.name[chosen]} for row in table]
    return Result(figure, table, rows, self._caption("Fricatives"))

  def _filters(self, filters, draw):
    """Figures 3 and 5."""
    names = short_names(filters)
    rows = filtered_speech.probe_filters(
      self._model,
      self.mixtures,
      filters=filter_sets.with_method(filters, self._filter_method),
      filtered_models={
        name: model
        for name, model in self._filtered_models.items()
        if name in names
      },
      native=self.native,
      say=self._say,
    )
    table = filtered_speech.summarize_filters(rows)
    figure = draw(table, model=self._model.name)
    caption = self._caption(f"Filtered speech, {self._filter_method}")
    return Result(figure, table, rows, caption)

  def _tones(self, model):
    """Figures 4 and 7."""
    # The first amplitude is that of the examples.
    amplitudes = sorted(tones.AMPLITUDES, key=lambda a: a != self._amplitude)
    rows, examples = tones.probe_tones(
      model, amplitudes=amplitudes, num_seeds=self._num_seeds
    )
    figure = figures.draw_harmonics(
      {name: examples[name] for name in _SHOWN},
      sample_rate_hz=model.sample_rate_hz,
      model=model.name,
    )
    caption = f"Alternating tones that lack harmonics: {model.name}."
    return Result(figure, tones.summarize_tones(rows), rows, caption)

  def _gaps(self, model):
    """Figures 6 and 8."""
    rows = gaps.probe_gaps(
      model,
      periods_s=self._periods_s,
      gaps_s=self._gaps_s,
      num_seeds=self._num_seeds,
      amplitude=self._amplitude,
    )
    example = gaps.make_example(model, amplitude=self._amplitude)
    figure = figures.draw_gaps(
      example, sample_rate_hz=model.sample_rate_hz, model=model.name
    )
    caption = (
      f"Gaps in alternating tones, {self._amplitude} amplitudes: {model.name}."
    )
    return Result(figure, gap_scores.summarize_gaps(rows), rows, caption)

  def _f0_order(self):
    """Figure 9."""
    rows = f0_order.probe_f0_order(
      self.native,
      self.mixtures.name,
      sample_rate_hz=self.mixtures.sample_rate_hz,
      tracker=self._f0_tracker,
      num_processes=self._num_processes,
    )
    figure = figures.draw_f0_order(rows, model=self._model.name)
    caption = self._caption(f"Pitch of the channels, {self._f0_tracker}")
    return Result(figure, f0_order.summarize_f0_order(rows), rows, caption)

  def _caption(self, what):
    """A line that says what was probed with what."""
    seconds = self.mixtures.sources.shape[-1] / self.mixtures.sample_rate_hz
    return (
      f"{what}: {self._model.name}, {len(self.mixtures)} mixtures of "
      f"{seconds:g} s{self._too_short()}."
    )

  def _too_short(self):
    """How many others were left out, as a part of a sentence."""
    count = self.mixtures.num_too_short
    return f"; {count} others are shorter and were left out" if count else ""


def short_names(filters: Iterable[filter_sets.ProbeFilter]) -> list[str]:
  """Filters in a word each, see `filtered_speech.short_name`."""
  return [filtered_speech.short_name(entry) for entry in filters]
