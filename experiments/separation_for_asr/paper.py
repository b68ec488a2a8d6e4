"""The paper's own results: word error rates in percent, never ours.

"Practical single-channel separation for ASR", tables 1 to 4. The text of the
paper runs some cells together: "10.411.7" is 10.4 and 11.7, "10.713.817.1" is
10.7, 13.8 and 17.1. "matched" is its recogniser of the training, "[38]" another
one. [17] and [18] are the results of others that it compares with.
"""

from typing import NamedTuple

from experiments.separation_for_asr.libricss import CONDITIONS


class PaperRow(NamedTuple):
  """A row of a table; `wer` has the order of `libricss.CONDITIONS`."""

  table: int
  recognizer: str
  separation: str
  loss: str
  wer: tuple[float, ...]

  @property
  def title(self) -> str:
    """The row's name in a table of ours."""
    parts = (self.separation, self.loss, f"recogniser {self.recognizer}")
    return f"paper, table {self.table}: {', '.join(filter(None, parts))}"

  @property
  def rates(self) -> dict[str, float]:
    """Percent of each condition, and the mean, as `scoring.rates`."""
    found = dict(zip(CONDITIONS, self.wer, strict=True))
    return found | {"mean": sum(self.wer) / len(self.wer)}


_MATCHED, _OTHER = "matched", "[38]"

ROWS = (
  PaperRow(1, _MATCHED, "none", "", (6.0, 5.5, 12.2, 20.3, 28.7, 38.3)),
  PaperRow(1, _MATCHED, "base", "SA", (5.7, 5.3, 7.7, 10.7, 13.4, 15.1)),
  PaperRow(1, _MATCHED, "base", "FA", (5.8, 5.4, 7.4, 10.0, 12.1, 13.9)),
  PaperRow(1, _MATCHED, "small", "FA", (6.0, 5.3, 8.1, 11.0, 13.4, 15.3)),
  PaperRow(1, _MATCHED, "Transformer", "FA", (5.7, 5.4, 8.3, 12.0, 15.0, 17.4)),
  PaperRow(1, _MATCHED, "CRN", "FA", (6.1, 5.8, 8.4, 12.5, 16.5, 19.3)),
  PaperRow(1, _MATCHED, "Dense-CRN", "FA", (5.9, 5.7, 8.2, 11.6, 14.6, 17.3)),
  PaperRow(2, _MATCHED, "base", "FA", (5.4, 5.0, 6.8, 8.9, 10.4, 11.7)),
  PaperRow(2, _MATCHED, "base", "ASR", (5.1, 4.7, 6.4, 8.5, 9.8, 10.7)),
  PaperRow(2, _MATCHED, "base", "FA->ASR", (4.8, 4.6, 6.1, 8.0, 9.2, 10.0)),
  PaperRow(2, _OTHER, "base", "FA", (3.7, 3.8, 5.0, 6.9, 8.6, 9.8)),
  PaperRow(2, _OTHER, "base", "ASR", (3.7, 3.7, 5.1, 6.4, 8.1, 9.2)),
  PaperRow(2, _OTHER, "base", "FA->ASR", (3.6, 3.6, 4.7, 6.4, 7.7, 8.4)),
  PaperRow(2, _OTHER, "[18]", "SA", (5.4, 5.0, 7.5, 10.7, 13.8, 17.1)),
  PaperRow(2, "[17]", "SISO1+3 [17]", "", (4.9, 5.1, 6.7, 9.4, 12.7, 15.5)),
  PaperRow(3, _OTHER, "small", "FA", (3.8, 3.7, 5.5, 7.5, 10.1, 11.7)),
  PaperRow(3, _OTHER, "small", "OS", (3.8, 3.7, 5.3, 7.1, 9.5, 10.7)),
  PaperRow(3, _OTHER, "small", "ASR", (3.9, 3.9, 5.7, 7.7, 9.4, 10.5)),
  PaperRow(3, _OTHER, "small", "OS->ASR", (3.7, 3.8, 5.4, 7.0, 8.7, 9.5)),
  PaperRow(4, _OTHER, "[18]", "SA", (6.9, 6.1, 9.1, 12.5, 16.7, 19.3)),
  PaperRow(4, _OTHER, "base", "ASR", (7.3, 6.2, 8.9, 9.9, 13.1, 13.9)),
  PaperRow(4, _OTHER, "base", "FA->ASR", (7.5, 6.4, 8.4, 9.4, 12.4, 13.2)),
  PaperRow(4, _OTHER, "small", "ASR", (11.6, 10.3, 13.0, 13.7, 17.3, 17.8)),
  PaperRow(4, _OTHER, "small", "OS->ASR", (8.2, 6.5, 10.0, 11.2, 14.5, 15.6)),
)
