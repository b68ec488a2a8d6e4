"""Hand-written gradients against those of JAX: time and memory of a step.

A gradient is written by hand in `jaxsep.models` only where it beats plain code,
with and without `jax.checkpoint`. The variants of a row run in turns.

  python -m experiments.benchmarks.gradients
"""

import contextlib
import statistics
from typing import Any

import jax
import jax.numpy as jnp

from experiments.benchmarks.measuring import in_turns
from experiments.command import Parser, run_or_exit
from jaxsep import models

DPTNET = models.DPTNet(filter_length=16, chunk_length=100, padding="both")
#: Model, and the function in it whose gradient is written by hand.
CASES = {
  "ConvTasNet, blocks": (models.ConvTasNet(), "_conv_block"),
  "ConvTasNet, blocks, remat": (
    models.ConvTasNet(masker=models.TemporalConvNet(remat=True)),
    "_conv_block",
  ),
  "DPTNet, LSTM": (DPTNET, "_lstm"),
  "DPTNet, attention": (DPTNET, "recompute"),
  "DPTNet, layers, remat": (DPTNET.clone(remat=True), "recompute"),
}


def plain_lstm(inputs, kernel, bias):
  """States `[D, T, B, H]` of inputs `[D, T, B, K]`, by `jax.lax.scan`."""
  zeros = jnp.zeros((*inputs.shape[::2], bias.shape[-1] // 4))

  def step(carry, x):
    state, cell = carry
    gates = jnp.concatenate([x, state], axis=-1) @ kernel + bias[:, None]
    in_, forget, new, out = jnp.split(gates, 4, axis=-1)
    cell = jax.nn.sigmoid(forget) * cell
    cell += jax.nn.sigmoid(in_) * jnp.tanh(new)
    state = jax.nn.sigmoid(out) * jnp.tanh(cell)
    return (state, cell), state

  _, states = jax.lax.scan(step, (zeros, zeros), jnp.swapaxes(inputs, 0, 1))
  return jnp.swapaxes(states, 0, 1)


@contextlib.contextmanager
def gradient_of_jax(name, policy):
  """Leaves the gradient of the function `name` to JAX while models are traced.

  The policy is `"keep"` for no checkpoint, or one of `jax.checkpoint_policies`.
  """
  call = jax.custom_vjp.__call__

  def replaced(self, *args):
    if self.__name__ != name:
      return call(self, *args)
    function = plain_lstm if name == "_lstm" else self.fun
    if policy == "keep":
      return function(*args)
    keep = getattr(jax.checkpoint_policies, policy)
    static = tuple(self.nondiff_argnums)
    return jax.checkpoint(function, policy=keep, static_argnums=static)(*args)

  jax.custom_vjp.__call__ = replaced
  try:
    yield
  finally:
    jax.custom_vjp.__call__ = call


def compile_step(model, mixture, reference):
  """The compiled gradient of a squared error, with its arguments."""

  def loss(variables):
    return jnp.mean((model.apply(variables, mixture) - reference) ** 2)

  variables = jax.jit(model.init)(jax.random.key(0), **model.example_inputs())
  return jax.jit(jax.grad(loss)).lower(variables).compile(), variables


def run(options):
  """Prints a table."""
  mixture = jax.random.normal(jax.random.key(1), (2, 16_000))
  reference = jax.random.normal(jax.random.key(2), (2, 2, 16_000))
  print(f"{jax.devices()[0]}, 2 x 2 s at 8 kHz, {options.rounds} rounds")
  for case, (model, name) in CASES.items():
    if options.only not in case:
      continue
    steps = {"by hand": compile_step(model, mixture, reference)}
    for policy in ("keep", "dots_saveable", "nothing_saveable"):
      with gradient_of_jax(name, policy):
        steps[policy] = compile_step(model, mixture, reference)
    works = [
      lambda step=step, variables=variables: jax.block_until_ready(
        step(variables)
      )
      for step, variables in steps.values()
    ]
    times = in_turns(options.rounds, *works)
    for (variant, (step, _)), seconds in zip(steps.items(), times, strict=True):
      memory: Any = step.memory_analysis()
      megabytes = memory.temp_size_in_bytes / 1e6
      median = statistics.median(seconds)
      print(f"{case:<28}{variant:<18}{median:>8.3f} s{megabytes:>8.0f} MB")


def main():
  """Runs; an error is one line."""
  parser = Parser(__doc__)
  parser.add("rounds", type=int, least=1, default=7, help="Runs of each.")
  parser.add("only", default="", help="Part of the name of the rows to run.")
  options = parser.parse()
  run_or_exit(lambda: run(options), debug=options.debug)


if __name__ == "__main__":
  main()
