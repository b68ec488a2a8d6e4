"""Our side of the ConvTasNet benchmark; started by conv_tasnet.py.

Reads one JSON request a line, does the work once and answers with a line.
"""

import functools
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

# On a GPU the two sides take turns: neither may hold all of the memory.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import jax.numpy as jnp
import optax

from jaxsep import losses
from jaxsep.models import ConvTasNet
from jaxsep.train.memory import keep_freed_memory

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def make_forward(model_class, batch, samples, dtype):
  """Returns a function that separates a random batch once."""
  model = model_class(dtype=DTYPES[dtype])
  mixture = jax.random.normal(jax.random.key(0), (batch, samples))
  params = jax.jit(model.init)(jax.random.key(1), mixture[:, :1000])
  apply = jax.jit(model.apply).lower(params, mixture).compile()
  return lambda: jax.block_until_ready(apply(params, mixture))


def make_training(model_class, batch, samples, dtype):
  """Returns a function that takes one training step."""
  model = model_class(dtype=DTYPES[dtype])
  key, mixture_key, reference_key = jax.random.split(jax.random.key(0), 3)
  mixture = jax.random.normal(mixture_key, (batch, samples))
  reference = jax.random.normal(reference_key, (batch, 2, samples))
  params = jax.jit(model.init)(key, mixture[:, :1000])
  optimizer = optax.chain(optax.clip_by_global_norm(5.0), optax.adam(1e-3))
  criterion = losses.permutation_invariant(losses.neg_si_snr)

  @functools.partial(jax.jit, donate_argnums=(0,))
  def step(state, mixture, reference):
    params, optimizer_state = state

    def loss(params):
      return jnp.mean(criterion(model.apply(params, mixture), reference)[0])

    value, gradient = jax.value_and_grad(loss)(params)
    update, optimizer_state = optimizer.update(
      gradient, optimizer_state, params
    )
    return (optax.apply_updates(params, update), optimizer_state), value

  state = (params, optimizer.init(params))
  compiled = step.lower(state, mixture, reference).compile()

  def run():
    nonlocal state
    state, value = jax.block_until_ready(compiled(state, mixture, reference))
    return value

  return run


def make_matmul():
  """Returns a function that measures the float32 matmul rate, FLOP/s."""
  # A large square, and the two shapes that make up the network.
  shapes = [(2048, 2048, 2048), (4002, 128, 512), (4002, 512, 256)]
  dot = jax.jit(jnp.dot)
  pairs = [(jnp.ones((m, k)), jnp.ones((k, n))) for m, k, n in shapes]
  for pair in pairs:
    jax.block_until_ready(dot(*pair))

  def measure():
    rates = []
    for (m, k, n), pair in zip(shapes, pairs, strict=True):
      start = time.perf_counter()
      for _ in range(5):
        jax.block_until_ready(dot(*pair))
      rates.append(5 * 2 * m * k * n / (time.perf_counter() - start))
    return max(rates)

  return measure


def peak_bytes():
  """Peak memory: of the device, or of the process on a CPU."""
  stats = jax.devices()[0].memory_stats()
  if jax.default_backend() != "cpu" and stats:
    return stats["peak_bytes_in_use"]
  with open("/proc/self/status") as file:
    status = dict(line.split(":", 1) for line in file)
  return int(status["VmHWM"].split()[0]) * 1024


def forget_peak():
  """Lets the peak of the process start over; that of a GPU cannot."""
  with open("/proc/self/clear_refs", "w") as file:
    file.write("5")


def main(model_class: Callable[..., Any] = ConvTasNet) -> None:
  """Answers requests about a model until the input ends."""
  if "--nokeep_freed_memory" not in sys.argv:
    keep_freed_memory()  # As the training jobs do.
  work = {}
  for line in sys.stdin:
    request = json.loads(line)
    if request["do"] == "device":
      answer = {"backend": jax.default_backend(), "name": str(jax.devices()[0])}
    elif request["do"] == "matmul":
      if "matmul" not in work:
        work["matmul"] = make_matmul()
      answer = {"flop_per_s": work["matmul"]()}
    elif request["do"] == "prepare":
      make = make_training if request["training"] else make_forward
      work["run"] = make(
        model_class, request["batch"], request["samples"], request["dtype"]
      )
      for _ in range(2):
        work["run"]()
      forget_peak()
      answer = {}
    else:
      start = time.perf_counter()
      work["run"]()
      answer = {"seconds": time.perf_counter() - start, "peak": peak_bytes()}
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
  main()
