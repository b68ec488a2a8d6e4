"""Model folders: written, read again, and refused."""

import dataclasses
import hashlib
import json
import os
import pathlib
import sys
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from etils import epath

import jaxsep
from jaxsep import model_io
from jaxsep.models import ConvTasNet, TemporalConvNet


class Net(nn.Module):
  """A user's own model, with all kinds of options and of collections."""

  size: int = 2
  sizes: tuple[int, ...] = (1,)
  limit: float | None = None
  dtype: Any = jnp.float32
  inner: nn.Module | None = None
  act: Any = nn.relu

  def example_inputs(self):
    return {"mixture": jnp.zeros((1, 4))}

  @nn.compact
  def __call__(self, mixture, *, length=None, train=False):
    hidden = nn.Dense(self.size, dtype=self.dtype)(mixture)
    hidden = nn.BatchNorm(use_running_average=not train)(hidden)
    self.variable("constants", "count", lambda: jnp.int32([7]))
    self.variable("loss_params", "temperature", lambda: jnp.ones(2))
    return self.act(hidden) if self.inner is None else self.inner(hidden)


def draw(model):
  """The model and random variables for it."""
  inputs, key = model.example_inputs(), jax.random.key(0)
  shapes = jax.eval_shape(lambda: model.init(key, **inputs))
  generator = np.random.default_rng(0)
  return model, jax.tree.map(
    lambda s: jnp.asarray(generator.normal(size=s.shape), s.dtype), shapes
  )


def check_equal(variables, expected):
  expected = {k: v for k, v in expected.items() if k != "loss_params"}
  assert jax.tree.structure(variables) == jax.tree.structure(expected)
  for ours, theirs in zip(
    jax.tree.leaves(variables), jax.tree.leaves(expected), strict=True
  ):
    assert ours.dtype == theirs.dtype
    assert ours.tobytes() == theirs.tobytes()


@pytest.fixture(scope="module")
def net():
  return draw(Net())


def save(folder, model, variables, *, sample_rate_hz=8000, **options):
  jaxsep.save(
    folder, model, variables, sample_rate_hz=sample_rate_hz, **options
  )


@pytest.fixture
def folder(tmp_path, net):
  save(tmp_path / "model", *net)
  return tmp_path / "model"


def load(folder):
  return jaxsep.load(folder, model_class=Net)


def change_config(folder, **values):
  path = folder / "config.json"
  path.write_text(json.dumps(json.loads(path.read_text()) | values))


def change_arrays(folder, change):
  """Rewrites the variables together with their checksum."""
  path = folder / "params.safetensors"
  arrays = safetensors.numpy.load_file(path)
  change(arrays)
  path.write_bytes(safetensors.numpy.save(arrays))
  digest = hashlib.sha256(path.read_bytes()).hexdigest()
  change_config(folder, params_sha256=digest)


# Laws.


def test_a_separator_comes_back_bit_for_bit(tmp_path):
  masker = TemporalConvNet(num_blocks=1, num_repeats=1, dtype=jnp.bfloat16)
  model, variables = draw(ConvTasNet(num_sources=3, masker=masker))
  about = {
    "sample_rate_hz": 16_000,
    "task": "enhancement",
    "metadata": {"data": ["one", "two"], "score": 9.5},
  }
  jaxsep.save(tmp_path / "a" / "b", model, variables, **about)
  loaded = jaxsep.load(str(tmp_path / "a" / "b"))
  assert loaded.model == model
  assert {name: getattr(loaded, name) for name in about} == about
  assert loaded.folder == epath.Path(tmp_path / "a" / "b")
  check_equal(loaded.variables, variables)


def test_all_collections_but_those_of_the_loss(tmp_path, net):
  # Arrays in another order than C's come back, too.
  strided = jax.tree.map(lambda v: np.asarray(v).T.copy().T, net[1])
  folder = tmp_path / "m"
  save(folder, net[0], strided)
  loaded = load(folder)
  assert loaded.variables.keys() == {"params", "batch_stats", "constants"}
  check_equal(loaded.variables, net[1])
  names = safetensors.numpy.load_file(folder / "params.safetensors").keys()
  assert "params.Dense_0.kernel" in names
  assert "batch_stats.BatchNorm_0.mean" in names


@pytest.mark.parametrize(
  "options",
  [
    {"sizes": (3, (1, None)), "limit": 0.5, "dtype": jnp.bfloat16},
    {"inner": nn.Dense(3, use_bias=False), "sizes": (), "act": jnp.tanh},
  ],
)
def test_every_option_comes_back(tmp_path, options):
  model, variables = draw(Net(**options))
  save(tmp_path / "m", model, variables)
  loaded = jaxsep.load(tmp_path / "m", model_class=[Net, nn.Dense])
  assert loaded.model == model
  assert loaded.model.dtype is model.dtype
  check_equal(loaded.variables, variables)


