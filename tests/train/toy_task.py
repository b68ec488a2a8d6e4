"""A task that compiles in no time, and data for it, for the loop's tests."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxsep.tasks import Mean

DIM = 5


class ToyModel(nn.Module):
  """A linear map, normalised and thinned out if asked for.

  Attributes:
    norm: Whether batch statistics normalise the inputs.
    dropout: Share of the inputs that training leaves out.
  """

  norm: bool = False
  dropout: float = 0.0

  @nn.compact
  def __call__(self, x, *, train: bool = False):
    if self.norm:
      x = nn.BatchNorm(not train, momentum=0.9, use_fast_variance=False)(x)
    x = nn.Dropout(self.dropout, deterministic=not train)(x)
    return nn.Dense(3, name="out")(x)


@dataclasses.dataclass(frozen=True)
class ToyTask:
  """Linear regression with noise on the targets, drawn on the device."""

  model: Any = ToyModel()  # noqa: RUF009
  sample_rate_hz: int = 8000
  noise: float = 0.1

  per_example_loss = True

  def init(self, key, batch):
    return dict(self.model.init(key, batch["x"]))

  def error(self, output, batch, keys):
    noise = jax.vmap(lambda k: jax.random.normal(k, (3,)))(keys.examples)
    return output - batch["y"] - self.noise * noise

  def loss(self, variables, batch, *, keys, step, frozen=None):
    names = [name for name in variables if name == "batch_stats"]
    output, changed = self.model.apply(
      variables,
      batch["x"],
      train=True,
      rngs={"dropout": keys.step("dropout")},
      mutable=names,
    )
    error = self.error(output, batch, keys)
    return jnp.mean(jnp.square(error), -1), (changed, {"error": jnp.abs(error)})

  def evaluate(self, variables, batch, *, keys, frozen=None):
    error = self.error(self.model.apply(variables, batch["x"]), batch, keys)
    return {"loss": jnp.mean(jnp.square(error), -1), "error": jnp.abs(error)}

  def demo(self, variables, batch, *, keys, frozen=None):
    return {
      "mixture": jnp.tile(batch["x"][0], 200),
      "estimate": jnp.tile(batch["x"][:2], (1, 200)),
    }

  def describe(self):
    return {"task": "toy", "noise": self.noise}


class Words(ToyTask):
  """Has as many words as its index says, and errs in some of them."""

  def evaluate(self, variables, batch, *, keys, frozen=None):
    values = super().evaluate(variables, batch, keys=keys)
    index = batch["index"].astype(jnp.float32)
    said = jnp.tile(batch["index"][:, None].astype(jnp.int32), (1, 3))
    return {
      "loss": values["loss"],
      "rate": Mean(index % 3, index + 1),
      "said": said,
      "weights": values["error"],
    }

  def summarize(self, rows):
    index = [int(row["index"]) for row in rows]
    # Always the whole set, in its order.
    assert index == list(range(19))
    for row in rows:
      assert row["said"].tolist() == [row["index"]] * 3
      assert row["weights"].shape == (3,) and row["rate"].weight.shape == ()
    return {"wer": sum(int(row["said"][0]) % 4 == 0 for row in rows) / 19}


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
