"""Checkpoints: complete, checked, and clear about what is wrong."""

import errno
import os
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_task

from jaxsep.train import TrainingError, manifest
from jaxsep.train.checkpoint import Checkpoints


def state_at(step, size=100):
  return {
    "step": jnp.int32(step),
    "params": {"w": jnp.full((size,), step, jnp.float32), "b": jnp.ones(())},
    "none": None,
  }


def shapes_of(state):
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding),
    state,
  )


@pytest.fixture
def saved(tmp_path):
  """Three checkpoints, of which two are kept."""
  checkpoints = Checkpoints(tmp_path / "c", keep=2)
  for step in (1, 2, 3):
    checkpoints.save(step, state_at(step), beside={"value": 0.1 * step})
  checkpoints.wait()
  return checkpoints


def reopened(checkpoints, said=None):
  say = print if said is None else said.append
  return Checkpoints(checkpoints.folder, keep=2, say=say)


def test_restores_what_was_saved(saved):
  assert saved.steps == [2, 3]
  again = reopened(saved)
  assert again.newest() == 3
  state, beside = again.restore(3, shapes_of(state_at(0)))
  toy_task.assert_same(state, state_at(3))
  assert beside == {"value": 0.1 * 3}


def test_state_may_be_donated_at_once(tmp_path):
  checkpoints = Checkpoints(tmp_path, keep=1)
  bump = jax.jit(
    lambda tree: jax.tree.map(lambda x: x + 1, tree), donate_argnums=0
  )
  state = state_at(5, size=100_000)
  checkpoints.save(5, state, beside={})
  for _ in range(20):
    state = bump(state)
  checkpoints.wait()
  restored, _ = checkpoints.restore(5, shapes_of(state_at(0, size=100_000)))
  toy_task.assert_same(restored, state_at(5, size=100_000))


def test_protected_steps_stay(saved):
  for step in (4, 5, 6):
    saved.save(step, state_at(step), beside={}, protect=(3,))
  saved.wait()
  assert saved.steps == [3, 5, 6]


def test_step_saved_again_is_replaced(saved):
  saved.save(3, state_at(33), beside={"value": 1})
  saved.wait()
  state, beside = saved.restore(3, shapes_of(state_at(0)))
  assert int(state["step"]) == 33 and beside == {"value": 1}


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_kill_while_a_step_is_saved_again(saved, monkeypatch, renames):
  rename, done = os.rename, []

  def rename_until_killed(source, target):
    if pathlib.Path(source).parent == saved.folder:
      if len(done) == renames:
        raise OSError(errno.EIO, "killed here")
      done.append(target)
    rename(source, target)

  monkeypatch.setattr(os, "rename", rename_until_killed)
  # What a kill leaves: nothing tidies up after it.
  monkeypatch.setattr(shutil, "rmtree", lambda *args, **options: None)
  saved.save(3, state_at(30), beside={})
  if renames < 2:
    with pytest.raises(TrainingError):
      saved.wait()
  saved.wait()
  monkeypatch.undo()
  again = reopened(saved)
  assert again.newest() == 3
  state, _ = again.restore(3, shapes_of(state_at(0)))
  assert int(state["step"]) == (30 if renames == 2 else 3)


def test_nothing_there(tmp_path):
  assert Checkpoints(tmp_path, keep=1).newest() is None


def flip_byte(path):
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes(data)


def largest(folder):
  return max(
    (p for p in folder.rglob("*") if p.is_file()),
    key=lambda p: p.stat().st_size,
  )


@pytest.mark.parametrize(
  ("harm", "reason"),
  [
    (lambda folder: flip_byte(largest(folder)), "has changed"),
    (lambda folder: largest(folder).unlink(), "is missing"),
    (lambda folder: largest(folder).write_bytes(b"x"), "has 1 bytes"),
    (lambda folder: (folder / "manifest.json").unlink(), "cannot be read"),
    (lambda folder: (folder / "manifest.json").write_text("{"), "readable"),
    (lambda folder: shutil.rmtree(folder / "arrays"), "is missing"),
  ],
)
def test_damaged_checkpoint_is_named_and_the_one_before_taken(
  saved, harm, reason
):
  harm(saved.folder / "00000003")
  said = []
  again = reopened(saved, said)
  assert again.newest() == 2
  (line,) = said
  assert "00000003 is damaged" in line and reason in line and "\n" not in line
  # Its step can be saved anew.
  again.save(3, state_at(3), beside={})
  again.wait()
  assert reopened(saved, said).newest() == 3


def test_all_damaged_is_an_error_and_not_a_new_start(saved):
  for step in (2, 3):
    flip_byte(largest(saved.folder / f"{step:08d}"))
  for _ in range(2):
    with pytest.raises(TrainingError, match=r"no usable checkpoint.*remove"):
      reopened(saved).newest()


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (
      lambda s: {**s, "params": {"w": jnp.ones(7), "b": jnp.ones(())}},
      r"params/w is float32\[100\], not float32\[7\]",
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
  with pytest.raises(TrainingError, match=message) as error:
    saved.restore(3, shapes_of(change(state_at(0))))
  assert "\n" not in str(error.value) and "00000003" in str(error.value)


def test_full_disk_keeps_the_checkpoint_before(saved, monkeypatch):
  def full(*args):
    raise OSError(errno.ENOSPC, "No space left on device")

  with monkeypatch.context() as patch:
    patch.setattr(manifest, "flush", full)
    saved.save(4, state_at(4), beside={})
    with pytest.raises(TrainingError) as error:
      saved.wait()
  message = str(error.value)
  assert "No space left" in message and "step 3 is intact" in message
  assert "\n" not in message
  assert not list(saved.folder.glob(".*"))
  assert reopened(saved).newest() == 3


def test_debris_is_cleared(saved):
  for name in (".writing-9", ".discarded-00000001"):
    (saved.folder / name / "arrays").mkdir(parents=True)
  again = reopened(saved)
  assert again.newest() == 3
  assert not list(saved.folder.glob(".*"))


def test_something_to_keep():
  with pytest.raises(ValueError, match="keep_checkpoints is 0"):
    Checkpoints("/nowhere", keep=0)


def test_values_are_exact(saved):
  values = {"best": 0.1 + 0.2, "period": [{"loss": float(np.float32(1 / 3))}]}
  saved.save(7, state_at(7), beside=values)
  saved.wait()
  assert saved.restore(7, shapes_of(state_at(0)))[1] == values
