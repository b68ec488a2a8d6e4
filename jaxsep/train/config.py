"""Plain, frozen options of the training loop and of the optimizer."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
  """Adam with clipping, a schedule and gradient accumulation.

  Attributes:
    learning_rate: The highest learning rate of the schedule.
    schedule: `"constant"`, `"cosine"`, `"linear"` (both decay to
      `end_learning_rate` at `decay_steps`), `"rsqrt"` (decays with the root of
      the step) or `"plateau"` (multiplied by `plateau_factor` whenever
      `plateau_patience` evaluations in a row bring no improvement). Every one
      may start with a linear warm-up.
    warmup_steps: Steps from 0 up to `learning_rate`.
    decay_steps: Where the decay ends; None means at the run's `num_steps`.
    end_learning_rate: Where `"cosine"` and `"linear"` end.
    plateau_factor: What a plateau multiplies the learning rate by.
    plateau_patience: Evaluations without improvement that make a plateau.
    plateau_min_learning_rate: Plateaus do not go below this rate.
    clip_norm: Gradients with a longer global L2 norm are scaled down to it;
      None does not clip.
    b1: Decay of Adam's mean.
    b2: Decay of Adam's variance.
    eps: Added to the root of Adam's variance.
    weight_decay: Decoupled weight decay (AdamW), times the learning rate.
    num_microbatches: The batch is worked through in this many equal parts
      whose gradients are summed: the same step in a fraction of the memory.
  """

  learning_rate: float = 1e-3
  schedule: str = "constant"
  warmup_steps: int = 0
  decay_steps: int | None = None
  end_learning_rate: float = 0.0
  plateau_factor: float = 0.5
  plateau_patience: int = 3
  plateau_min_learning_rate: float = 0.0
  clip_norm: float | None = 5.0
  b1: float = 0.9
  b2: float = 0.999
  eps: float = 1e-8
  weight_decay: float = 0.0
  num_microbatches: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
  """What the loop does when.

  Attributes:
    num_steps: Steps of the whole run, resumed parts included.
    optimizer: See `OptimizerConfig`.
    seed: Initial parameters and every random draw of training.
    ema_decay: Decay of an exponential moving average of the parameters, which
      is then what is evaluated and exported; None keeps no average.
    log_every: Steps between lines of the log.
    eval_every: Steps between evaluations; 0 evaluates at the end only.
    checkpoint_every: Steps between checkpoints. The last step, an improved
      evaluation and a signal make one too.
    keep_checkpoints: Latest checkpoints to keep, besides the best one.
    monitor: The evaluation value that decides what is best.
    monitor_mode: `"min"` or `"max"`.
    early_stop_patience: Evaluations without improvement after which the run
      ends; None never does.
    max_skipped_in_row: Updates skipped in a row, for a loss or gradient that
      is not finite, after which the run stops.
    tensorboard: Whether to write TensorBoard events.
    progress: A progress bar; None shows one on a terminal only.
  """

  num_steps: int
  optimizer: OptimizerConfig = OptimizerConfig()
  seed: int = 0
  ema_decay: float | None = None
  log_every: int = 50
  eval_every: int = 1000
  checkpoint_every: int = 1000
  keep_checkpoints: int = 2
  monitor: str = "loss"
  monitor_mode: str = "min"
  early_stop_patience: int | None = None
  max_skipped_in_row: int = 20
  tensorboard: bool = True
  progress: bool | None = None
