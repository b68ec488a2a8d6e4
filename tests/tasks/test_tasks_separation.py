"""The separation task: mixing, permutations, metrics, shapes."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxsep
from jaxsep import losses, metrics, models, simulate, tasks, train
from jaxsep.train import mesh as mesh_lib


class Splitter(nn.Module):
  """A model that knows the answer, in the other order."""

  @nn.compact
  def __call__(self, mixture, *, length=None, train=False):
    # One source is silent in the first half, the other in the second.
    gain = self.param("gain", nn.initializers.ones, ())
    time = mixture.shape[-1]
    late = (jnp.arange(time) >= time // 2).astype(mixture.dtype)[None]
    return gain * jnp.stack([mixture * late, mixture * (1 - late)], axis=1)


def ingredients(size=3, time=80, seed=0):
  rng = np.random.default_rng(seed)
  sources = rng.normal(size=(size, 2, time)).astype(np.float32)
  sources[:, 0, time // 2 :] = 0
  sources[:, 1, : time // 2] = 0
  return {
    "index": np.arange(size, dtype=np.uint32),
    "sources": sources,
    "length": np.full((size, 2), time, np.int32),
    "speaker": np.zeros((size, 2), np.int32),
  }


def small_model(**options):
  masker = models.TemporalConvNet(
    bottleneck_channels=8,
    hidden_channels=16,
    skip_channels=8,
    num_blocks=2,
    num_repeats=1,
    **options,
  )
  return models.ConvTasNet(num_filters=16, masker=masker)


def task_of(model=None, **options):
  return tasks.SeparationTask(
    model=model or Splitter(), sample_rate_hz=8000, **options
  )


def keys_of(batch, *, seed=3, step=0):
  return tasks.Keys.of(jax.random.key(seed), batch["index"], step=step)


def loss_of(task, variables, batch, **options):
  keys = keys_of(batch, **options)
  return jax.jit(task.loss)(variables, batch, keys=keys, step=0)


# Reference.


def test_loss_is_that_of_the_best_permutation():
  task, batch = task_of(small_model()), ingredients()
  variables = task.init(jax.random.key(3), batch)
  mixture = batch["sources"].sum(1)
  estimate = jax.jit(task.model.apply)(variables, mixture)
  expected = [
    min(
      np.mean(
        [
          losses.neg_si_snr(estimate[b, order[s]], batch["sources"][b, s])
          for s in range(2)
        ]
      )
      for order in ((0, 1), (1, 0))
    )
    for b in range(3)
  ]
  value, (changed, extra) = loss_of(task, variables, batch)
  np.testing.assert_allclose(value, expected, rtol=1e-4)
  assert changed == {} and extra == {}


def test_metrics_of_an_exact_estimate_in_the_other_order():
  task, batch = task_of(), ingredients()
  variables = task.init(jax.random.key(3), batch)
  keys = keys_of(batch)
  values = task.evaluate(variables, batch, keys=keys)
  assert float(values["si_sdr"].min()) > 60
  mixture = np.broadcast_to(batch["sources"].sum(1)[:, None], (3, 2, 80))
  before = metrics.si_sdr(mixture, batch["sources"])
  np.testing.assert_allclose(values["mixture_si_sdr"], before, rtol=1e-5)
  np.testing.assert_allclose(
    values["si_sdr_improvement"], values["si_sdr"] - before, rtol=1e-5
  )
  demo = task.demo(variables, batch, keys=keys)
  np.testing.assert_allclose(demo["estimate"], batch["sources"][0], atol=1e-6)


# Laws.


def test_mixtures_do_not_depend_on_the_batch():
  task = task_of(simulation=simulate.Simulation(8000))
  batch = ingredients(size=4)
  variables = task.init(jax.random.key(0), batch)
  part = {name: value[2:] for name, value in batch.items()}
  separate = jax.jit(task.separate)
  whole = separate(variables, batch, keys=keys_of(batch))
  half = separate(variables, part, keys=keys_of(part, step=7))
  np.testing.assert_allclose(
    whole["mixture"][2:], half["mixture"], rtol=1e-5, atol=1e-7
  )
  other = separate(variables, part, keys=keys_of(part, seed=9))
  assert not np.allclose(half["mixture"], other["mixture"])


def test_mixed_and_premixed_batches_agree():
  task, batch = task_of(small_model()), ingredients()
  premixed = {
    "index": batch["index"],
    "mixture": batch["sources"].sum(1),
    "reference": batch["sources"],
    "length": np.full(3, 80, np.int32),
  }
  variables = task.init(jax.random.key(3), premixed)
  one, _ = loss_of(task, variables, batch)
  two, _ = loss_of(task, variables, premixed)
  np.testing.assert_allclose(one, two, rtol=1e-5)
  # Padding has no part in the estimates of an evaluation.
  padded = premixed | {
    name: np.pad(
      premixed[name], [(0, 0)] * (premixed[name].ndim - 1) + [(0, 80)]
    )
    for name in ("mixture", "reference")
  }
  estimates = [
    jax.jit(task.separate)(variables, x, keys=keys_of(x))["estimate"]
    for x in (premixed, padded)
  ]
  np.testing.assert_allclose(estimates[0], estimates[1][..., :80], atol=1e-5)


class Noisy(Splitter):
  """Has dropout, and statistics of its mixtures."""

  @nn.compact
  def __call__(self, mixture, *, length=None, train=False):
    seen = self.variable("batch_stats", "seen", jnp.zeros, ())
    if train:
      seen.value = seen.value + 1
    mixture = nn.Dropout(0.5, deterministic=not train)(mixture)
    return jnp.stack([mixture, 0.5 * mixture], axis=1)


def test_dropout_differs_at_every_step_and_statistics_are_kept():
  task, batch = task_of(Noisy()), ingredients()
  variables = task.init(jax.random.key(3), batch)
  values = [loss_of(task, variables, batch, step=step) for step in (0, 0, 1)]
  np.testing.assert_array_equal(values[0][0], values[1][0])
  assert np.abs(values[0][0] - values[2][0]).min() > 1e-3
  _, (changed, _) = values[0]
  assert changed["batch_stats"]["seen"] == 1
  evaluated = task.evaluate(variables, batch, keys=keys_of(batch))
  again = task.evaluate(variables, batch, keys=keys_of(batch, step=1))
  np.testing.assert_array_equal(evaluated["loss"], again["loss"])


def test_is_a_task():
  assert isinstance(task_of(), tasks.Task)


def test_description_tells_models_losses_and_simulations_apart():
  described = [
    task_of(small_model()).describe(),
    task_of(small_model(causal=True)).describe(),
    task_of(small_model(dtype=jnp.bfloat16)).describe(),
    task_of(small_model(), loss_function=losses.neg_snr).describe(),
    task_of(
      small_model(), loss_function=functools.partial(losses.neg_snr, a=1)
    ).describe(),
    task_of(
      small_model(), loss_function=functools.partial(losses.neg_snr, a=2)
    ).describe(),
    task_of(
      small_model(), simulation=simulate.Simulation(8000, snr_db=(0, 1))
    ).describe(),
  ]
  assert len({str(value) for value in described}) == 7
  with pytest.raises(ValueError, match="lambda"):
    task_of(loss_function=lambda estimate, reference: 0.0).describe()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_learns_a_batch_and_is_saved(tmp_path, dtype):
  batch = ingredients(size=8, time=400)
  task = task_of(small_model(dtype=dtype))
  result = train.fit(
    task,
    workdir=tmp_path,
    config=train.TrainConfig(
      num_steps=60, eval_every=0, log_every=30, tensorboard=False
    ),
    optimizer=optax.adam(5e-3),
    make_train_batches=lambda start: iter([batch] * 99),
    make_eval_batches=lambda: [batch],
    mesh=mesh_lib.make_mesh(jax.devices()[:1]),
  )
  start = task.init(jax.random.key(0), batch)
  before = jax.jit(task.evaluate)(start, batch, keys=keys_of(batch))
  assert result.metrics["loss"] < float(before["loss"].mean()) - 3
  leaves = jax.tree.leaves(result.variables)
  assert all(leaf.dtype == jnp.float32 for leaf in leaves)
  loaded = jaxsep.load(tmp_path)
  assert loaded.model == task.model and loaded.task == "separation"
  assert loaded.sample_rate_hz == 8000 and loaded.metadata["step"] == 60
  for old, new in zip(
    jax.tree.leaves(result.variables),
    jax.tree.leaves(loaded.variables),
    strict=True,
  ):
    np.testing.assert_array_equal(old, new)


# Failures.


def test_batch_without_signals(unchecked):
  batch = {"index": np.arange(2), "mixture": np.zeros((2, 8), np.float32)}
  with pytest.raises(ValueError, match=r"needs sources.*it has index, mixture"):
    loss_of(task_of(), {"params": {"gain": 1.0}}, batch)
