"""Checkpoints: complete, checked, and clear about what is wrong."""

import resource
import shutil
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_task
from toy_fit import checkpoints_of, fit

from jaxsep.train import TrainingError
from jaxsep.train.checkpoint import Checkpoints, unflatten


def state_at(step, size=1000):
  return {
    "step": jnp.int32(step),
    "params": {
      "w": jax.random.normal(jax.random.key(step), (size,)),
      "b": jnp.ones((), jnp.bfloat16),
    },
    "none": None,
  }


def shapes_of(state):
  return jax.eval_shape(lambda: state)


@pytest.fixture
def saved(tmp_path):
  """Three checkpoints, of which two are kept."""
  checkpoints = Checkpoints(tmp_path / "c", keep=2)
  for step in (1, 2, 3):
    # Values come back exactly.
    checkpoints.save(step, state_at(step), beside={"value": 0.1 * step})
  checkpoints.close()
  return tmp_path / "c"


def newest(folder, said=None):
  say = print if said is None else said.append
  checkpoints = Checkpoints(folder, keep=2, say=say)
  try:
    return checkpoints.newest()
  finally:
    checkpoints.close()


def test_restores_what_was_saved(saved):
  step, arrays, beside = newest(saved)
  assert step == 3 and beside == {"value": 0.1 * 3}
  state = unflatten(arrays, shapes_of(state_at(0)))
  toy_task.assert_same(state, state_at(3))
  assert sorted(p.name for p in saved.iterdir()) == ["00000002", "00000003"]


def test_nothing_there(tmp_path):
  assert newest(tmp_path) is None


def test_state_may_be_donated_at_once(tmp_path):
  bump = jax.jit(
    lambda tree: jax.tree.map(lambda x: x + 1, tree), donate_argnums=0
  )
  checkpoints = Checkpoints(tmp_path, keep=1)
  state = state_at(5, size=100_000)
  checkpoints.save(5, state, beside={})
  for _ in range(20):
    state = bump(state)
  checkpoints.close()
  _, arrays, _ = newest(tmp_path)
  expected = state_at(5, size=100_000)
  toy_task.assert_same(unflatten(arrays, shapes_of(expected)), expected)


def flip_byte(path):
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes(data)


def files(folder):
  paths = [p for p in folder.rglob("*") if p.is_file()]
  return sorted(paths, key=lambda p: p.stat().st_size)


@pytest.mark.parametrize(
  "harm",
  [
    lambda folder: flip_byte(files(folder)[-1]),
    lambda folder: files(folder)[-1].unlink(),
    lambda folder: files(folder)[-1].write_bytes(b"x"),
    lambda folder: (folder / "beside" / "metadata").write_text("{"),
    lambda folder: flip_byte(folder / "beside" / "metadata"),
    lambda folder: shutil.rmtree(folder / "arrays"),
  ],
)
def test_damaged_checkpoint_is_named_and_the_one_before_taken(saved, harm):
  harm(saved / "00000003")
  said = []
  assert newest(saved, said)[0] == 2
  (line,) = said
  assert "00000003 is damaged" in line and "\n" not in line
  # Its step can be saved anew.
  checkpoints = Checkpoints(saved, keep=2)
  checkpoints.save(3, state_at(3), beside={})
  checkpoints.close()
  assert newest(saved, said)[0] == 3


def test_all_damaged_is_an_error_and_not_a_new_start(saved):
  for step in (2, 3):
    flip_byte(files(saved / f"{step:08d}")[-1])
  for _ in range(2):
    with pytest.raises(TrainingError, match=r"no usable checkpoint.*remove"):
      newest(saved)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (
      lambda s: {**s, "params": {"w": jnp.ones(7), "b": s["params"]["b"]}},
      r"params/w is float32\[1000\], not float32\[7\]",
    ),
    (
      lambda s: {**s, "step": jnp.float32(0)},
      r"step is int32\[\], not float32\[\]",
    ),
    (lambda s: {**s, "more": jnp.ones(2)}, "more is missing"),
    (lambda s: {"params": s["params"]}, "step is unknown"),
  ],
)
def test_other_state_is_refused_in_one_line(saved, change, message):
  _, arrays, _ = newest(saved)
  with pytest.raises(TrainingError, match=message) as error:
    unflatten(arrays, shapes_of(change(state_at(0))))
  assert "\n" not in str(error.value)


def test_full_disk_keeps_the_checkpoint_before(tmp_path, capfd):
  limits = resource.getrlimit(resource.RLIMIT_FSIZE)
  noise = np.random.default_rng(0).normal(size=200_000).astype(np.float32)

  class Large(toy_task.ToyTask):
    """Has constants that do not fit when the disk is full."""

    def init(self, key, batch):
      return {**super().init(key, batch), "constants": {"large": noise}}

  def batches(start_step):
    for i, batch in enumerate(toy_task.train_batches(start_step), start_step):
      if i == 7:
        # Once the first checkpoint is there, no file can be as large again.
        time.sleep(1)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
      yield batch

  options = {"task": Large(), "make_eval_batches": None}
  try:
    with pytest.raises(TrainingError) as error:
      fit(tmp_path, make_train_batches=batches, **options)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
  message = str(error.value)
  assert "cannot write a checkpoint" in message and "\n" not in message
  assert "step 5 is intact" in message
  assert int(fit(tmp_path, **options).state.step) == 10
  assert checkpoints_of(tmp_path) == [5, 10]
