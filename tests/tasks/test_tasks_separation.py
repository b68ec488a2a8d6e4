"""The separation tasks: mixing, permutations, metrics, levels.

`waveforms` compares signals, `spectra` what a spectrogram model estimates.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxsep
from jaxsep import dsp, losses, metrics, models, simulate, tasks, train
from jaxsep.train import mesh as mesh_lib

TIME = 480


def masker(**options):
  return models.TemporalConvNet(
    bottleneck_channels=8,
    hidden_channels=16,
    skip_channels=8,
    num_blocks=2,
    num_repeats=1,
    **options,
  )


def wave_model(**options):
  return models.ConvTasNet(num_filters=16, masker=masker(**options))


def wave_task(model=None, **options):
  return tasks.SeparationTask(
    model=model or wave_model(), sample_rate_hz=8000, **options
  )


def spectral_task(**options):
  activation = models.SpectrogramTasNet().masker.mask_activation
  model = models.SpectrogramTasNet(
    stft=dsp.Stft(n_fft=64, hop_length=16),
    masker=masker(mask_activation=activation),
  )
  return tasks.SpectrogramSeparationTask(
    model=model, sample_rate_hz=8000, **options
  )


def ingredients(size=3, seed=0):
  """A low and a high tone, taking turns in which comes first."""
  rng = np.random.default_rng(seed)
  phase = rng.uniform(0, 6, size=(size, 2, 1))
  pitch = 2 * np.pi * np.array([[300.0], [2500.0]]) / 8000
  sources = 0.1 * np.sin(pitch * np.arange(TIME) + phase)
  sources[1::2] = sources[1::2, ::-1]
  return {
    "index": np.arange(size, dtype=np.uint32),
    "sources": sources.astype(np.float32),
    "length": np.full((size, 2), TIME, np.int32),
  }


def premixed(batch):
  return {
    "index": batch["index"],
    "mixture": batch["sources"].sum(1),
    "reference": batch["sources"],
    "length": batch["length"].max(1),
  }


def keys_of(batch, *, seed=3, step=0):
  return tasks.Keys.of(jax.random.key(seed), batch["index"], step=step)


class Compiled:
  """A task whose functions are compiled once for all tests."""

  def __init__(self, task):
    self.task = task
    self.variables = jax.jit(task.init)(jax.random.key(3), ingredients())

    def called(function, **options):
      function = jax.jit(function)
      return lambda batch: function(
        self.variables, batch, keys=keys_of(batch), **options
      )

    self.separate, self.evaluate = map(called, (task.separate, task.evaluate))
    loss = called(task.loss, step=0)
    self.loss = lambda batch: loss(batch)[0]


@pytest.fixture(scope="module")
def waveforms():
  return Compiled(wave_task())


@pytest.fixture(scope="module")
def spectra():
  return Compiled(spectral_task())


@pytest.fixture(params=["waveforms", "spectra"])
def compiled(request):
  return request.getfixturevalue(request.param)


def best_order(compare):
  """The smaller of the values of both orders."""
  return min(compare([0, 1]), compare([1, 0]))


# Reference.


def test_loss_is_that_of_the_best_permutation(waveforms):
  batch = ingredients()
  estimate = np.asarray(waveforms.separate(batch)["estimate"])
  expected = [
    best_order(
      lambda order, b=b: np.mean(
        losses.neg_si_snr(estimate[b, order], batch["sources"][b])
      )
    )
    for b in range(3)
  ]
  np.testing.assert_allclose(waveforms.loss(batch), expected, rtol=1e-4)


@pytest.mark.parametrize("name", ["magnitude_l2", "complex_l2"])
def test_loss_is_that_of_the_papers_equation(spectra, name):
  task, batch = spectra.task, ingredients()
  mixture = batch["sources"].sum(1)
  masked = np.asarray(
    jax.jit(functools.partial(task.model.apply, method="estimate_spectra"))(
      spectra.variables, mixture
    )
  )
  clean = np.asarray(task.model.stft(batch["sources"]))
  power = np.mean(np.abs(task.model.stft(mixture)) ** 2, axis=(1, 2))
  value = spectra.loss(batch)
  if name == "magnitude_l2":
    masked, clean = np.abs(masked), np.abs(clean)
  else:
    other = spectral_task(loss_function=losses.complex_l2)
    value, _ = jax.jit(other.loss)(
      spectra.variables, batch, keys=keys_of(batch), step=0
    )
  expected = [
    best_order(
      lambda order, b=b: np.mean(np.abs(masked[b, order] - clean[b]) ** 2)
    )
    / power[b]
    for b in range(3)
  ]
  np.testing.assert_allclose(value, expected, rtol=1e-4)


def test_metrics_are_those_of_the_waveforms(compiled):
  batch = ingredients()
  values, signals = compiled.evaluate(batch), compiled.separate(batch)
  mixture = np.broadcast_to(batch["sources"].sum(1)[:, None], (3, 2, TIME))
  si_sdr = metrics.si_sdr(signals["estimate"], batch["sources"])
  before = metrics.si_sdr(mixture, batch["sources"])
  si_snr = metrics.si_snr(signals["estimate"], batch["sources"])
  expected = {
    "loss": compiled.loss(batch),
    "si_sdr": si_sdr,
    "si_sdr_improvement": si_sdr - before,
    "si_snr_improvement": si_snr - metrics.si_snr(mixture, batch["sources"]),
    "mixture_si_sdr": before,
  }
  assert values.keys() == expected.keys()
  for name, value in expected.items():
    np.testing.assert_allclose(values[name], value, rtol=1e-3, atol=1e-3)


# Laws.


class Splitter(nn.Module):
  """Knows the answer, in the other order; has dropout and statistics."""

  @nn.compact
  def __call__(self, mixture, *, length=None, train=False):
    seen = self.variable("batch_stats", "seen", jnp.zeros, ())
    if train:
      seen.value = seen.value + 1
    mixture = nn.Dropout(0.5, deterministic=not train)(mixture)
    # One source is silent in the first half, the other in the second.
    time = mixture.shape[-1]
    late = (jnp.arange(time) >= time // 2).astype(mixture.dtype)[None]
    return jnp.stack([mixture * late, mixture * (1 - late)], axis=1)


SEEN = {"batch_stats": {"seen": np.float32(0)}}


def test_dropout_differs_at_every_step_and_statistics_are_kept():
  task, batch = wave_task(Splitter()), ingredients()
  batch["sources"][:, 0, TIME // 2 :] = 0
  batch["sources"][:, 1, : TIME // 2] = 0
  loss = jax.jit(task.loss)
  values = [
    loss(SEEN, batch, keys=keys_of(batch, step=step), step=step)
    for step in (0, 0, 1)
  ]
  np.testing.assert_array_equal(values[0][0], values[1][0])
  assert np.abs(values[0][0] - values[2][0]).min() > 1e-3
  _, (changed, extra) = values[0]
  assert changed["batch_stats"]["seen"] == 1 and extra == {}
  # Without dropout it is exact, once it is in the order of the references.
  signals = jax.jit(task.separate)(SEEN, batch, keys=keys_of(batch, step=1))
  np.testing.assert_allclose(signals["estimate"], batch["sources"], atol=1e-6)
  demo = jax.jit(task.demo)(SEEN, batch, keys=keys_of(batch))
  for name, signal in demo.items():
    np.testing.assert_allclose(signal, signals[name][0], atol=1e-6)


def test_mixtures_do_not_depend_on_the_batch():
  task = wave_task(Splitter(), simulation=simulate.Simulation(8000))
  batch = ingredients(size=4) | {"speaker": np.zeros((4, 2), np.int32)}
  mix = jax.jit(functools.partial(task.separate, SEEN))
  part = {name: value[2:] for name, value in batch.items()}
  whole = mix(batch, keys=keys_of(batch))["mixture"]
  half = mix(part, keys=keys_of(part, step=7))["mixture"]
  np.testing.assert_allclose(whole[2:], half, rtol=1e-5, atol=1e-7)
  other = mix(part, keys=keys_of(part, seed=9))["mixture"]
  assert not np.allclose(half, other)


def padded():
  """Sources of three lengths, with an offset that a mean over padding hears."""
  batch, lengths = ingredients(), np.array([TIME, 333, 150], np.int32)
  valid = np.arange(TIME) < lengths[:, None, None]
  sources = np.where(valid, batch["sources"] + np.float32([[0.5], [-0.1]]), 0)
  return batch | {"sources": sources, "length": lengths[:, None].repeat(2, 1)}


def test_padded_examples_count_as_if_they_were_alone(compiled):
  task = compiled.task

  @jax.jit
  def everything(batch):
    given = compiled.variables, batch
    loss, _ = task.loss(*given, keys=keys_of(batch), step=0)
    signals = task.separate(*given, keys=keys_of(batch))
    scores = task.evaluate(*given, keys=keys_of(batch))
    return {"trained": loss, **scores, **signals}

  batch = premixed(padded())
  whole = everything(batch)
  for i, length in enumerate(batch["length"].tolist()):
    alone = {
      name: batch[name][i : i + 1, ..., :length]
      for name in ("mixture", "reference")
    }
    expected = everything(alone | {"index": batch["index"][i : i + 1]})
    for name, value in expected.items():
      got = whole[name][i : i + 1]
      if name in ("mixture", "estimate", "reference"):
        assert not np.any(got[..., length:])
        got = got[..., :length]
      np.testing.assert_allclose(got, value, rtol=1e-3, atol=1e-4, err_msg=name)


def test_lengths_come_from_the_batch_or_the_simulation(waveforms):
  batch = padded()
  expected = waveforms.loss(premixed(batch))
  np.testing.assert_allclose(waveforms.loss(batch), expected, rtol=1e-5)
  simulation = simulate.Simulation(
    8000, overlap="max", level_db=None, snr_db=0.0, peak=None
  )
  loss = jax.jit(wave_task(simulation=simulation).loss)
  value, _ = loss(waveforms.variables, batch, keys=keys_of(batch), step=0)
  mixed = jax.jit(functools.partial(simulate.simulate_batch, simulation))(
    batch, keys=keys_of(batch).examples
  )
  assert mixed["length"].tolist() == [TIME, 333, 150]
  np.testing.assert_allclose(value, waveforms.loss(mixed), rtol=1e-5)
  # Without a simulation, a mixture is as long as its longest source.
  batch = ingredients()
  batch["length"][:, 1] = 333
  signals = waveforms.separate(batch)
  assert signals["length"].tolist() == [TIME] * 3
  np.testing.assert_array_equal(signals["reference"], batch["sources"])


def test_losses_of_ones_own_are_told_the_length_if_they_ask(waveforms):
  """Otherwise they see zeros past it."""
  seen = []

  def plain(estimate, reference):
    return jnp.mean(jnp.square(estimate - reference), axis=-1)

  def asks(estimate, reference, *, length):
    seen.append(length.shape)
    return plain(estimate, reference) * estimate.shape[-1] / length

  batch = padded()
  losses_ = [
    jax.jit(wave_task(loss_function=function).loss)(
      waveforms.variables, batch, keys=keys_of(batch), step=0
    )[0]
    for function in (plain, asks)
  ]
  np.testing.assert_allclose(
    losses_[1], losses_[0] * TIME / batch["length"][:, 0], rtol=1e-6
  )
  assert seen


def test_mixtures_made_beforehand_are_filtered_alike():
  lowpass = simulate.Filter("lowpass", 700)
  simulation = simulate.Simulation(8000, source_filter=lowpass)
  task, batch = wave_task(Splitter(), simulation=simulation), ingredients()
  batch = premixed(batch)
  signals = task.separate(SEEN, batch, keys=keys_of(batch))
  for name in ("mixture", "reference"):
    expected = lowpass(batch[name], sample_rate_hz=8000)
    np.testing.assert_allclose(signals[name], expected, atol=1e-6)
    assert np.abs(signals[name] - batch[name]).max() > 0.05


def test_level_and_order_of_the_sources_do_not_matter(spectra):
  batch = ingredients()
  expected = spectra.loss(batch)
  for level in (1e-2, 10.0):
    other = batch | {"sources": np.float32(level * batch["sources"][:, ::-1])}
    np.testing.assert_allclose(spectra.loss(other), expected, rtol=1e-3)


def added_up(key, ingredients):
  """A simulation of the user's own."""
  sources = ingredients["sources"]
  return {"mixture": jnp.sum(sources, axis=0), "reference": sources}


