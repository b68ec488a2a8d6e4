"""What the loop remembers from one evaluation to the next."""

import dataclasses
import math
from collections.abc import Mapping

from jaxsep.train.config import Plateau, TrainConfig


@dataclasses.dataclass
class Monitor:
  """Best evaluation, plateaus, and the log's unfinished period.

  It is saved with every checkpoint. `num_worse` counts the evaluations since
  the best one, `num_worse_here` those since the best one or the last plateau;
  `period` holds the values of the steps since the last line of the log.
  """

  best_value: float | None = None
  best_step: int | None = None
  num_worse: int = 0
  num_worse_here: int = 0
  evaluated_step: int | None = None
  metrics: dict[str, float | None] = dataclasses.field(default_factory=dict)
  period: list[dict[str, float]] = dataclasses.field(default_factory=list)

  def update(
    self, step: int, metrics: Mapping[str, float], config: TrainConfig
  ) -> bool:
    """Takes in an evaluation; returns whether it is the best so far."""
    self.evaluated_step = step
    # JSON knows no NaN.
    self.metrics = {
      name: value if math.isfinite(value) else None
      for name, value in metrics.items()
    }
    value = self.metrics.get(config.monitor)
    sign = 1 if config.monitor_mode == "min" else -1
    improved = value is not None and (
      self.best_value is None or sign * value < sign * self.best_value
    )
    if improved:
      self.best_value, self.best_step = value, step
      self.num_worse = self.num_worse_here = 0
    else:
      self.num_worse += 1
      self.num_worse_here += 1
    return improved

  def take_plateau(self, plateau: Plateau | None) -> bool:
    """Whether the updates are to be scaled down now; counts anew if so."""
    if plateau is None or self.num_worse_here < plateau.patience:
      return False
    self.num_worse_here = 0
    return True

  def is_over(self, config: TrainConfig) -> bool:
    """Whether the run has gone too long without an improvement."""
    patience = config.early_stop_patience
    return patience is not None and self.num_worse >= patience

  def period_means(self) -> dict[str, float | int]:
    """Means over the log's period, which starts anew.

    Learning rate, scale and counter are those of the last step; updates that
    were skipped do not count towards the means.
    """
    rows, self.period = self.period, []
    if not rows:
      return {}
    latest = {"learning_rate", "update_scale", "skipped"} & set(rows[-1])
    means = {name: rows[-1][name] for name in sorted(latest)}
    good = [row for row in rows if row["is_finite"]]
    for name in good[0] if good else ():
      if name not in (*means, "is_finite", "skipped_in_row"):
        means[name] = math.fsum(row[name] for row in good) / len(good)
    means["skipped"] = int(means["skipped"])
    return means