class Masker(nn.Module):
  """A user's own masker for models of jaxsep, or for an own model."""

  num_outputs: int = 16

  @nn.compact
  def __call__(self, features, *, length=None, train=False):
    return nn.sigmoid(nn.Dense(self.num_outputs)(features))


def test_own_classes_within_others(tmp_path):
  model, variables = draw(Net(inner=Masker()))
  save(tmp_path / "m", model, variables)
  # By name, in any order, among classes that are not needed.
  loaded = jaxsep.load(tmp_path / "m", model_class=(nn.Dense, Masker, Net))
  assert loaded.model == model
  assert type(loaded.model.inner) is Masker
  check_equal(loaded.variables, variables)
  for given, missing in ((Net, "Masker"), (Masker, "Net"), ([], "Masker, Net")):
    expect(tmp_path / "m", f"names the class {missing},", model_class=given)


@pytest.mark.parametrize(
  ("dtype", "stored_as"),
  [(jnp.bfloat16, None), (jnp.float16, None), (jnp.bfloat16, "bfloat16")],
)
def test_half_precision(tmp_path, net, dtype, stored_as):
  """Halves come back as they are; floats stored as halves are floats again."""
  model, variables = net
  halves = jax.tree.map(lambda v: v.astype(dtype), variables)
  expected = halves
  if stored_as:
    # Only what was wider is widened again.
    restore = lambda v, old: v.astype(old.dtype)  # noqa: E731
    expected = jax.tree.map(restore, halves, variables)
    expected["batch_stats"] = halves["batch_stats"]
    halves = variables | {"batch_stats": halves["batch_stats"]}
  save(tmp_path / "m", model, halves, dtype=stored_as)
  check_equal(load(tmp_path / "m").variables, expected)
  arrays = safetensors.numpy.load_file(tmp_path / "m" / "params.safetensors")
  assert arrays["params.Dense_0.kernel"].dtype == dtype


def test_parts_and_files(tmp_path, folder, net):
  (tmp_path / "words.txt").write_text("a b")
  whole, recognizer = tmp_path / "whole", tmp_path / "recognizer"
  files = {"tokenizer.model": tmp_path / "words.txt"}
  save(recognizer, *net, sample_rate_hz=16_000, files=files)
  parts = {"by_path": recognizer, "by_value": load(recognizer)}
  for _ in range(2):
    save(whole, *net, parts=parts, overwrite=True)
  loaded = load(whole)
  assert loaded.parts.keys() == parts.keys()
  for part in loaded.parts.values():
    assert part.sample_rate_hz == 16_000
    assert part.files["tokenizer.model"].read_text() == "a b"
    check_equal(part.variables, net[1])
  # Each part is a model folder of its own; without them, their files go.
  check_equal(load(whole / "by_value").variables, net[1])
  # Parts may have parts.
  parts = {"by_path": whole, "by_value": loaded}
  save(tmp_path / "nested", *net, parts=parts)
  for part in load(tmp_path / "nested").parts.values():
    check_equal(part.parts["by_path"].variables, net[1])
  save(whole, *net, overwrite=True)
  assert sorted(os.listdir(whole)) == ["config.json", "params.safetensors"]


def test_a_part_is_read_when_it_is_needed(tmp_path, net):
  save(tmp_path / "part", *net)
  save(tmp_path / "m", *net, parts={"part": tmp_path / "part"})
  (tmp_path / "m/part/params.safetensors").write_bytes(b"damaged")
  loaded = load(tmp_path / "m")
  check_equal(loaded.variables, net[1])
  with pytest.raises(jaxsep.ModelFolderError, match=r"part/params.*is damaged"):
    print(loaded.parts["part"])
  assert "other" not in loaded.parts


def test_a_run_is_loaded_by_its_folder(tmp_path, net):
  (tmp_path / "config.json").write_text('{"format": "jaxsep run"}')
  with pytest.raises(jaxsep.ModelFolderError, match="saved no model yet"):
    load(tmp_path)
  for rate, name in ((8000, "last"), (16_000, "best")):
    save(tmp_path / name, *net, sample_rate_hz=rate)
    assert load(tmp_path).sample_rate_hz == rate


