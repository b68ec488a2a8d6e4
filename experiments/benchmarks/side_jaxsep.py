"""Our side of a benchmark of a model; started by peers.py."""

import functools
import os
import sys
from typing import Any

# On a GPU the two sides take turns: neither may hold all of the memory.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.benchmarks import conformer_torch, side
from experiments.benchmarks.measuring import seconds
from jaxsep import losses, models
from jaxsep.train.memory import keep_freed_memory

# What the last forward pass gave.
output: Any = None

MODELS = {
  "ConvTasNet": lambda dtype: models.ConvTasNet(
    masker=models.TemporalConvNet(dtype=dtype)
  ),
  # Asteroid's class, whose features are the filters, with the authors' LSTM.
  "DPTNet": lambda dtype: models.DPTNet(
    num_filters=64,
    filter_length=16,
    feature_size=64,
    chunk_length=100,
    num_blocks=6,
    num_heads=4,
    hidden_size=128,
    norm="global",
    project_features=False,
    chunk_padding="chunk",
    divide_overlap=True,
    dtype=dtype,
  ),
  "ConformerSeparator": lambda dtype: models.ConformerSeparator(dtype=dtype),
}


def prepare(name, batch, samples, dtype, training, compiled):
  """A function that takes a training step, or separates a batch."""
  del compiled  # Ours always is.
  model = MODELS[name](jnp.dtype(dtype))
  mixture, reference = side.signals(batch, samples)
  variables = jax.tree.map(jnp.asarray, _variables(name, model))
  if not training:
    apply = jax.jit(model.apply).lower(variables, mixture).compile()

    def forward():
      global output
      output = jax.block_until_ready(apply(variables, mixture))

    return forward
  optimizer = optax.chain(optax.clip_by_global_norm(5.0), optax.adam(1e-3))
  criterion = losses.permutation_invariant(losses.neg_si_snr)

  @functools.partial(jax.jit, donate_argnums=(0,))
  def step(state, mixture, reference):
    variables, optimizer_state = state

    def loss(params):
      estimate, updated = model.apply(
        variables | {"params": params},
        mixture,
        train=True,
        mutable=["batch_stats"],
      )
      return jnp.mean(criterion(estimate, reference)[0]), updated

    params = variables["params"]
    (value, updated), gradient = jax.value_and_grad(loss, has_aux=True)(params)
    update, optimizer_state = optimizer.update(
      gradient, optimizer_state, params
    )
    params = optax.apply_updates(params, update)
    return (variables | updated | {"params": params}, optimizer_state), value

  state = (variables, optimizer.init(variables["params"]))
  compiled_step = step.lower(state, mixture, reference).compile()

  def run():
    nonlocal state
    state, _ = jax.block_until_ready(compiled_step(state, mixture, reference))

  return run


def _variables(name, model):
  """The peer's own values where the two networks are the same."""
  if name == "ConformerSeparator":
    return conformer_torch.stack_variables(conformer_torch.base_model().network)
  inputs = {"mixture": jnp.zeros((1, 1000))}
  return jax.jit(model.init)(jax.random.key(0), **inputs)


@functools.cache
def matmuls():
  """A large square, and shapes that make up the models."""
  dot = jax.jit(jnp.dot)
  work = []
  for m, k, n in [
    (2048, 2048, 2048),
    (4002, 128, 512),
    (4002, 512, 256),
    (4004, 1024, 256),
  ]:
    pair = jnp.ones((m, k)), jnp.ones((k, n))

    def five(pair=pair):
      for _ in range(5):
        jax.block_until_ready(dot(*pair))

    five()
    work.append((5 * 2 * m * k * n, five))
  return work


def peak():
  """Peak memory: of the device, or of the process on a CPU."""
  stats = jax.devices()[0].memory_stats()
  if jax.default_backend() != "cpu" and stats:
    return stats["peak_bytes_in_use"]
  return side.peak_bytes()


if __name__ == "__main__":
  if "--nokeep_freed_memory" not in sys.argv:
    keep_freed_memory()  # As the training jobs do.
  side.answer(
    prepare,
    peak,
    output=lambda: np.ravel(output)[:1000].tolist(),
    device=lambda: str(jax.devices()[0]),
    matmul=lambda: max(flop / seconds(five) for flop, five in matmuls()),
  )
