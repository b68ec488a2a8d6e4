"""Training on spectra: the loss, its permutation and its level."""

import jax
import numpy as np
import optax
import pytest

from jaxsep import dsp, losses, metrics, models, simulate, tasks, train
from jaxsep.train import mesh as mesh_lib


def keys_of(batch):
  return tasks.Keys.of(jax.random.key(3), batch["index"], step=0)


def loss_of(task, variables, batch):
  return jax.jit(task.loss)(variables, batch, keys=keys_of(batch), step=0)


def small_model(**options):
  masker = models.TemporalConvNet(
    bottleneck_channels=8,
    hidden_channels=16,
    skip_channels=8,
    num_blocks=2,
    num_repeats=1,
    mask_activation=models.SpectrogramTasNet().masker.mask_activation,
  )
  return models.SpectrogramTasNet(
    stft=dsp.Stft(n_fft=64, hop_length=16), masker=masker, **options
  )


def task_of(**options):
  return tasks.SpectrogramSeparationTask(
    model=small_model(), sample_rate_hz=8000, **options
  )


def ingredients(size=3, time=480, seed=0):
  """A low and a high voice, taking turns in which comes first."""
  rng = np.random.default_rng(seed)
  phase = rng.uniform(0, 6, size=(size, 2, 1))
  pitch = 2 * np.pi * np.array([[300.0], [2500.0]]) / 8000
  sources = 0.1 * np.sin(pitch * np.arange(time) + phase)
  sources[1::2] = sources[1::2, ::-1]
  return {
    "index": np.arange(size, dtype=np.uint32),
    "sources": sources.astype(np.float32),
    "length": np.full((size, 2), time, np.int32),
  }


# Reference.


@pytest.mark.parametrize("name", ["magnitude_l2", "complex_l2"])
def test_loss_is_that_of_the_papers_equation(name):
  task, batch = task_of(loss_function=getattr(losses, name)), ingredients()
  variables = task.init(jax.random.key(3), batch)
  mixture = batch["sources"].sum(1)
  masked = np.asarray(
    jax.jit(lambda p, x: task.model.apply(p, x, method="estimate_spectra"))(
      variables, mixture
    )
  )
  clean = np.asarray(task.model.analyze(batch["sources"]))
  power = np.mean(np.abs(task.model.analyze(mixture)) ** 2, axis=(1, 2))
  if name == "magnitude_l2":
    masked, clean = np.abs(masked), np.abs(clean)
  expected = [
    min(
      np.mean(np.abs(masked[b, list(order)] - clean[b]) ** 2)
      for order in ((0, 1), (1, 0))
    )
    / power[b]
    for b in range(3)
  ]
  value, (changed, extra) = loss_of(task, variables, batch)
  np.testing.assert_allclose(value, expected, rtol=1e-4)
  assert changed == {} and extra == {}


def test_metrics_are_those_of_the_waveforms():
  task, batch = task_of(), ingredients()
  variables = task.init(jax.random.key(3), batch)
  values = jax.jit(task.evaluate)(variables, batch, keys=keys_of(batch))
  signals = jax.jit(task.separate)(variables, batch, keys=keys_of(batch))
  mixture = batch["sources"].sum(1)
  estimate = jax.jit(task.model.apply)(variables, mixture)
  np.testing.assert_allclose(
    np.sort(signals["estimate"].sum(-1)), np.sort(estimate.sum(-1)), atol=1e-4
  )
  si_sdr = metrics.si_sdr(signals["estimate"], batch["sources"])
  np.testing.assert_allclose(values["si_sdr"], si_sdr, rtol=1e-3, atol=1e-3)
  loss, _ = loss_of(task, variables, batch)
  np.testing.assert_allclose(values["loss"], loss, rtol=1e-5)
  assert set(values) == {
    "loss",
    "si_sdr",
    "si_sdr_improvement",
    "si_snr_improvement",
    "mixture_si_sdr",
  }


# Laws.


def test_level_and_order_of_the_sources_do_not_matter():
  task, batch = task_of(), ingredients()
  variables = task.init(jax.random.key(3), batch)
  expected, _ = loss_of(task, variables, batch)
  for level in (1e-2, 10.0):
    other = batch | {"sources": np.float32(level * batch["sources"][:, ::-1])}
    value, _ = loss_of(task, variables, other)
    np.testing.assert_allclose(value, expected, rtol=1e-3)


def test_is_a_task_that_tells_its_losses_apart():
  described = [
    task_of().describe(),
    task_of(loss_function=losses.complex_l2).describe(),
  ]
  assert isinstance(task_of(), tasks.Task)
  assert described[0] != described[1]


@pytest.mark.parametrize("name", ["spectra", "waveforms"])
def test_mixtures_made_beforehand_are_filtered_alike(name):
  chosen = simulate.Filter("lowpass", 700)
  task_class = tasks.SeparationTask
  if name == "spectra":
    task_class = tasks.SpectrogramSeparationTask
  task = task_class(
    model=small_model(),
    sample_rate_hz=8000,
    simulation=simulate.Simulation(8000, source_filter=chosen),
  )
  sources = ingredients()["sources"]
  premixed = {
    "index": np.arange(3),
    "mixture": sources.sum(1),
    "reference": sources,
    "length": np.full(3, 480, np.int32),
  }
  variables = task.init(jax.random.key(3), premixed)
  signals = jax.jit(task.separate)(variables, premixed, keys=keys_of(premixed))
  for name in ("mixture", "reference"):
    expected = chosen(premixed[name], sample_rate_hz=8000)
    np.testing.assert_allclose(signals[name], expected, atol=1e-6)
    assert np.abs(signals[name] - premixed[name]).max() > 0.05
  np.testing.assert_allclose(
    signals["mixture"], signals["reference"].sum(1), atol=1e-6
  )


# Edge.


def test_silence_has_no_loss_and_finite_gradients():
  task, batch = task_of(), ingredients()
  variables = task.init(jax.random.key(3), batch)
  batch["sources"][0] = 0.0
  batch["sources"][1, 0] = 0.0

  def total(variables):
    value, _ = task.loss(variables, batch, keys=keys_of(batch), step=0)
    return value.sum(), value

  gradient, value = jax.jit(jax.grad(total, has_aux=True))(variables)
  assert value[0] == 0 and np.isfinite(value).all()
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


# Transform.


def test_learns_a_batch(tmp_path):
  batch = ingredients(size=4)
  task = task_of()
  result = train.fit(
    task,
    workdir=tmp_path,
    config=train.TrainConfig(
      num_steps=80, eval_every=0, log_every=40, tensorboard=False
    ),
    optimizer=optax.adam(1e-2),
    make_train_batches=lambda start: iter([batch] * 99),
    make_eval_batches=lambda: [batch],
    mesh=mesh_lib.make_mesh(jax.devices()[:1]),
  )
  assert result.metrics["loss"] < 0.02
  assert result.metrics["si_sdr_improvement"] > 10


# Failure.


def test_a_model_without_spectra():
  task = tasks.SpectrogramSeparationTask(
    model=models.ConvTasNet(), sample_rate_hz=8000
  )
  with pytest.raises(ValueError, match="ConvTasNet estimates no spectra"):
    loss_of(task, {}, ingredients())
