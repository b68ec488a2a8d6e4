"""The folder of a run."""

import collections
import json

import pytest
import toy_task

from jaxsep import train
from jaxsep.train import workdir as workdir_lib

CONFIG = {"train": {"num_steps": 5, "seed": 1}, "run": {"x": [1, 2]}}


def opened(path, config=CONFIG, **options):
  with workdir_lib.open_workdir(path, config, **options) as folder:
    return folder


def test_config_is_kept_and_compared(tmp_path):
  opened(tmp_path / "new" / "run")
  opened(tmp_path / "new" / "run", {**CONFIG, "run": {"x": (1, 2)}})
  longer = {**CONFIG, "train": {"num_steps": 9, "seed": 1}}
  opened(tmp_path / "new" / "run", longer)
  assert workdir_lib.read_config(tmp_path / "new" / "run") == longer
  with pytest.raises(train.TrainingError) as error:
    opened(tmp_path / "new" / "run", {"train": {"num_steps": 9, "seed": 2}})
  message = str(error.value)
  assert "run.x is null, was [1, 2]; train.seed is 2, was 1" in message
  assert "num_steps" not in message


@pytest.mark.parametrize("name", ["params.safetensors", "thesis.tex"])
def test_folder_of_something_else_is_refused(tmp_path, name):
  (tmp_path / name).write_text("precious")
  with pytest.raises(train.TrainingError, match=f"something else.*{name}"):
    opened(tmp_path)
  assert [p.name for p in tmp_path.iterdir()] == [name]


def test_output_of_the_job_may_lie_there(tmp_path):
  (tmp_path / "slurm.out").write_text("")
  (tmp_path / "train.log").write_text("")
  opened(tmp_path)


@pytest.mark.parametrize("text", ["{", "[1]", '{"format": "model"}'])
def test_foreign_config_is_refused(tmp_path, text):
  (tmp_path / "config.json").write_text(text)
  with pytest.raises(train.TrainingError, match="not the config of a run"):
    opened(tmp_path)
  assert (tmp_path / "config.json").read_text() == text


def test_newer_config_is_refused(tmp_path):
  (tmp_path / "config.json").write_text(
    json.dumps({"format": "jaxsep run", "version": 2})
  )
  with pytest.raises(train.TrainingError, match="newer jaxsep"):
    opened(tmp_path)


def test_unwritable_workdir_is_found_at_once(tmp_path):
  (tmp_path / "file").write_text("")
  for path in (tmp_path / "file", tmp_path / "file" / "run"):
    with pytest.raises(train.TrainingError, match="cannot write to") as error:
      opened(path)
    assert "\n" not in str(error.value)


def test_full_disk_is_found_before_the_first_step(tmp_path, monkeypatch):
  usage = collections.namedtuple("usage", "total used free")
  monkeypatch.setattr(
    workdir_lib.shutil, "disk_usage", lambda path: usage(100, 99, 1_000_000)
  )

  class NoStep(toy_task.ToyTask):
    def loss(self, *args, **options):
      raise AssertionError("a step was taken")

  with pytest.raises(train.TrainingError, match=r"1 MB free.*about 20 MB"):
    train.fit(
      NoStep(),
      workdir=tmp_path,
      config=train.TrainConfig(num_steps=3),
      make_train_batches=toy_task.train_batches,
    )


def test_two_runs_do_not_share_a_folder(tmp_path):
  with workdir_lib.open_workdir(tmp_path, CONFIG):
    with pytest.raises(train.TrainingError, match="another process"):
      opened(tmp_path)
  opened(tmp_path)


def test_replaced_folder_is_whole_or_the_old_one(tmp_path):
  path = tmp_path / "best"
  for text in ("one", "two"):
    with workdir_lib.replaced_folder(path) as folder:
      folder.mkdir()
      (folder / "x").write_text(text)
  assert (path / "x").read_text() == "two"
  with pytest.raises(RuntimeError):
    with workdir_lib.replaced_folder(path) as folder:
      folder.mkdir()
      raise RuntimeError
  assert (path / "x").read_text() == "two"
  # Cut off between the two renames.
  path.rename(tmp_path / ".old-best")
  (tmp_path / "config.json").write_text(
    json.dumps({"format": "jaxsep run", "version": 1, **CONFIG})
  )
  opened(tmp_path)
  assert (path / "x").read_text() == "two"
