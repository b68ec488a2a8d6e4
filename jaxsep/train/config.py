"""Plain, frozen options of the training loop."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plateau:
  """Smaller updates when the evaluations bring no improvement.

  Attributes:
    factor: What the updates are multiplied by each time.
    patience: Evaluations in a row without improvement that make a plateau.
    min_scale: The factors together do not go below this.
  """

  factor: float = 0.5
  patience: int = 3
  min_scale: float = 0.0

  def __post_init__(self):
    if not 0 < self.factor < 1:
      raise ValueError(f"factor is {self.factor}; it is between 0 and 1")
    if self.patience < 1:
      raise ValueError(f"patience is {self.patience}; it is at least 1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
  """What the loop does when.

  Attributes:
    num_steps: Steps of the whole run, resumed parts included.
    seed: Initial parameters and every random draw of training, from 0 to
      2**32 - 1.
    num_microbatches: The batch is worked through in this many equal parts
      whose gradients are added up: a step in a fraction of the memory, the
      same but for dropout and batch statistics.
    fixed: Paths in `params`, such as `"encoder"` or `"masker/input_norm"`,
      whose arrays are not trained: they have no gradient and the optimizer
      never sees them. They are averaged, saved and exported like the others.
    ema_decay: Decay of an exponential moving average of the parameters and of
      every other float collection but `constants`. The average is what is
      evaluated and exported; None keeps none.
    log_every: Steps between lines of the log.
    eval_every: Steps between evaluations; 0 evaluates at the end only.
    checkpoint_every: Steps between checkpoints. The last step, an improved
      evaluation and a signal make one too.
    demo_every: Evaluations between sounds and pictures of one evaluation
      example in TensorBoard, besides the first and the last; 0 writes none.
    keep_checkpoints: Latest checkpoints to keep, besides the best one.
    monitor: The evaluation value that decides what is best.
    monitor_mode: `"min"` or `"max"`.
    early_stop_patience: Evaluations without improvement after which the run
      ends; None never does.
    max_skipped_in_row: Updates skipped in a row, for a loss or gradient that
      is not finite, after which the run stops.
    profile_step: A trace of the three steps after this one is written to
      `profile/`, for TensorBoard's or Perfetto's profile viewer; None writes
      none.
    wandb_project: Weights & Biases project that gets the values of the log
      too; None uses none.
    tensorboard: Whether to write TensorBoard events.
    progress: A progress bar; None shows one on a terminal only.
  """

  num_steps: int
  seed: int = 0
  num_microbatches: int = 1
  fixed: tuple[str, ...] = ()
  ema_decay: float | None = None
  log_every: int = 50
  eval_every: int = 1000
  checkpoint_every: int = 1000
  demo_every: int = 5
  keep_checkpoints: int = 2
  monitor: str = "loss"
  monitor_mode: str = "min"
  early_stop_patience: int | None = None
  max_skipped_in_row: int = 20
  profile_step: int | None = None
  wandb_project: str | None = None
  tensorboard: bool = True
  progress: bool | None = None

  def __post_init__(self):
    least = {
      "num_steps": 1,
      "num_microbatches": 1,
      "log_every": 1,
      "checkpoint_every": 1,
      "keep_checkpoints": 1,
      "max_skipped_in_row": 1,
      "early_stop_patience": 1,
      "eval_every": 0,
      "demo_every": 0,
      "profile_step": 0,
    }
    for name, minimum in least.items():
      value = getattr(self, name)
      if value is not None and value < minimum:
        raise ValueError(f"{name} is {value}; it is at least {minimum}")
    if not 0 <= self.seed < 2**32:
      raise ValueError(f"seed is {self.seed}; it is from 0 to 2**32 - 1")
    if isinstance(self.fixed, str):
      raise ValueError(f"fixed is {self.fixed!r}; it is a tuple of paths")
    if self.monitor_mode not in ("min", "max"):
      raise ValueError(
        f"monitor_mode is {self.monitor_mode!r}; it is 'min' or 'max'"
      )
    if self.ema_decay is not None and not 0 < self.ema_decay < 1:
      raise ValueError(
        f"ema_decay is {self.ema_decay}; it is between 0 and 1, or None"
      )
