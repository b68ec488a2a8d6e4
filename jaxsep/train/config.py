"""Plain, frozen options of the training loop and of the optimizer."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
  """Adam or Muon with clipping, a schedule and gradient accumulation.

  Attributes:
    name: `"adam"`, or `"muon"`, which updates kernels by orthogonalised
      momentum and everything else as Adam does. Its updates have the size of
      Adam's: the same learning rates are a fair start.
    learning_rate: The highest learning rate of the schedule.
    schedule: `"constant"`, `"cosine"`, `"linear"` (both decay to
      `end_learning_rate` at `decay_steps`), `"rsqrt"` (decays with the root of
      the step), `"staircase"` (multiplied by `decay_rate` every `decay_every`
      steps from step 0 on, as DPTNet's authors do every two epochs) or
      `"plateau"` (multiplied by `plateau_factor` whenever
      `plateau_patience` evaluations in a row bring no improvement). Every one
      may start with a linear warm-up.
    warmup_steps: Steps from 0 up to `learning_rate`.
    decay_steps: Where the decay ends; None means at the run's `num_steps`.
    end_learning_rate: Where `"cosine"` and `"linear"` end.
    decay_rate: What a stair multiplies the learning rate by.
    decay_every: Steps of a stair.
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

  name: str = "adam"
  learning_rate: float = 1e-3
  schedule: str = "constant"
  warmup_steps: int = 0
  decay_steps: int | None = None
  end_learning_rate: float = 0.0
  decay_rate: float = 0.98
  decay_every: int | None = None
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
    seed: Initial parameters and every random draw of training, from 0 to
      2**32 - 1.
    ema_decay: Decay of an exponential moving average of the parameters, which
      is then what is evaluated and exported; None keeps no average.
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
  demo_every: int = 5
  keep_checkpoints: int = 2
  monitor: str = "loss"
  monitor_mode: str = "min"
  early_stop_patience: int | None = None
  max_skipped_in_row: int = 20
  tensorboard: bool = True
  progress: bool | None = None


def check_config(config: TrainConfig) -> None:
  """Raises ValueError for options of the loop that cannot be meant.

  The optimizer's are checked where it is made.
  """
  for name in (
    "num_steps",
    "log_every",
    "checkpoint_every",
    "keep_checkpoints",
    "max_skipped_in_row",
  ):
    if getattr(config, name) < 1:
      raise ValueError(f"{name} is {getattr(config, name)}; it is at least 1")
  for name in ("eval_every", "demo_every"):
    if getattr(config, name) < 0:
      raise ValueError(f"{name} is {getattr(config, name)}; it is at least 0")
  if not 0 <= config.seed < 2**32:
    raise ValueError(f"seed is {config.seed}; it is from 0 to 2**32 - 1")
  if config.monitor_mode not in ("min", "max"):
    raise ValueError(
      f"monitor_mode is {config.monitor_mode!r}; it is 'min' or 'max'"
    )
  if config.ema_decay is not None and not 0 < config.ema_decay < 1:
    raise ValueError(
      f"ema_decay is {config.ema_decay}; it is between 0 and 1, or None"
    )
  patience = config.early_stop_patience
  if patience is not None and patience < 1:
    raise ValueError(
      f"early_stop_patience is {patience}; it is at least 1, or None"
    )


def resolved(config: TrainConfig) -> TrainConfig:
  """Writes out what depends on another option.

  A decay that ends with the run moves when the run gets longer; written out,
  the change shows.
  """
  optimizer = config.optimizer
  if optimizer.decay_steps is None and optimizer.schedule in (
    "cosine",
    "linear",
  ):
    optimizer = dataclasses.replace(optimizer, decay_steps=config.num_steps)
  return dataclasses.replace(config, optimizer=optimizer)
