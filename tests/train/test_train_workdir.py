"""The folder of a run."""

import collections
import json
import sys

import pytest
import toy_task
from etils import epath
from toy_fit import fit

import jaxsep
from jaxsep import train
from jaxsep.train import workdir as workdir_lib
from jaxsep.train import writer as writer_lib

CONFIG = {"train": {"num_steps": 5, "seed": 1}, "run": {"x": [1, 2]}}


def opened(path, config=CONFIG):
  with workdir_lib.open_workdir(path, config) as folder:
    workdir_lib.write_config(folder, config)


def test_config_is_kept_and_compared(tmp_path):
  # The output of a job may lie there.
  (tmp_path / "new/run").mkdir(parents=True)
  (tmp_path / "new/run/slurm.out").write_text("")
  opened(tmp_path / "new" / "run")
  opened(tmp_path / "new" / "run", {**CONFIG, "run": {"x": (1, 2)}})
  longer = {**CONFIG, "train": {"num_steps": 9, "seed": 1}}
  opened(tmp_path / "new" / "run", longer)
  assert train.read_config(tmp_path / "new" / "run") == longer
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


@pytest.mark.parametrize("text", ["{", "[1]", '{"format": "model"}'])
def test_foreign_config_is_refused(tmp_path, text):
  (tmp_path / "config.json").write_text(text)
  with pytest.raises(train.TrainingError, match="not the config of a run"):
    opened(tmp_path)
  assert (tmp_path / "config.json").read_text() == text


def test_unwritable_workdir_is_found_at_once(tmp_path):
  (tmp_path / "file").write_text("")
  for path in (tmp_path / "file", tmp_path / "file" / "run"):
    with pytest.raises(train.TrainingError, match="cannot write to") as error:
      opened(path)
    assert "\n" not in str(error.value)


def test_two_runs_do_not_share_a_folder(tmp_path):
  with workdir_lib.open_workdir(tmp_path, CONFIG):
    with pytest.raises(train.TrainingError, match="another process"):
      opened(tmp_path)
  opened(tmp_path)


class NoStep(toy_task.ToyTask):
  def loss(self, *args, **options):
    raise AssertionError("a step was taken")


def test_full_disk_is_found_before_the_first_step(tmp_path, monkeypatch):
  usage = collections.namedtuple("usage", "total used free")
  monkeypatch.setattr(
    workdir_lib.shutil, "disk_usage", lambda path: usage(100, 99, 1_000_000)
  )
  with pytest.raises(train.TrainingError, match=r"1 MB free.*about 20 MB"):
    fit(tmp_path, task=NoStep())


@pytest.mark.parametrize("scheme", ["gs", "s3", "unknown"])
def test_scheme_that_cannot_be_opened(tmp_path, monkeypatch, scheme):
  monkeypatch.chdir(tmp_path)
  # As where the packages of a bucket are missing.
  for package in ("gcsfs", "s3fs"):
    monkeypatch.setitem(sys.modules, package, None)
  with pytest.raises(train.TrainingError, match=f"open {scheme}://") as error:
    fit(f"{scheme}://bucket/run", task=NoStep())
  assert "\n" not in str(error.value)
  # No folder of that name is made instead.
  assert not list(tmp_path.iterdir())


def test_run_in_a_bucket_goes_on(tmp_path, monkeypatch):
  # A folder that is taken for a bucket: logs are written elsewhere, and are
  # there with every checkpoint.
  for module in (workdir_lib, writer_lib):
    monkeypatch.setattr(module, "is_local", lambda path: False)
  monkeypatch.setattr(workdir_lib, "as_path", epath.Path)
  seen = []

  def batches(start_step):
    for i, batch in enumerate(toy_task.train_batches(start_step), start_step):
      if i == 8:
        text = (tmp_path / "run" / "log.jsonl").read_text()
        seen.extend(json.loads(line)["step"] for line in text.splitlines())
      yield batch

  options = {"make_train_batches": batches, "tensorboard": True}
  for num_steps in (6, 10):
    fit(tmp_path / "run", num_steps=num_steps, **options)
  assert {4, 5, 6} <= set(seen)
  lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
  steps = [json.loads(line)["step"] for line in lines]
  assert steps == [4, 5, 6, 6, 8, 10, 10]
  assert list((tmp_path / "run" / "tensorboard").iterdir())
  loaded = jaxsep.load(tmp_path / "run", model_class=toy_task.ToyModel)
  assert loaded.metadata["step"] == 10
