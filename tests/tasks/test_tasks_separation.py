"""The separation task: mixing, permutations, metrics, shapes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsep
from jaxsep import losses, metrics, models, simulate, tasks, train
from jaxsep.train import mesh as mesh_lib
from jaxsep.train.monitor import Monitor


class Splitter:
  """A model that knows the answer, in the other order."""

  def init(self, key, mixture):
    return {"params": {"gain": jnp.ones(())}}

  def apply(self, variables, mixture):
    # One source is silent in the first half, the other in the second.
    gain = variables["params"]["gain"]
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
  return models.ConvTasNet(
    num_filters=16,
    bottleneck_channels=8,
    hidden_channels=16,
    skip_channels=8,
    num_blocks=2,
    num_repeats=1,
    **options,
  )


def task_of(model=None, **options):
  return tasks.SeparationTask(
    model=model or Splitter(), sample_rate_hz=8000, **options
  )


KEY = jax.random.key(3)


# Reference.


def test_loss_is_that_of_the_best_permutation():
  task, batch = task_of(small_model()), ingredients()
  params, state = task.init(KEY, batch)
  mixture = batch["sources"].sum(1)
  estimate = jax.jit(task.model.apply)({"params": params}, mixture)
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
  value, (new_state, extra) = jax.jit(task.loss)(params, state, batch, key=KEY)
  np.testing.assert_allclose(value, expected, rtol=1e-4)
  assert new_state == state == {} and extra == {}


def test_metrics_of_an_exact_estimate_in_the_other_order():
  task, batch = task_of(), ingredients()
  params, state = task.init(KEY, batch)
  values = task.evaluate(params, state, batch, key=KEY)
  assert float(values["si_sdr"].min()) > 60
  mixture = np.broadcast_to(batch["sources"].sum(1)[:, None], (3, 2, 80))
  before = metrics.si_sdr(mixture, batch["sources"]).mean(-1)
  np.testing.assert_allclose(values["mixture_si_sdr"], before, rtol=1e-5)
  np.testing.assert_allclose(
    values["si_sdr_improvement"], values["si_sdr"] - before, rtol=1e-5
  )
  demo = task.demo(params, state, batch, key=KEY)
  np.testing.assert_allclose(demo["estimate"], batch["sources"][0], atol=1e-6)


# Laws.


def test_mixtures_do_not_depend_on_the_batch():
  task = task_of(simulate=simulate.make_simulator())
  batch = ingredients(size=4)
  separate = jax.jit(task.separate)
  whole = separate({"gain": 1.0}, {}, batch, key=KEY)
  part = {name: value[2:] for name, value in batch.items()}
  half = separate({"gain": 1.0}, {}, part, key=KEY)
  np.testing.assert_allclose(
    whole["mixture"][2:], half["mixture"], rtol=1e-5, atol=1e-7
  )
  other = separate({"gain": 1.0}, {}, part, key=jax.random.key(9))
  assert not np.allclose(half["mixture"], other["mixture"])


def test_mixed_and_premixed_batches_agree():
  task, batch = task_of(small_model()), ingredients()
  premixed = {
    "index": batch["index"],
    "mixture": batch["sources"].sum(1),
    "reference": batch["sources"],
    "length": np.full(3, 80, np.int32),
  }
  params, state = task.init(KEY, premixed)
  loss = jax.jit(task.loss)
  one, _ = loss(params, state, batch, key=KEY)
  two, _ = loss(params, state, premixed, key=KEY)
  np.testing.assert_allclose(one, two, rtol=1e-5)
  assert task.num_seconds(batch) == task.num_seconds(premixed) == 0.03


def test_is_a_task():
  assert isinstance(task_of(), tasks.Task)


def test_description_tells_models_and_settings_apart():
  described = [
    task_of(small_model()).describe(),
    task_of(small_model(causal=True)).describe(),
    task_of(small_model(dtype=jnp.bfloat16)).describe(),
    task_of(small_model(), loss_function=losses.neg_snr).describe(),
    task_of(small_model(), settings={"snr_db": [0, 1]}).describe(),
  ]
  assert len({str(value) for value in described}) == 5
  assert described[2]["model"]["dtype"] == "bfloat16"


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_learns_a_batch_and_is_saved(tmp_path, dtype):
  batch = ingredients(size=8, time=400)
  task = task_of(small_model(dtype=dtype))
  result = train.fit(
    task,
    workdir=tmp_path,
    config=train.TrainConfig(
      num_steps=60,
      eval_every=0,
      log_every=30,
      tensorboard=False,
      optimizer=train.OptimizerConfig(learning_rate=5e-3),
    ),
    make_train_batches=lambda start: iter([batch] * 99),
    make_eval_batches=lambda: [batch],
    mesh=mesh_lib.make_mesh(jax.devices()[:1]),
  )
  start = task.init(jax.random.key(0), batch)
  before = jax.jit(task.evaluate)(*start, batch, key=KEY)
  assert result.metrics["loss"] < float(before["loss"].mean()) - 3
  leaves = jax.tree.leaves(result.params)
  assert all(leaf.dtype == jnp.float32 for leaf in leaves)
  loaded = jaxsep.load(tmp_path / "best")
  assert loaded.sample_rate_hz == 8000 and loaded.metadata["step"] == 60
  mixture = batch["sources"].sum(1)
  np.testing.assert_allclose(
    jax.jit(loaded.model.apply)({"params": loaded.params}, mixture),
    jax.jit(task.model.apply)({"params": result.params}, mixture),
    rtol=1e-5,
    atol=1e-6,
  )


# Edge.


def test_evaluation_that_is_not_finite_is_never_the_best():
  task, monitor = task_of(), Monitor()
  config = train.TrainConfig(
    num_steps=9, monitor="si_sdr_improvement", monitor_mode="max"
  )
  evaluate = jax.jit(task.evaluate)
  best = []
  for step, gain in enumerate([jnp.nan, 1.0, jnp.nan]):
    values = evaluate({"gain": gain}, {}, ingredients(), key=KEY)
    means = {name: float(value.mean()) for name, value in values.items()}
    best.append(monitor.update(step, means, config))
  assert best == [False, True, False]


# Failures.


def test_batch_without_signals(unchecked):
  task = task_of()
  batch = {"index": np.arange(2), "mixture": np.zeros((2, 8), np.float32)}
  with pytest.raises(ValueError, match=r"needs sources.*it has index, mixture"):
    task.loss({"gain": 1.0}, {}, batch, key=KEY)


def test_model_folder_has_no_place_for_other_variables(tmp_path):
  with pytest.raises(ValueError, match="not batch_stats"):
    task_of().save(tmp_path / "m", {}, {"batch_stats": {"x": 1}})
