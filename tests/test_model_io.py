import hashlib
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

import jaxsep
from jaxsep.models import ConvTasNet, TemporalConvNet

OPTIONS = {
  "num_filters": 8,
  "bottleneck_channels": 4,
  "hidden_channels": 8,
  "skip_channels": 4,
  "num_blocks": 1,
  "num_repeats": 2,
}


def make(dtype=jnp.float32, **options):
  model = ConvTasNet(**OPTIONS, **options)
  shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 20)))
  generator = np.random.default_rng(0)
  draw = lambda s: jnp.asarray(generator.standard_normal(s.shape), dtype)  # noqa: E731
  return model, jax.tree.map(draw, shapes["params"])


@pytest.fixture(scope="module")
def model_and_params():
  return make()


@pytest.fixture
def folder(tmp_path, model_and_params):
  jaxsep.save(tmp_path / "model", *model_and_params, sample_rate_hz=8000)
  return tmp_path / "model"


def change_config(folder, **values):
  path = folder / "config.json"
  path.write_text(json.dumps(json.loads(path.read_text()) | values))


def change_params(folder, change):
  """Rewrites the parameters together with their checksum."""
  path = folder / "params.safetensors"
  arrays = safetensors.numpy.load_file(path)
  change(arrays)
  path.write_bytes(safetensors.numpy.save(arrays))
  digest = hashlib.sha256(path.read_bytes()).hexdigest()
  change_config(folder, params_sha256=digest)


# Laws.


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_comes_back_bit_for_bit(tmp_path, dtype):
  model, params = make(dtype, num_sources=3)
  jaxsep.save(
    tmp_path / "a" / "b",
    model,
    params,
    sample_rate_hz=16_000,
    task="enhancement",
    metadata={"data": ["one", "two"], "score": 9.5},
  )
  loaded = jaxsep.load(str(tmp_path / "a" / "b"))
  assert loaded.model == model
  assert loaded.sample_rate_hz == 16_000
  assert loaded.task == "enhancement"
  assert loaded.metadata == {"data": ["one", "two"], "score": 9.5}
  assert jax.tree.structure(loaded.params) == jax.tree.structure(params)
  for ours, theirs in zip(
    jax.tree.leaves(loaded.params), jax.tree.leaves(params), strict=True
  ):
    assert ours.dtype == theirs.dtype == dtype
    assert ours.tobytes() == theirs.tobytes()


def test_every_option_comes_back(tmp_path):
  options = {"mask_activation": None, "encoder_activation": "relu"}
  model, params = make(**options, remat=True)
  model = model.clone(dtype=jnp.bfloat16)
  jaxsep.save(tmp_path / "m", model, params, sample_rate_hz=8000)
  loaded = jaxsep.load(tmp_path / "m").model
  assert loaded == model
  assert loaded.dtype is jnp.bfloat16
  assert loaded.remat and loaded.mask_activation is None


def test_names_are_dotted_paths(folder):
  names = safetensors.numpy.load_file(folder / "params.safetensors").keys()
  assert "masker.block_1.heads.kernel" in names
  assert "encoder.kernel" in names


def test_transposed_and_numpy_parameters(tmp_path, model_and_params):
  model, params = model_and_params
  strided = jax.tree.map(lambda v: np.asarray(v).T.copy().T, params)
  jaxsep.save(tmp_path / "m", model, strided, sample_rate_hz=8000)
  loaded = jaxsep.load(tmp_path / "m").params
  jax.tree.map(np.testing.assert_array_equal, loaded, params)


def test_replaces_a_model_only_when_told(folder, model_and_params):
  model, params = model_and_params
  before = (folder / "params.safetensors").read_bytes()
  doubled = jax.tree.map(lambda value: 2 * value, params)
  with pytest.raises(jaxsep.ModelFolderError, match="overwrite=True"):
    jaxsep.save(folder, model, doubled, sample_rate_hz=8000)
  assert (folder / "params.safetensors").read_bytes() == before
  jaxsep.save(folder, model, doubled, sample_rate_hz=8000, overwrite=True)
  loaded = jaxsep.load(folder).params
  jax.tree.map(np.testing.assert_array_equal, loaded, doubled)
  assert os.listdir(folder.parent) == ["model"]


