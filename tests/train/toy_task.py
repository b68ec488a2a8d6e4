"""A task that compiles in no time, and data for it, for the loop's tests."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

DIM = 5


@dataclasses.dataclass(frozen=True)
class ToyTask:
  """Linear regression with noise on the targets, drawn on the device."""

  sample_rate_hz: int = 8000
  noise: float = 0.1

  def init(self, key, batch):
    shape = (batch["x"].shape[-1], 3)
    params = {
      "w": jax.random.normal(key, shape),
      "b": jnp.zeros(3),
    }
    return params, {"seen": jnp.float32(0)}

  def _error(self, params, batch, key):
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, batch["index"])
    noise = jax.vmap(lambda k: jax.random.normal(k, (3,)))(keys)
    target = batch["y"] + self.noise * noise
    return batch["x"] @ params["w"] + params["b"][None] - target

  def loss(self, params, model_state, batch, *, key):
    error = self._error(params, batch, key)
    loss = jnp.mean(jnp.square(error), -1)
    state = {"seen": model_state["seen"] + jnp.sum(batch["x"][:, 0])}
    return loss, (state, {"error": jnp.mean(jnp.abs(error), -1)})

  def evaluate(self, params, model_state, batch, *, key):
    error = self._error(params, batch, key)
    return {
      "loss": jnp.mean(jnp.square(error), -1),
      "error": jnp.mean(jnp.abs(error), -1),
    }

  def demo(self, params, model_state, batch, *, key):
    return {
      "mixture": jnp.tile(batch["x"][0], 200),
      "estimate": jnp.tile(batch["x"][:2], (1, 200)),
    }

  def describe(self):
    return {"task": "toy", "noise": self.noise}

  def num_seconds(self, batch):
    return float(len(batch["index"]))

  def save(self, folder, params, model_state, *, metadata=None):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "params.npz", **params)


def batch_at(step, *, size=8, rows=slice(None), offset=0):
  """The batch of a step, a function of the step alone."""
  rng = np.random.default_rng([17, step + offset])
  x = rng.normal(size=(size, DIM)).astype(np.float32)
  y = x[:, :3] * 2 + 1
  index = np.arange(step * size, (step + 1) * size, dtype=np.uint32)
  return {"index": index[rows], "x": x[rows], "y": y[rows]}


def train_batches(start_step):
  """Endless batches."""
  while True:
    yield batch_at(start_step)
    start_step += 1


def eval_batches():
  """Two batches and a part of one."""
  yield batch_at(0, offset=10**6)
  yield batch_at(1, offset=10**6)
  yield batch_at(2, offset=10**6, rows=slice(0, 3))


def arrays(tree):
  """Leaves of a pytree as NumPy arrays by path."""
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {jax.tree_util.keystr(k): np.asarray(v) for k, v in leaves}


def assert_same(one, two):
  """Bit for bit."""
  one, two = arrays(one), arrays(two)
  assert one.keys() == two.keys()
  for name in one:
    np.testing.assert_array_equal(one[name], two[name], err_msg=name)