class Enrolled(nn.Module):
  """Separates by how alike each sample is to an enrolment."""

  @nn.compact
  def __call__(self, mixture, *, enrollment, length=None, train=False):
    seen = nn.Dense(8)(jnp.abs(jnp.fft.rfft(enrollment)))[:, None]
    hidden = nn.tanh(nn.Dense(8)(mixture[..., None]) + seen)
    return jnp.swapaxes(nn.Dense(2)(hidden), 1, 2)


def test_model_with_an_enrolment_is_trained_by_the_stock_task(tmp_path):
  task = wave_task(Enrolled(), conditions=("enrollment",), simulation=added_up)
  batch = ingredients(size=4)
  batch["enrollment"] = batch["sources"][:, 0, :64]
  result = train.fit(
    task,
    workdir=tmp_path,
    config=train.TrainConfig(num_steps=2, eval_every=2, demo_every=1),
    optimizer=optax.adam(1e-2),
    make_train_batches=lambda start: iter([batch] * 9),
    make_eval_batches=lambda: [batch],
    mesh=mesh_lib.make_mesh(jax.devices()[:1]),
  )
  assert np.isfinite(result.metrics["si_sdr"])
  separate = jax.jit(functools.partial(task.separate, result.variables))
  one = separate(batch, keys=keys_of(batch))["estimate"]
  batch["enrollment"] = batch["enrollment"][::-1].copy()
  assert (
    np.abs(separate(batch, keys=keys_of(batch))["estimate"] - one).max() > 0
  )
  del batch["enrollment"]
  with pytest.raises(ValueError, match="batch has no enrollment"):
    task.evaluate(result.variables, batch, keys=keys_of(batch))