def test_an_interrupted_write_leaves_the_old_model(
  folder, model_and_params, monkeypatch
):
  model, params = model_and_params
  for step in ("fsync", "rename"):
    calls, real = [], getattr(os, step)

    def fail(*args, step=step, calls=calls, real=real):
      calls.append(args)
      # The second renaming is the one that brings in the new folder.
      if len(calls) == 2:
        raise OSError(28, "No space left on device")
      return real(*args)

    with monkeypatch.context() as patch:
      patch.setattr(os, step, fail)
      with pytest.raises(jaxsep.ModelFolderError, match="No space left"):
        jaxsep.save(
          folder,
          model,
          jax.tree.map(jnp.zeros_like, params),
          sample_rate_hz=8000,
          overwrite=True,
        )
    assert len(calls) >= 2
    loaded = jaxsep.load(folder).params
    jax.tree.map(np.testing.assert_array_equal, loaded, params)
    assert os.listdir(folder.parent) == ["model"]


def test_losses_load_without_models():
  code = (
    "import sys; from jaxsep import losses; "
    "assert not {'flax', 'jaxsep.model_io', 'safetensors'} & set(sys.modules); "
    "import jaxsep; assert callable(jaxsep.load); "
    "assert 'jaxsep.model_io' in sys.modules"
  )
  subprocess.run([sys.executable, "-c", code], check=True)


# Failures.


def expect(folder, message):
  with pytest.raises(jaxsep.ModelFolderError, match=message) as caught:
    jaxsep.load(folder)
  assert "\n" not in str(caught.value)


def test_missing_or_foreign_folder(tmp_path):
  expect(tmp_path / "nothing", "there is no model folder")
  expect(tmp_path, "no model folder: it has no config.json")
  (tmp_path / "file").write_text("x")
  expect(tmp_path / "file", "is a file, not a model folder")
  (tmp_path / "config.json").write_text('{"model_type": "bert"}')
  expect(tmp_path, "was not written by jaxsep")
  (tmp_path / "config.json").write_text("[1, 2]")
  expect(tmp_path, "was not written by jaxsep")


@pytest.mark.parametrize(
  "content", [b"", b'{"format": "jaxsep', b"\x80\x81\x82", b"nul"]
)
def test_damaged_config(folder, content):
  (folder / "config.json").write_bytes(content)
  expect(folder, "config.json is damaged")


def test_newer_folder(folder):
  change_config(folder, format_version=2, jaxsep_version="9.0", model="Later")
  expect(folder, r"written by a newer jaxsep \(9.0\): update jaxsep")


@pytest.mark.parametrize(
  ("values", "message"),
  [
    (
      {"model": "os.system"},
      "names the model 'os.system'; .* knows ConvTasNet",
    ),
    ({"model": None}, "damaged: 'model' is None"),
    ({"sample_rate_hz": "8000"}, "damaged: 'sample_rate_hz' is '8000'"),
    ({"sample_rate_hz": -1}, "sample_rate_hz must be a positive integer"),
    ({"options": {"bogus": 1}}, "ConvTasNet has no option bogus"),
    ({"options": {"num_filters": "8"}}, "num_filters cannot be '8'"),
    ({"options": {"num_filters": True}}, "num_filters cannot be True"),
    ({"options": {"num_filters": -8}}, "num_filters cannot be -8"),
    ({"options": {"causal": 1}}, "causal cannot be 1"),
    ({"options": {"dtype": "object"}}, "dtype cannot be 'object'"),
    ({"options": {"dtype": ["float32"]}}, r"dtype cannot be \['float32'\]"),
    ({"options": {"mask_activation": "eval"}}, "unknown activation 'eval'"),
    ({"options": {"filter_length": 3}}, "filter_length must be even"),
  ],
)
def test_impossible_config(folder, values, message):
  change_config(folder, **values)
  expect(folder, message)


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_truncated_parameters(folder, keep):
  path = folder / "params.safetensors"
  path.write_bytes(path.read_bytes()[:keep])
  expect(folder, "params.safetensors is damaged")


