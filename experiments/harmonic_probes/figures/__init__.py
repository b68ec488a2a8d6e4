"""The paper's figures 2 to 9: results in, matplotlib figures out.

Needs the `plot` extra. `experiments.harmonic_probes.figure` computes the
results, calls these and writes pictures and numbers.
"""

from experiments.harmonic_probes.figures.filters import (
  draw_bandstops,
  draw_cutoffs,
)
from experiments.harmonic_probes.figures.fricatives import draw_fricatives
from experiments.harmonic_probes.figures.pitch import draw_f0_order
from experiments.harmonic_probes.figures.tones import draw_gaps, draw_harmonics

__all__ = [
  "draw_bandstops",
  "draw_cutoffs",
  "draw_f0_order",
  "draw_fricatives",
  "draw_gaps",
  "draw_harmonics",
]