def test_description_tells_models_losses_and_simulations_apart():
  neg_snr = functools.partial(losses.neg_snr, eps=1e-3)
  described = [
    task.describe()
    for task in (
      wave_task(),
      wave_task(wave_model(causal=True)),
      wave_task(wave_model(dtype=jnp.bfloat16)),
      wave_task(loss_function=losses.neg_snr),
      wave_task(loss_function=neg_snr),
      wave_task(loss_function=functools.partial(neg_snr, eps=1e-4)),
      wave_task(simulation=simulate.Simulation(8000, snr_db=(0, 1))),
      wave_task(conditions=("enrollment",)),
      spectral_task(),
      spectral_task(loss_function=losses.complex_l2),
    )
  ]
  assert len({str(value) for value in described}) == len(described)
  assert all(isinstance(x, tasks.Task) for x in (wave_task(), spectral_task()))
  with pytest.raises(ValueError, match="lambda"):
    wave_task(loss_function=lambda estimate, reference: 0.0).describe()


# Edge.


def test_silence_has_no_loss_and_finite_gradients(spectra):
  batch = ingredients()
  batch["sources"][0] = 0.0
  batch["sources"][1, 0] = 0.0

  def total(variables):
    keys = keys_of(batch)
    value, _ = spectra.task.loss(variables, batch, keys=keys, step=0)
    return value.sum(), value

  gradient, value = jax.jit(jax.grad(total, has_aux=True))(spectra.variables)
  assert value[0] == 0 and np.isfinite(value).all()
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


