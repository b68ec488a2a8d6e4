"""Tasks that train separators on features, and by a teacher."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mask_model import STFT, Masks

from jaxsep import dsp, losses, tasks
from jaxsep.models.coders import zero_padding

SIZE, TIME = 3, 400


def make(kind, **options):
  return kind(model=Masks(), sample_rate_hz=8000, num_mels=8, **options)


def make_distilled(**options):
  options = {"layer_map": (0, 2)} | options
  return make(tasks.DistillationTask, teacher=Masks(num_layers=3), **options)


@pytest.fixture(scope="module")
def batch():
  rng = np.random.default_rng(0)
  sources = 0.1 * rng.standard_normal((SIZE, 2, TIME)).astype(np.float32)
  # One speaker alone.
  sources[2, 1] = 0
  length = np.array([TIME, 300, TIME])
  return {
    "index": np.arange(SIZE, dtype=np.uint32),
    "sources": np.asarray(zero_padding(sources, length)),
    "length": np.repeat(length[:, None], 2, axis=1).astype(np.int32),
  }


@pytest.fixture(scope="module")
def variables(batch):
  return jax.jit(make(tasks.FeatureSeparationTask).init)(
    jax.random.key(0), batch
  )


@pytest.fixture(scope="module")
def frozen():
  teacher = Masks(num_layers=3)
  init = jax.jit(teacher.init)
  return {"teacher": init(jax.random.key(7), jnp.zeros((1, TIME)))}


def loss_of(task, variables, batch, **options):
  keys = tasks.Keys.of(jax.random.key(3), batch["index"], step=0)
  return compiled(task)(variables, batch, keys=keys, **{"step": 0} | options)


@functools.cache
def compiled(task):
  return jax.jit(task.loss)


@functools.cache
def hidden(model):
  return jax.jit(functools.partial(model.apply, method="hidden"))


def parts_of(variables, batch, model):
  """Masked magnitudes `[B, S, N, F]`, the level of mixtures, and frames."""
  mixture = batch["sources"].sum(1)
  masks, spectrum, found = hidden(model)(
    variables, mixture, length=batch["length"][:, 0]
  )
  num_frames = [STFT.num_frames(int(n)) for n in batch["length"][:, 0]]
  level = [
    np.sqrt(np.mean(np.abs(one[:count]) ** 2))
    for one, count in zip(np.asarray(spectrum), num_frames, strict=True)
  ]
  return np.abs(masks * spectrum[:, None]), level, num_frames, found


@pytest.mark.parametrize("num_mels", [8, None])
@pytest.mark.parametrize("form", ["mse", "fro"])
def test_feature_loss_of_the_best_permutation(batch, variables, num_mels, form):
  task = tasks.FeatureSeparationTask(
    model=Masks(),
    sample_rate_hz=8000,
    num_mels=num_mels,
    loss_function=functools.partial(losses.feature_l2, form=form),
  )
  value, _ = loss_of(task, variables, batch)
  masked, level, num_frames, _ = parts_of(variables, batch, task.model)
  clean = np.abs(STFT(batch["sources"]))
  if num_mels:
    mel = dsp.mel_filterbank(num_mels, n_fft=64, sample_rate_hz=8000)
    masked, clean = masked @ mel, clean @ mel
  for b, count in enumerate(num_frames):
    one, other = masked[b, :, :count], clean[b, :, :count]
    costs = []
    for order in itertools.permutations(range(2)):
      energy = ((one[list(order)] - other) ** 2).sum((1, 2)) / level[b] ** 2
      costs.append(
        np.mean(energy / count if form == "mse" else np.sqrt(energy))
      )
    np.testing.assert_allclose(value[b], min(costs), rtol=1e-4)


def test_a_student_that_does_as_its_teacher(batch, frozen):
  task = make(tasks.DistillationTask, teacher=Masks(), layer_map=(0, 1))
  student = jax.jit(task.init)(jax.random.key(1), batch)
  value, _ = loss_of(task, student, batch, frozen={"teacher": student})
  np.testing.assert_allclose(value, 0.0, atol=1e-9)
  # It follows the order of the teacher, whatever the references are.
  swapped = batch | {"sources": batch["sources"][:, ::-1]}
  one, other = (
    loss_of(make_distilled(), student, x, frozen=frozen)[0]
    for x in (batch, swapped)
  )
  np.testing.assert_allclose(one, other, rtol=1e-4)


def test_distances_from_the_teacher(batch, variables, frozen):
  task = make_distilled(layer_weight=0.5)
  value, _ = loss_of(task, variables, batch, frozen=frozen)
  one, level, num_frames, hidden = parts_of(variables, batch, task.model)
  other, _, _, taught = parts_of(frozen["teacher"], batch, task.teacher)
  mel = dsp.mel_filterbank(8, n_fft=64, sample_rate_hz=8000)
  for b, count in enumerate(num_frames):
    error = ((one[b] - other[b]) @ mel)[:, :count] / level[b]
    expected = (error**2).sum() / count / 2
    error = (hidden - taught[np.array([0, 2])])[:, b, :count]
    expected += 0.5 * (error**2).sum() / count
    np.testing.assert_allclose(value[b], expected, rtol=1e-4)


def test_shifted_objectives(batch, variables, frozen):
  alone, _ = loss_of(make(tasks.FeatureSeparationTask), variables, batch)
  taught, _ = loss_of(make_distilled(), variables, batch, frozen=frozen)
  shift = tasks.ObjectiveShift(slope=0.1, middle=50)
  task = make_distilled(shift=shift)
  for step, weight in ((0, 0.9933), (50, 0.5), (100, 0.0067)):
    value, (_, scalars) = loss_of(
      task, variables, batch, frozen=frozen, step=step
    )
    expected = weight * alone + (1 - weight) * taught
    np.testing.assert_allclose(value, expected, rtol=1e-3)
    np.testing.assert_allclose(scalars["reference_distance"], alone, rtol=1e-4)
  backwards = tasks.ObjectiveShift(0.1, 50, ends_with="reference")
  np.testing.assert_allclose(backwards(60), 1 - shift(60), rtol=1e-5)
  with pytest.raises(ValueError, match="'teacher' or 'reference'"):
    tasks.ObjectiveShift(ends_with="student")


def test_gradients_reach_the_student_alone(batch, variables, frozen):
  task = make_distilled(shift=tasks.ObjectiveShift())

  def total(variables, frozen):
    value, _ = task.loss(
      variables,
      batch,
      keys=tasks.Keys.of(jax.random.key(3), batch["index"], step=0),
      step=150_000,
      frozen=frozen,
    )
    return jnp.sum(value)

  slopes = jax.jit(jax.grad(total))(variables, frozen)["params"]
  for leaf in jax.tree.leaves(slopes):
    assert np.isfinite(leaf).all() and np.asarray(leaf).any()


def test_what_a_student_needs(batch, variables, frozen):
  with pytest.raises(ValueError, match=r"frozen\['teacher'\]"):
    loss_of(make_distilled(), variables, batch)
  other = Masks(stft=dsp.Stft(n_fft=64, hop_length=16))
  task = make(tasks.DistillationTask, teacher=other, layer_map=(0, 1))
  with pytest.raises(ValueError, match="are not the student's"):
    loss_of(task, variables, batch, frozen=frozen)


def test_descriptions_tell_tasks_apart():
  described = [
    task.describe()
    for task in (
      make(tasks.FeatureSeparationTask),
      make_distilled(),
      make_distilled(layer_map=(0, 1)),
      make_distilled(shift=tasks.ObjectiveShift()),
    )
  ]
  for one, other in itertools.combinations(described, 2):
    assert one != other
