"""The compiled functions of training: the first state, and one step."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, PartitionSpec

from jaxsep.tasks import Task
from jaxsep.train import mesh as mesh_lib
from jaxsep.train.config import TrainConfig
from jaxsep.train.optimizer import make_optimizer, make_schedule
from jaxsep.train.state import Scalars, TrainState, pack


def make_init(
  task: Task, config: TrainConfig, mesh: Mesh
) -> Callable[[Any], TrainState]:
  """Makes the function from the shapes of a batch to the first state.

  Args:
    task: What is trained.
    config: Options of the run.
    mesh: Every device of it gets the whole state.

  Returns:
    A compiled function of a pytree of `jax.ShapeDtypeStruct`; its attribute
    `shapes` is the same function without the arithmetic.
  """
  tx = make_optimizer(config.optimizer)

  def init(shapes):
    # Parameters depend on shapes only, and not on how many examples there are.
    batch = {
      name: jnp.zeros((1, *leaf.shape[1:]), leaf.dtype)
      for name, leaf in shapes.items()
    }
    params, model_state = task.init(jax.random.key(config.seed), batch)
    ema = None if config.ema_decay is None else jax.tree.map(jnp.copy, params)
    return TrainState(
      step=jnp.int32(0),
      params=params,
      opt_state=tx.init(params),
      model_state=model_state,
      ema_params=ema,
      lr_scale=jnp.float32(1),
      skipped=jnp.int32(0),
      skipped_in_row=jnp.int32(0),
    )

  def compiled(shapes):
    make = functools.partial(init, shapes)
    return jax.jit(make, out_shardings=mesh_lib.replicated(mesh))()

  compiled.shapes = lambda shapes: jax.eval_shape(lambda: init(shapes))
  return compiled


def make_train_step(
  task: Task, config: TrainConfig, mesh: Mesh
) -> Callable[[TrainState, Any], tuple[TrainState, Scalars]]:
  """Makes the training step, compiled once; it consumes the state it is given.

  An update whose loss or gradient is not finite is not applied: parameters,
  optimizer and model state stay as they were, the counters of the state say
  so, and the step counts as done.

  Args:
    task: What is trained.
    config: Options of the run.
    mesh: The state is on all of it, the batch spread over it.

  Returns:
    A function from a state and a global batch to the next state and scalars:
    `loss`, `grad_norm`, `learning_rate`, `is_finite`, `skipped`,
    `skipped_in_row`, and the mean of every value that the task adds.
  """
  tx = make_optimizer(config.optimizer)
  schedule = make_schedule(config.optimizer, num_steps=config.num_steps)
  gradients = _make_gradients(task, config, mesh)

  def step(state, batch):
    batch = dict(batch)
    stop = batch.pop("stop", None)
    loss, extra, grads, model_state = gradients(state, batch)
    grad_norm = optax.tree.norm(grads)
    is_finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
    rate = schedule(state.step) * state.lr_scale
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    params = jax.tree.map(lambda p, u: p - rate * u, state.params, updates)
    ema = state.ema_params
    if ema is not None:
      ema = _averaged(ema, params, config.ema_decay, state)
    keep = functools.partial(
      jax.tree.map, lambda new, old: jnp.where(is_finite, new, old)
    )
    skip = 1 - is_finite.astype(jnp.int32)
    state = state.replace(
      step=state.step + 1,
      params=keep(params, state.params),
      opt_state=keep(opt_state, state.opt_state),
      model_state=keep(model_state, state.model_state),
      ema_params=keep(ema, state.ema_params),
      skipped=state.skipped + skip,
      skipped_in_row=(state.skipped_in_row + 1) * skip,
    )
    scalars = {
      **extra,
      "loss": loss,
      "grad_norm": grad_norm,
      "learning_rate": rate,
      "is_finite": is_finite,
      "skipped": state.skipped,
      "skipped_in_row": state.skipped_in_row,
    }
    if stop is not None:
      scalars["stop"] = jnp.max(stop)
    return state, pack(scalars)

  return jax.jit(
    step, donate_argnums=0, out_shardings=mesh_lib.replicated(mesh)
  )


def _make_gradients(task, config, mesh):
  """Loss, values and gradient of a batch, in one piece or in several."""

  def total(params, model_state, batch, mask):
    values, (model_state, extra) = task.loss(
      params, model_state, batch, key=jax.random.key(config.seed)
    )
    add = functools.partial(_masked_sum, mask=mask)
    return add(values), (model_state, jax.tree.map(add, dict(extra)))

  grad = jax.value_and_grad(total, has_aux=True)

  def gradients(state, batch):
    size = next(iter(batch.values())).shape[0]
    mask = batch.pop("mask", jnp.ones(size, bool))
    count = jnp.maximum(jnp.sum(mask), 1).astype(jnp.float32)
    parts = config.optimizer.num_microbatches
    if parts == 1:
      (loss, (model_state, extra)), grads = grad(
        state.params, state.model_state, batch, mask
      )
    else:
      split = functools.partial(_split, parts=parts, mesh=mesh)
      loss, extra, grads, model_state = _scan_sum(
        grad, state, jax.tree.map(split, (batch, mask))
      )
    loss, extra, grads = jax.tree.map(
      lambda x: x / count.astype(x.dtype), (loss, extra, grads)
    )
    return loss, extra, grads, model_state

  return gradients


def _masked_sum(values, *, mask):
  return jnp.sum(jnp.where(mask, values.astype(jnp.float32), 0))


def _scan_sum(grad, state, parts):
  """Adds up loss, values and gradients over the parts of a batch."""

  def body(carry, part):
    model_state, sums = carry
    (loss, (model_state, extra)), grads = grad(state.params, model_state, *part)
    return (model_state, jax.tree.map(jnp.add, sums, (loss, extra, grads))), ()

  first = jax.tree.map(lambda x: x[0], parts)
  (loss, (_, extra)), grads = jax.eval_shape(
    grad, state.params, state.model_state, *first
  )
  zeros = jax.tree.map(
    lambda x: jnp.zeros(x.shape, x.dtype), (loss, extra, grads)
  )
  (model_state, sums), () = jax.lax.scan(
    body, (state.model_state, zeros), parts
  )
  return *sums, model_state


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


def _averaged(ema, params, decay, state):
  """The moving average; it forgets faster while the run is young."""
  age = (state.step - state.skipped).astype(jnp.float32)
  decay = jnp.minimum(decay, (1.0 + age) / (10.0 + age))
  return jax.tree.map(lambda e, p: e + (1.0 - decay) * (p - e), ema, params)
