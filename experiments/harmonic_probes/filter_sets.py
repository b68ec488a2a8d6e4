"""The filters of the paper's figures 3 and 5, and what it reports for them.

The paper says nothing about the kind of its filters. These are Butterworth
filters of order 8, forwards and backwards; `with_method(filters, "fir")` gives
linear-phase ones of 1025 taps instead.

  >>> [entry.name for entry in LOWPASS]
  ['lowpass 300 Hz', 'lowpass 700 Hz', 'lowpass 1200 Hz']
"""

import dataclasses
from collections.abc import Iterable

from jaxsep.simulate import Filter

#: The paper's SDR of ConvTasNet on natural speech, WSJ0-2mix, in dB.
PAPER_NATIVE_SDR_DB = 15.8

#: What the paper says of its baselines, models that were trained on the
#: filtered data among them: "around 15db", and "above 15dB" for band-stops.
PAPER_BASELINE_SDR_DB = 15.0


@dataclasses.dataclass(frozen=True)
class ProbeFilter:
  """A filter that speech is probed with.

  Attributes:
    filter: The filter.
    in_paper: Whether the paper names its frequencies; five of its eight
      band-stops it does not, and they are chosen here.
    paper_sdr_db: SDR that the paper's text reports for a ConvTasNet trained
      on natural speech, on WSJ0-2mix; None where the number is only a point
      or a line in a figure.
  """

  filter: Filter
  in_paper: bool = True
  paper_sdr_db: float | None = None

  @property
  def name(self) -> str:
    """Band and frequencies, to be printed."""
    return str(self.filter)


#: Figure 3, blue.
LOWPASS = tuple(
  ProbeFilter(Filter("lowpass", cutoff)) for cutoff in (300, 700, 1200)
)

#: Figure 3, red.
HIGHPASS = tuple(
  ProbeFilter(Filter("highpass", cutoff)) for cutoff in (180, 300, 400, 700)
)

#: Figure 5, the widest first.
BANDSTOP = (
  ProbeFilter(Filter("bandstop", (200, 800))),
  ProbeFilter(Filter("bandstop", (300, 700)), in_paper=False),
  ProbeFilter(Filter("bandstop", (200, 400)), in_paper=False),
  ProbeFilter(Filter("bandstop", (300, 500)), in_paper=False),
  ProbeFilter(Filter("bandstop", (400, 600)), in_paper=False),
  ProbeFilter(Filter("bandstop", (500, 700)), in_paper=False),
  ProbeFilter(Filter("bandstop", (350, 400)), paper_sdr_db=6.8),
  ProbeFilter(Filter("bandstop", (650, 700)), paper_sdr_db=9.6),
)

#: What the paper trains its seven baselines on.
BASELINES = LOWPASS + HIGHPASS

ALL = BASELINES + BANDSTOP


def with_method(
  filters: Iterable[ProbeFilter], method: str
) -> tuple[ProbeFilter, ...]:
  """The same filters made in another way.

  Args:
    filters: Such as `ALL`.
    method: "butterworth" or "fir".

  Returns:
    The filters, in their order.
  """
  return tuple(
    dataclasses.replace(
      entry, filter=dataclasses.replace(entry.filter, method=method)
    )
    for entry in filters
  )
