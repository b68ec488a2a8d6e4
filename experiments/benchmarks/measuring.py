"""What benchmarks share: cores, medians, targets. Imports no JAX."""

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.cores import allowed_cores


def verdict(is_met: bool, target: str) -> str:
  """The target, and whether it is met: the end of a line."""
  return f"target {target}: {'met' if is_met else 'missed'}"


def keep_to(num_cores: int) -> None:
  """Keeps the process, before it has threads, to some cores; 0 is all."""
  cores = allowed_cores()
  if num_cores > len(cores):
    raise ValueError(f"{num_cores} cores wanted, but there are {len(cores)}")
  if not num_cores or num_cores == len(cores):
    return
  if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, cores[-num_cores:])
  else:
    print(
      f"this system cannot keep a process to {num_cores} of its {len(cores)} "
      "cores: XLA may use more, so the times do not compare"
    )


def seconds(work: Callable[[], Any]) -> float:
  """Seconds that a call takes."""
  start = time.perf_counter()
  work()
  return time.perf_counter() - start


def in_turns(repeats: int, *works: Callable[[], Any]) -> list[list[float]]:
  """Seconds of the calls of each, in turns, after one call that is not timed.

  A change in the machine's speed then meets all of them.
  """
  for work in works:
    work()
  rounds = [[seconds(work) for work in works] for _ in range(repeats)]
  return [list(times) for times in zip(*rounds, strict=True)]


def random_variables(model: Any) -> Any:
  """Variables of a Flax model at random, in place of a trained model's.

  Nothing is compiled: `init` of many layers can take minutes.
  """
  import jax
  import jax.numpy as jnp

  rng = np.random.default_rng(0)

  def drawn(path, leaf):
    if path[-1].key in ("scale", "var"):
      return jnp.ones(leaf.shape, leaf.dtype)
    return jnp.asarray(rng.normal(0, 0.05, leaf.shape), leaf.dtype)

  inputs = model.example_inputs()
  shapes = jax.eval_shape(model.init, jax.random.key(0), **inputs)
  return jax.tree_util.tree_map_with_path(drawn, shapes)