def test_one_flipped_bit(folder):
  path = folder / "params.safetensors"
  content = bytearray(path.read_bytes())
  content[-3] ^= 1
  path.write_bytes(bytes(content))
  expect(folder, "params.safetensors is damaged")


def test_parameters_missing_extra_or_of_another_shape(folder):
  kernel = "masker.block_0.expand.kernel"
  saved = safetensors.numpy.load_file(folder / "params.safetensors")
  change_params(folder, lambda arrays: arrays.pop(kernel))
  expect(folder, f"{kernel} is missing")
  change_params(
    folder,
    lambda arrays: arrays.update({kernel: saved[kernel], "extra": np.ones(2)}),
  )
  expect(folder, "extra is stored as F64")
  change_params(
    folder, lambda arrays: arrays.update(extra=np.ones(2, np.float32))
  )
  expect(folder, "extra is unknown to the model")
  change_params(
    folder,
    lambda arrays: (
      arrays.pop("extra"),
      arrays.update({kernel: saved[kernel].T}),
    ),
  )
  expect(folder, r"expand.kernel has shape \(8, 4\), but .* needs \(4, 8\)")
  (folder / "params.safetensors").unlink()
  expect(folder, "has no params.safetensors")


def test_weights_of_another_model(folder):
  change_config(folder, options=OPTIONS | {"num_blocks": 2})
  expect(folder, r"masker.block_2.* and \d+ more are missing")


@pytest.mark.parametrize("name", ["notes.txt", ".git"])
def test_never_overwrites_other_files(tmp_path, model_and_params, name):
  (tmp_path / "taken").mkdir()
  (tmp_path / "taken" / name).write_text("mine")
  with pytest.raises(jaxsep.ModelFolderError, match="holds other files"):
    jaxsep.save(
      tmp_path / "taken", *model_and_params, sample_rate_hz=8000, overwrite=True
    )
  assert (tmp_path / "taken" / name).read_text() == "mine"


def test_unwritable_places(tmp_path, model_and_params):
  (tmp_path / "file").write_text("mine")
  with pytest.raises(jaxsep.ModelFolderError, match="is a file"):
    jaxsep.save(
      tmp_path / "file", *model_and_params, sample_rate_hz=8000, overwrite=True
    )
  with pytest.raises(jaxsep.ModelFolderError, match="cannot write"):
    jaxsep.save(tmp_path / "file" / "m", *model_and_params, sample_rate_hz=8000)


@pytest.mark.usefixtures("unchecked")
def test_refuses_what_cannot_be_saved(tmp_path, model_and_params):
  model, params = model_and_params
  place = tmp_path / "m"

  def save(model=model, params=params, rate=8000, **options):
    jaxsep.save(place, model, params, sample_rate_hz=rate, **options)

  with pytest.raises(ValueError, match=r"variables\['params'\]"):
    save(params={"params": params})
  with pytest.raises(ValueError, match=r"decoder\.kernel is missing"):
    save(params={k: v for k, v in params.items() if k != "decoder"})
  with pytest.raises(ValueError, match="is int32"):
    save(params=jax.tree.map(lambda v: v.astype(jnp.int32), params))
  with pytest.raises(ValueError, match="metadata cannot be written"):
    save(metadata={"rng": object()})
  with pytest.raises(ValueError, match="metadata cannot be written"):
    save(metadata={"score": float("nan")})
  with pytest.raises(ValueError, match="TemporalConvNet cannot be saved"):
    save(model=TemporalConvNet())
  for rate in (0, -1, 8000.5, True):
    with pytest.raises(ValueError, match="positive integer"):
      save(rate=rate)
  assert not place.exists()
