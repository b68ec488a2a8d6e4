"""What tasks to come need of the loop, each on a toy.

Dropout, frozen teachers, stages, parameters of a loss, losses over a batch.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy_task
from toy_fit import adam, fit, log_of

import jaxsep
from jaxsep import tasks, train
from jaxsep.train import mesh as mesh_lib
from jaxsep.train.checkpoint import Checkpoints
from jaxsep.train.step import make_init, make_train_step


def load(folder, model_class=toy_task.ToyModel):
  return jaxsep.load(folder, model_class=model_class)


def first_step(task, **options):
  """The function of a step of a task, and the state before the first one."""
  config = train.TrainConfig(num_steps=9, **options)
  mesh = mesh_lib.make_mesh(jax.devices()[:1])
  state, _ = make_init(task, config, adam())(toy_task.batch_at(0), None)
  return make_train_step(task, config, mesh, adam()), state


def compiled(task, frozen=None):
  """The compiled step of a task, and its arguments."""
  step, state = first_step(task)
  return step.lower(state, toy_task.batch_at(0), frozen)


# Examples that do not count.


class Rated(toy_task.ToyTask):
  """Logs a ratio whose examples have weights."""

  def loss(self, variables, batch, **options):
    loss, (changed, _) = super().loss(variables, batch, **options)
    index = batch["index"].astype(jnp.float32)
    return loss, (changed, {"rate": tasks.Mean(index % 3, index + 1)})


def test_masked_examples_are_as_if_they_were_not_there():
  batch = toy_task.batch_at(0)
  mask = np.array([1, 1, 1, 0, 1, 0, 0, 0], bool)
  found = []
  for rows, num_microbatches in (
    ({name: value[mask] for name, value in batch.items()}, 1),
    (batch | {"mask": mask}, 1),
    (batch | {"mask": mask}, 2),
  ):
    step, state = first_step(Rated(), num_microbatches=num_microbatches)
    state, scalars = step(state, rows, None)
    found.append(
      (state.variables, dict(zip(scalars.names, scalars.values, strict=True)))
    )
  # Of the examples 0, 1, 2 and 4.
  np.testing.assert_allclose(found[0][1]["rate"], 4 / (1 + 2 + 3 + 5))
  for other in found[1:]:
    jax.tree.map(
      lambda *both: np.testing.assert_allclose(*both, rtol=1e-4, atol=1e-7),
      found[0],
      other,
    )


# Dropout.


class Drawing(toy_task.ToyTask):
  """Logs numbers drawn for the step and for the examples."""

  def loss(self, variables, batch, *, keys, **options):
    loss, (changed, _) = super().loss(variables, batch, keys=keys, **options)
    of_step = jax.random.uniform(keys.step("dropout"))
    of_example = jax.vmap(jax.random.uniform)(keys.examples)
    return loss, (changed, {"of_step": of_step, "of_example": of_example})


def test_draws_of_a_step_and_of_an_example(tmp_path):
  drawn = {}
  for name, options in {
    "whole": {},
    "devices": {"devices": 8},
    "parts": {"num_microbatches": 2},
  }.items():
    fit(
      tmp_path / name,
      task=Drawing(),
      make_train_batches=lambda _: iter([toy_task.batch_at(0)] * 9),
      num_steps=3,
      log_every=1,
      **options,
    )
    for kind in ("of_step", "of_example"):
      lines = log_of(tmp_path / name, "train")
      drawn[name, kind] = np.array([line[kind] for line in lines])
  # Every step draws anew, the same on any devices; so does every part.
  whole = drawn["whole", "of_step"]
  assert len(set(whole)) == 3
  np.testing.assert_array_equal(whole, drawn["devices", "of_step"])
  assert np.all(np.abs(whole - drawn["parts", "of_step"]) > 1e-3)
  # An example keeps its draws, however its batch is laid out.
  for name in ("whole", "devices", "parts"):
    expected = drawn["whole", "of_example"][0]
    np.testing.assert_allclose(drawn[name, "of_example"], expected, rtol=1e-6)


def test_keys_of_steps_differ_and_those_of_examples_do_not():
  root, index = jax.random.key(0), np.arange(4)

  def words(key):
    return tuple(np.ravel(jax.random.key_data(key)))

  keys = [
    tasks.Keys.of(root, index, step=step, microbatch=part)
    for step in (0, 1)
    for part in (0, 1)
  ]
  names = ("dropout", "masking")
  assert len({words(key.step(name)) for key in keys for name in names}) == 8
  # Examples have the keys that mixtures have always had.
  expected = [jax.random.fold_in(root, i) for i in index]
  for key in keys:
    assert list(map(words, key.examples)) == list(map(words, expected))


def test_evaluation_shares_its_keys_with_no_training_seed():
  index = np.arange(4)
  evaluation = jax.random.key_data(tasks.Keys.evaluation(index).examples)
  for seed in (0, 1, 2**32 - 1):
    keys = tasks.Keys.of(jax.random.key(seed), index, step=0)
    assert not np.any(evaluation == jax.random.key_data(keys.examples))


# Frozen variables.


class Taught(toy_task.ToyTask):
  """Learns what a frozen teacher says."""

  def loss(self, variables, batch, *, keys, step, frozen=None):
    said = self.teacher(batch, frozen)
    output = self.model.apply(variables, batch["x"])
    return jnp.mean(jnp.square(output - said), -1), ({}, {})

  def evaluate(self, variables, batch, *, keys, frozen=None):
    said = self.teacher(batch, frozen)
    output = self.model.apply(variables, batch["x"])
    return {"loss": jnp.mean(jnp.square(output - said), -1)}

  def teacher(self, batch, frozen):
    return (
      jnp.tanh(batch["x"] @ frozen["teacher"]["first"])
      @ (frozen["teacher"]["second"])
    )


def teacher(seed=0):
  rng = np.random.default_rng(seed)
  return {
    "teacher": {
      "first": rng.normal(size=(5, 37)).astype(np.float32),
      "second": rng.normal(size=(37, 3)).astype(np.float32),
    }
  }


def test_frozen_teacher_is_in_no_checkpoint_and_no_constant(tmp_path):
  frozen = teacher()
  result = fit(tmp_path, task=Taught(), frozen=frozen)
  checkpoints = Checkpoints(tmp_path / "checkpoints", keep=2)
  _, arrays, _ = checkpoints.newest()
  checkpoints.close()
  assert arrays and not any(37 in array.shape for array in arrays.values())
  # It is an argument of the step, and nothing of it is written into it.
  text = compiled(Taught(), frozen).as_text()
  assert "tensor<5x37xf32>" in text and "tensor<37x3xf32>" in text
  # Arrays are written as lists or as hexadecimal words.
  assert "dense<[" not in text and 'dense<"' not in text
  # Not donated: the same arrays serve again.
  again = fit(tmp_path, task=Taught(), frozen=frozen, num_steps=12)
  assert int(again.state.step) == 12 and int(result.state.step) == 10
  # Another one is another run, by its values and not by a path.
  with pytest.raises(train.TrainingError, match=r"frozen\.teacher is"):
    fit(tmp_path, task=Taught(), frozen=teacher(seed=1), num_steps=14)
  assert "teacher" in train.read_config(tmp_path)["frozen"]


# Stages.


class Staged(nn.Module):
  """An encoder, which is never in training, under a head of its own.

  Attributes:
    breaks: Whether the encoder has statistics, and NaN as its gradient.
  """

  breaks: bool = False

  @nn.compact
  def __call__(self, x, *, train: bool = False):
    x = toy_task.ToyModel(norm=self.breaks, name="stem")(x)
    return nn.Dense(3, name="head")(bad_gradient(x) if self.breaks else x)


@jax.custom_vjp
def bad_gradient(x):
  return x


bad_gradient.defvjp(lambda x: (x, None), lambda _, slope: (slope * jnp.nan,))


def test_stage_two_starts_from_stage_one(tmp_path, capfd):
  fit(tmp_path / "one", num_steps=5)
  stage_one = load(tmp_path / "one").variables
  whole = {"init_from": stage_one, "num_steps": 1, "optimizer": adam(0.0)}
  result = fit(tmp_path / "whole", **whole)
  toy_task.assert_same(result.variables, stage_one)
  # A part of another model; the rest is fresh.
  task = toy_task.ToyTask(model=Staged())
  part = {"params": {"stem": stage_one["params"]}}
  options = {"task": task, "init_from": part, "optimizer": adam(0.0)}
  capfd.readouterr()
  staged = fit(tmp_path / "part", num_steps=1, **options)
  fresh = task.init(jax.random.key(0), toy_task.batch_at(0))
  toy_task.assert_same(
    staged.variables["params"]["stem"], part["params"]["stem"]
  )
  toy_task.assert_same(
    staged.variables["params"]["head"], fresh["params"]["head"]
  )
  assert "2 of 4 arrays come from init_from (params/stem)" in (
    capfd.readouterr().err
  )
  # A run that goes on does not look at it again.
  options["init_from"] = {"params": {"unknown": np.zeros(3)}}
  again = fit(tmp_path / "part", num_steps=2, **options)
  toy_task.assert_same(again.variables, staged.variables)


def test_fixed_submodule_is_not_trained(tmp_path, capfd):
  task = toy_task.ToyTask(model=Staged(breaks=True))
  given = task.init(jax.random.key(7), toy_task.batch_at(0))["params"]["stem"]
  options = {
    "task": task,
    "optimizer": optax.adamw(1e-2, weight_decay=0.1),
    "fixed": ("stem",),
    "ema_decay": 0.9,
    "init_from": {"params": {"stem": given}},
  }
  whole = fit(tmp_path / "whole", num_steps=6, **options)
  said = capfd.readouterr().err
  assert "40 parameters, 28 of them fixed" in said
  assert "new: batch_stats/stem" in said
  fresh = task.init(jax.random.key(0), toy_task.batch_at(0))
  for variables in (whole.state.variables, whole.variables):
    toy_task.assert_same(variables["params"]["stem"], given)
    toy_task.assert_same(variables["batch_stats"], fresh["batch_stats"])
    kernels = (x["params"]["head"]["kernel"] for x in (variables, fresh))
    assert np.abs(np.subtract(*kernels)).min() > 1e-3
  assert int(whole.state.skipped) == 0
  assert not [x for x in toy_task.arrays(whole.state.opt_state) if "stem" in x]
  # It is in the checkpoints and in the exports, and a run goes on.
  for steps in (3, 6):
    parts = fit(tmp_path / "parts", num_steps=steps, **options)
  toy_task.assert_same(whole.state, parts.state)
  loaded = load(tmp_path / "parts/last", Staged)
  toy_task.assert_same(loaded.variables, whole.variables)
  with pytest.raises(train.TrainingError, match=r"train\.fixed is \[\]"):
    fit(tmp_path / "parts", num_steps=7, **options | {"fixed": ()})
  with pytest.raises(train.TrainingError, match="no params/stem/ou"):
    fit(tmp_path / "unknown", **options | {"fixed": ("stem/ou",)})


def head(kernel=(3, 3), dtype=np.float32):
  return {"bias": np.zeros(3, dtype), "kernel": np.zeros(kernel, dtype)}


@pytest.mark.parametrize(
  ("init_from", "message"),
  [
    ({"params": {"tail": {}}}, "no params/tail"),
    ({"statistics": {}}, "no collection statistics"),
    ({"params": {"head": {"bias": np.zeros(3)}}}, "kernel is missing"),
    ({"params": {"head": head((3, 4))}}, r"float32\[3, 4\], not float32\[3, 3"),
    ({"params": {"head": head(dtype=int)}}, "head/bias is int"),
    ({"params": {"stem": np.zeros(3)}}, "an array in one and a subtree"),
    ({"params": {"head": head(), "stem": {}}}, "params/stem gives no array"),
    ({"params": {"head": head(), "stem": {"out": {}}}}, "gives no array"),
    ({"params": {}}, "params gives no array"),
  ],
)
def test_parts_that_do_not_fit(tmp_path, init_from, message):
  task = toy_task.ToyTask(model=Staged())
  with pytest.raises(train.TrainingError, match=message) as error:
    fit(tmp_path, task=task, init_from=init_from)
  assert "\n" not in str(error.value)
  # The folder is free for the next try.
  assert not (tmp_path / "config.json").exists()


# Parameters of a loss.


class Weighted(toy_task.ToyTask):
  """Its loss learns a temperature."""

  def init(self, key, batch):
    temperature = {"temperature": jnp.float32(1.0)}
    return {**super().init(key, batch), "loss_params": temperature}

  def loss(self, variables, batch, **options):
    loss, rest = super().loss(variables, batch, **options)
    temperature = variables["loss_params"]["temperature"]
    return loss * temperature**2 - jnp.log(temperature), rest


def test_parameters_of_the_loss_are_trained_and_not_exported(tmp_path, capfd):
  result = fit(tmp_path, task=Weighted(), optimizer=adam(0.01), ema_decay=0.9)
  assert "18 parameters and 1 of the loss" in capfd.readouterr().err
  assert float(result.state.variables["loss_params"]["temperature"]) != 1.0
  assert "loss_params" in result.state.ema
  checkpoints = Checkpoints(tmp_path / "checkpoints", keep=2)
  _, arrays, _ = checkpoints.newest()
  checkpoints.close()
  assert "variables/loss_params/temperature" in arrays
  exported = load(tmp_path / "last").variables
  assert set(exported) == {"params"}


# A module of one's own.


def test_own_module_is_trained_saved_and_loaded(tmp_path):
  model = toy_task.ToyModel(norm=True, dropout=0.1)
  result = fit(tmp_path, task=toy_task.ToyTask(model=model))
  loaded = load(tmp_path)
  assert loaded.model == model and loaded.task == "toy"
  assert loaded.metadata["step"] == result.best_step
  assert set(loaded.variables) == {"params", "batch_stats"}
  last = load(tmp_path / "last")
  toy_task.assert_same(last.variables, result.variables)


# Losses over the whole batch.


@dataclasses.dataclass(frozen=True)
class Contrastive(toy_task.ToyTask):
  """Tells every example from all others of its batch."""

  per_example_loss = False

  def loss(self, variables, batch, *, keys, step, frozen=None):
    output = self.model.apply(variables, batch["x"])
    scores = output @ batch["y"].T
    return -jnp.diag(jax.nn.log_softmax(scores)), ({}, {})


def test_loss_over_the_batch_sees_all_of_it(tmp_path):
  runs = [fit(tmp_path / str(n), task=Contrastive(), devices=n) for n in (1, 8)]
  np.testing.assert_allclose(
    runs[0].variables["params"]["out"]["kernel"],
    runs[1].variables["params"]["out"]["kernel"],
    rtol=1e-5,
  )
  with pytest.raises(ValueError, match=r"num_microbatches is 2.*per_example"):
    fit(tmp_path / "parts", task=Contrastive(), num_microbatches=2)


# Losses whose weights move.


def test_loss_knows_the_step(tmp_path):
  class Shifting(toy_task.ToyTask):
    def loss(self, variables, batch, *, step, **options):
      loss, (changed, _) = super().loss(variables, batch, step=step, **options)
      weight = jnp.minimum(step / 4, 1.0)
      return weight * loss, (changed, {"weight": weight})

  fit(tmp_path, task=Shifting(), num_steps=6, log_every=1)
  weights = [line["weight"] for line in log_of(tmp_path, "train")]
  assert weights == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]


def test_task_cannot_log_a_name_of_the_loop():
  class Logging(toy_task.ToyTask):
    def loss(self, variables, batch, **options):
      loss, (changed, _) = super().loss(variables, batch, **options)
      return loss, (changed, {"skipped": loss, "norm": loss})

  with pytest.raises(ValueError, match="cannot log skipped: the loop"):
    compiled(Logging())
