"""The compiled functions of training: the first state, and one step."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, PartitionSpec

from jaxsep.tasks import Keys, Task
from jaxsep.train import mesh as mesh_lib
from jaxsep.train import state as state_lib
from jaxsep.train.config import TrainConfig
from jaxsep.train.state import TrainState, averaged, overlay, trained
from jaxsep.train.variables import merge


def make_init(
  task: Task, config: TrainConfig, optimizer: optax.GradientTransformation
) -> Callable[[Any, Any], tuple[TrainState, list[str]]]:
  """Makes the function from shapes and `init_from` to the first state.

  It also returns the paths that `init_from` gave.
  """

  def init(shapes, init_from):
    # Parameters depend on shapes only, and not on how many examples there are.
    batch = {
      name: jnp.zeros((1, *leaf.shape[1:]), leaf.dtype)
      for name, leaf in shapes.items()
      if name != "mask"
    }
    variables = dict(task.init(jax.random.key(config.seed), batch))
    variables, taken = merge(variables, init_from or {})
    ema = averaged(variables) if config.ema_decay is not None else None
    state = TrainState(
      step=jnp.int32(0),
      variables=variables,
      opt_state=optimizer.init(trained(variables, config.fixed)),
      ema=jax.tree.map(jnp.copy, ema),
      update_scale=jnp.float32(1),
      skipped=jnp.int32(0),
      skipped_in_row=jnp.int32(0),
    )
    return state, taken

  return init


def make_train_step(
  task: Task,
  config: TrainConfig,
  mesh: Mesh,
  optimizer: optax.GradientTransformation,
  schedule: Callable[[Any], Any] | None = None,
) -> Callable[[TrainState, Any, Any], tuple[TrainState, state_lib.Scalars]]:
  """Makes the training step, compiled once; it consumes the state it is given.

  An update whose loss or gradient is not finite is skipped: variables and
  optimizer stay as they were, and the step counts as done.
  """
  gradients = _make_gradients(task, config, mesh)

  def step(state, batch, frozen):
    batch = dict(batch)
    stop = batch.pop("stop", jnp.zeros(()))
    loss, extra, grads, variables = gradients(state, batch, frozen)
    grad_norm = optax.tree.norm(grads)
    is_finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
    before = trained(state.variables, config.fixed)
    updates, opt_state = optimizer.update(grads, state.opt_state, before)
    updates = jax.tree.map(lambda u: state.update_scale * u, updates)
    variables = overlay(variables, optax.apply_updates(before, updates))
    ema = state.ema
    if ema is not None:
      ema = _moved(ema, averaged(variables), config.ema_decay, state)
    keep = functools.partial(
      jax.tree.map, lambda new, old: jnp.where(is_finite, new, old)
    )
    skip = 1 - is_finite.astype(jnp.int32)
    scalars = {"update_scale": state.update_scale}
    if schedule is not None:
      # The optimizer counts the updates that were applied.
      rate = schedule(state.step - state.skipped)
      scalars["learning_rate"] = rate * state.update_scale
    state = state.replace(
      step=state.step + 1,
      variables=keep(variables, state.variables),
      opt_state=keep(opt_state, state.opt_state),
      ema=keep(ema, state.ema),
      skipped=state.skipped + skip,
      skipped_in_row=(state.skipped_in_row + 1) * skip,
    )
    scalars |= {
      "loss": loss,
      "grad_norm": grad_norm,
      "is_finite": is_finite,
      "skipped": state.skipped,
      "skipped_in_row": state.skipped_in_row,
      "stop": jnp.max(stop),
    }
    if taken := extra.keys() & {*scalars, "step", "split"}:
      raise ValueError(
        f"a task cannot log {', '.join(sorted(taken))}: the loop has a value "
        "of this name"
      )
    return state, state_lib.pack(scalars | extra)

  return jax.jit(
    step, donate_argnums=0, out_shardings=mesh_lib.replicated(mesh)
  )


def _make_gradients(task, config, mesh):
  """Loss, values, gradient and changed variables of a batch."""

  def total(weights, others, part, state, frozen):
    batch, mask, microbatch = part
    keys = Keys.of(
      jax.random.key(config.seed),
      batch["index"],
      step=state.step,
      microbatch=microbatch,
    )
    variables = overlay({**state.variables, **others}, weights)
    values, (changed, scalars) = task.loss(
      variables, batch, keys=keys, step=state.step, frozen=frozen
    )
    sums = {
      name: state_lib.reduce(value, mask) for name, value in scalars.items()
    }
    loss, num_kept = state_lib.reduce(values, mask)
    changed = {**others, **jax.lax.stop_gradient(dict(changed))}
    return loss, (changed, ((loss, num_kept), sums))

  grad = jax.grad(total, has_aux=True)

  def gradients(state, batch, frozen):
    mask = batch.pop("mask", jnp.ones(batch["index"].shape, bool))
    weights = trained(state.variables, config.fixed)
    others = {k: x for k, x in state.variables.items() if k not in weights}

    def part_of(others, part):
      return grad(weights, others, part, state, frozen)

    parts = config.num_microbatches
    if parts == 1:
      grads, (others, sums) = part_of(others, (batch, mask, 0))
    else:
      split = functools.partial(_split, parts=parts, mesh=mesh)
      batch, mask = jax.tree.map(split, (batch, mask))
      grads, sums, others = _scan_sum(
        part_of, others, (batch, mask, jnp.arange(parts))
      )
    (loss, count), sums = sums
    means = {name: x / jnp.maximum(n, _TINY) for name, (x, n) in sums.items()}
    count = jnp.maximum(count, 1)
    grads = jax.tree.map(lambda x: x / count.astype(x.dtype), grads)
    return loss / count, means, grads, {**state.variables, **others}

  return gradients


# Avoids a division by zero where no example has weight.
_TINY = 1e-30


def _scan_sum(part_of, others, parts):
  """Adds up gradients and values over the parts of a batch."""

  def body(carry, part):
    others, sums = carry
    grads, (others, values) = part_of(others, part)
    return (others, jax.tree.map(jnp.add, sums, (grads, values))), ()

  first = jax.tree.map(lambda x: x[0], parts)
  grads, (_, values) = jax.eval_shape(part_of, others, first)
  zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (grads, values))
  (others, sums), () = jax.lax.scan(body, (others, zeros), parts)
  return *sums, others


def _split(x, *, parts, mesh):
  """`[B, ...]` to `[parts, B / parts, ...]`, every device keeping its rows."""
  size, rest = x.shape[0], x.shape[1:]
  if size % (parts * mesh.size):
    raise ValueError(
      f"a batch of {size} examples does not split into {parts} parts on each "
      f"of {mesh.size} devices; make batch_size a multiple of "
      f"{parts * mesh.size} or change num_microbatches"
    )
  # Neighbouring rows go to different parts, so that no row changes devices.
  x = x.reshape(size // parts, parts, *rest).swapaxes(0, 1)
  spec = PartitionSpec(None, mesh_lib.AXIS)
  return jax.lax.with_sharding_constraint(
    x, jax.sharding.NamedSharding(mesh, spec)
  )


def _moved(ema, variables, decay, state):
  """The moving average; it forgets faster while the run is young."""
  age = (state.step - state.skipped).astype(jnp.float32)
  decay = jnp.minimum(decay, (1.0 + age) / (10.0 + age))

  def move(old, new):
    if not jnp.issubdtype(new.dtype, jnp.floating):
      return new
    return old + (1.0 - decay).astype(new.dtype) * (new - old)

  return jax.tree.map(move, ema, variables)