def test_replaces_a_model_only_when_told(folder, net):
  model, variables = net
  before = (folder / "params.safetensors").read_bytes()
  doubled = jax.tree.map(lambda value: 2 * value, variables)
  with pytest.raises(jaxsep.ModelFolderError, match="overwrite=True"):
    save(folder, model, doubled)
  assert (folder / "params.safetensors").read_bytes() == before
  save(folder, model, doubled, overwrite=True)
  check_equal(load(folder).variables, doubled)
  assert os.listdir(folder.parent) == ["model"]


@pytest.mark.parametrize("step", ["fsync", "rename"])
def test_an_interrupted_write_leaves_the_old_model(
  folder, net, monkeypatch, step
):
  calls, real = [], getattr(os, step)

  def fail(*args):
    calls.append(args)
    # The second renaming is the one that brings in the new folder.
    if len(calls) == 2:
      raise OSError(28, "No space left on device")
    return real(*args)

  with monkeypatch.context() as patch:
    patch.setattr(os, step, fail)
    zeros = jax.tree.map(jnp.zeros_like, net[1])
    with pytest.raises(jaxsep.ModelFolderError, match="No space left"):
      save(folder, net[0], zeros, overwrite=True)
  assert len(calls) >= 2
  check_equal(load(folder).variables, net[1])
  assert os.listdir(folder.parent) == ["model"]


def test_a_bucket_gets_config_json_last(tmp_path, net):
  """A file system without atomic renaming, played by a local folder."""
  opened = []

  def local(original, path, *args, **options):
    path = str(path).replace("gs://bucket", str(tmp_path))
    if args == ("wb",):
      opened.append(pathlib.Path(path).name)
    return original(path, *args, **options)

  names = "open exists isdir listdir makedirs mkdir remove rmtree stat"
  with epath.testing.mock_epath(**dict.fromkeys(names.split(), local)):
    for overwrite in (False, True):
      files = {"notes": __file__}
      save("gs://bucket/run/best", *net, files=files, overwrite=overwrite)
    loaded = load("gs://bucket/run/best")
  assert opened == ["params.safetensors", "notes", "config.json"] * 2
  assert str(loaded.folder) == "gs://bucket/run/best"
  check_equal(loaded.variables, net[1])
  assert sorted(os.listdir(tmp_path / "run")) == ["best"]


@dataclasses.dataclass(frozen=True)
class InSamples:
  """Changes its option, and changes it again when it is read."""

  duration: float

  def __post_init__(self):
    object.__setattr__(self, "duration", 8 * self.duration)


def test_what_can_be_saved_is_known_before(net):
  model, variables = net
  shapes = jax.eval_shape(lambda: variables)
  model_io.check_savable(model, shapes)
  with pytest.raises(ValueError, match=r"Net\.act: .* has no lasting name"):
    model_io.check_savable(Net(act=lambda x: x), shapes)
  with pytest.raises(ValueError, match=r"Dense_0\.bias.* are missing"):
    model_io.check_savable(model, shapes | {"params": {}})
  with pytest.raises(ValueError, match=r"mean has shape \(2,\)"):
    model_io.check_savable(Net(size=3), shapes)
  with pytest.raises(ValueError, match="do not come back"):
    model_io.check_savable(Net(limit=InSamples(4.0)), shapes)
  keys = {"params": {"key": jax.random.key(0)}}
  with pytest.raises(ValueError, match=r"params.key is key<fry>, not one of"):
    model_io.check_savable(nn.Dense(1), keys)


# Failures.


def expect(folder, message, **options):
  with pytest.raises(jaxsep.ModelFolderError, match=message) as caught:
    jaxsep.load(folder, **{"model_class": Net, **options})
  assert "\n" not in str(caught.value)


def test_missing_or_foreign_folder(tmp_path):
  expect(tmp_path / "nothing", "there is no model folder")
  expect("no_such_model", "there is no model folder no_such_model; models that")
  expect(tmp_path, "not a model folder: it has no config.json")
  (tmp_path / "file").write_text("x")
  expect(tmp_path / "file", "is a file, not a model folder")
  for text in ('{"model_type": "bert"}', "[1, 2]"):
    (tmp_path / "config.json").write_text(text)
    expect(tmp_path, "was not written by jaxsep")


