"""Our side of a benchmark of a model; started by peers.py."""

import functools
import os
import sys

# On a GPU the two sides take turns: neither may hold all of the memory.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import jax.numpy as jnp
import optax

from experiments.benchmarks import side
from experiments.benchmarks.measuring import seconds
from jaxsep import losses, models
from jaxsep.train.memory import keep_freed_memory

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
}


def prepare(name, batch, samples, dtype, training, compiled):
  """A function that takes a training step, or separates a batch."""
  del compiled  # Ours always is.
  model = MODELS[name](jnp.dtype(dtype))
  key, mixture_key, reference_key = jax.random.split(jax.random.key(0), 3)
  mixture = jax.random.normal(mixture_key, (batch, samples))
  reference = jax.random.normal(reference_key, (batch, 2, samples))
  variables = jax.jit(model.init)(key, mixture[:, :1000])
  if not training:
    apply = jax.jit(model.apply).lower(variables, mixture).compile()
    return lambda: jax.block_until_ready(apply(variables, mixture))
  optimizer = optax.chain(optax.clip_by_global_norm(5.0), optax.adam(1e-3))
  criterion = losses.permutation_invariant(losses.neg_si_snr)

  @functools.partial(jax.jit, donate_argnums=(0,))
  def step(state, mixture, reference):
    variables, optimizer_state = state

    def loss(variables):
      estimate = model.apply(variables, mixture)
      return jnp.mean(criterion(estimate, reference)[0])

    value, gradient = jax.value_and_grad(loss)(variables)
    update, optimizer_state = optimizer.update(
      gradient, optimizer_state, variables
    )
    return (optax.apply_updates(variables, update), optimizer_state), value

  state = (variables, optimizer.init(variables))
  compiled_step = step.lower(state, mixture, reference).compile()

  def run():
    nonlocal state
    state, _ = jax.block_until_ready(compiled_step(state, mixture, reference))

  return run


@functools.cache
def matmuls():
  """A large square, and the two shapes that make up ConvTasNet."""
  dot = jax.jit(jnp.dot)
  work = []
  for m, k, n in [(2048, 2048, 2048), (4002, 128, 512), (4002, 512, 256)]:
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
    device=lambda: str(jax.devices()[0]),
    matmul=lambda: max(flop / seconds(five) for flop, five in matmuls()),
  )