# Transform.


@pytest.mark.parametrize(
  ("task", "improvement"),
  [(wave_task(wave_model(dtype=jnp.bfloat16)), 3), (spectral_task(), 10)],
)
def test_learns_a_batch_and_is_saved(tmp_path, task, improvement):
  batch = ingredients(size=4)
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
  assert result.metrics["si_sdr_improvement"] > improvement
  leaves = jax.tree.leaves(result.variables)
  assert all(leaf.dtype == jnp.float32 for leaf in leaves)
  loaded = jaxsep.load(tmp_path)
  assert loaded.model == task.model and loaded.task == "separation"
  assert loaded.sample_rate_hz == 8000 and loaded.metadata["step"] == 80
  assert jax.tree.all(
    jax.tree.map(np.array_equal, result.variables, loaded.variables)
  )


# Failures.


def test_batch_without_signals(unchecked):
  batch = {"index": np.arange(2), "mixture": np.zeros((2, 8), np.float32)}
  with pytest.raises(ValueError, match=r"needs sources.*it has index, mixture"):
    wave_task().evaluate({}, batch, keys=keys_of(batch))


def test_own_simulation_cannot_change_what_is_mixed_already():
  task = wave_task(Splitter(), simulation=lambda key, parts: parts)
  batch = premixed(ingredients())
  with pytest.raises(ValueError, match="no method `filtered`"):
    task.evaluate(SEEN, batch, keys=keys_of(batch))


def test_a_model_without_spectra():
  task = tasks.SpectrogramSeparationTask(
    model=models.ConvTasNet(), sample_rate_hz=8000
  )
  batch = ingredients()
  with pytest.raises(ValueError, match="ConvTasNet estimates no spectra"):
    task.loss({}, batch, keys=keys_of(batch), step=0)
