"""The training loop and its side effects.

`fit` trains any `jaxsep.tasks.Task` from an iterator of batches and leaves a
folder with checkpoints, a log and the best model. What varies is the task;
there is one loop.
"""

from jaxsep.train.config import Plateau, TrainConfig
from jaxsep.train.errors import TrainingError
from jaxsep.train.evaluation import Evaluator
from jaxsep.train.loop import fit
from jaxsep.train.memory import keep_freed_memory
from jaxsep.train.state import FitResult, TrainState
from jaxsep.train.workdir import read_config

__all__ = [
  "Evaluator",
  "FitResult",
  "Plateau",
  "TrainConfig",
  "TrainState",
  "TrainingError",
  "fit",
  "keep_freed_memory",
  "read_config",
]