@pytest.mark.parametrize("place", ["gs://bucket/model", "ftp://host/model"])
def test_a_bucket_that_cannot_be_opened(place, net, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setitem(sys.modules, "gcsfs", None)
  expect(place, f"cannot open {place}")
  with pytest.raises(jaxsep.ModelFolderError, match=f"cannot open {place}"):
    save(place, *net)
  assert not os.listdir(tmp_path)


def test_a_class_that_is_not_given(folder):
  message = "names the class Net, which is not jaxsep's: load it .*=.Net]"
  expect(folder, message, model_class=None)
  expect(folder, message, model_class=nn.Dense)
  change_config(folder, model={"class": "os.system", "options": {}})
  expect(folder, "names the class os.system")
  change_config(folder, model={})
  expect(folder, "names the class None")


@pytest.mark.parametrize(
  "content", [b"", b'{"format": "jaxsep', b"\x80\x81\x82", b"nul"]
)
def test_damaged_config(folder, content):
  (folder / "config.json").write_bytes(content)
  expect(folder, "config.json is damaged")


@pytest.mark.parametrize(
  ("values", "message"),
  [
    ({"format_version": 99}, "format version 99"),
    ({"model": None}, "damaged: 'model' is None"),
    ({"sample_rate_hz": "8000"}, "damaged: 'sample_rate_hz' is '8000'"),
    ({"sample_rate_hz": -1}, "sample_rate_hz must be a positive integer"),
    ({"model": {"class": "Net", "options": {"bogus": 1}}}, "bogus"),
    ({"model": {"class": "Net", "options": {"size": "8"}}}, "config.json: "),
    ({"files": {"notes": "0"}}, "it has no notes"),
  ],
)
def test_impossible_config(folder, values, message):
  change_config(folder, **values)
  expect(folder, message)


def test_damaged_weights(folder):
  path = folder / "params.safetensors"
  content = path.read_bytes()
  flipped = content[:-3] + bytes([content[-3] ^ 1]) + content[-2:]
  for damaged in (b"", content[:5], content[:-1], flipped):
    path.write_bytes(damaged)
    expect(folder, "params.safetensors is damaged")
  path.unlink()
  expect(folder, "it has no params.safetensors")


def test_weights_of_another_model(folder):
  kernel = "params.Dense_0.kernel"
  path = folder / "params.safetensors"
  saved = safetensors.numpy.load_file(path)[kernel]
  change_arrays(folder, lambda arrays: arrays.pop(kernel))
  expect(folder, f"{kernel} is missing")
  change_arrays(folder, lambda arrays: arrays.update({kernel: saved.T.copy()}))
  expect(folder, r"kernel has shape \(2, 4\), but the model needs \(4, 2\)")
  for dtype, message in (("float64", "stored as F64"), ("int8", "unknown to")):
    extra = {kernel: saved, "params.extra": np.ones(2, dtype)}
    change_arrays(folder, lambda arrays, extra=extra: arrays.update(extra))
    expect(folder, f"extra is {message}")


def test_never_overwrites_other_files(folder, tmp_path, net):
  (folder / ".git").write_text("mine")
  (tmp_path / "file").write_text("mine")
  for place, message in (
    (folder, "holds other files"),
    (tmp_path / "file", "is a file"),
    (tmp_path / "file" / "m", "cannot write"),
  ):
    with pytest.raises(jaxsep.ModelFolderError, match=message):
      save(place, *net, overwrite=True)
  assert (folder / ".git").read_text() == "mine"


@pytest.mark.usefixtures("unchecked")
def test_refuses_what_cannot_be_saved(tmp_path, net):
  model, variables = net
  place = tmp_path / "m"

  def refused(message, *, variables=variables, **options):
    with pytest.raises(ValueError, match=message):
      save(place, model, variables, **options)

  refused("as init returns them", variables={"kernel": jnp.ones(2)})
  refused("must not contain a dot", variables={"params": {"a.b": jnp.ones(2)}})
  doubles = jax.tree.map(lambda v: np.asarray(v, np.float64), variables)
  refused("is float64, not one of float32", variables=doubles)
  refused("metadata cannot be written", metadata={"rng": object()})
  refused("metadata cannot be written", metadata={"score": float("nan")})
  refused('dtype must be None or "bfloat16"', dtype="int8")
  refused("name config.json is taken", files={"config.json": __file__})
  refused("must be a plain name", parts={"../up": tmp_path})
  for rate in (0, -1, 8000.5, True):
    refused("positive integer", sample_rate_hz=rate)
  assert not place.exists()


# Models that ship.


@pytest.mark.parametrize("name", model_io.pretrained())
def test_models_that_ship(name):
  card = model_io.pretrained()[name]
  loaded = jaxsep.load(name)
  assert loaded.folder == card["folder"]
  assert loaded.sample_rate_hz == card["sample_rate_hz"]
  assert loaded.model.num_sources == card["num_sources"]
  assert getattr(loaded.model, "is_causal", False) == card["causal"]
  assert (
    loaded.files["README.md"].read_text().splitlines()[2] == (card["summary"])
  )
  assert card["license"] and card["scores"]
  size = sum(
    path.stat().st_size for path in pathlib.Path(loaded.folder).iterdir()
  )
  assert size <= 5 * 2**20
