"""Settings of every test: 8 devices, one compile cache, checked types."""

import os
import pathlib
import tempfile

# Before the first import of jax.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = " ".join(
  [
    os.environ.get("XLA_FLAGS", ""),
    "--xla_force_host_platform_device_count=8",
  ]
)
# One for all workers and for the processes that tests start.
os.environ.setdefault(
  "JAX_COMPILATION_CACHE_DIR",
  str(pathlib.Path(__file__).parents[1] / ".pytest_cache/jax"),
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
# Most programs run once: they are compiled quickly rather than well.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Of each worker its own: librosa's compiled functions, written by several at
# once, crash whoever reads them.
os.environ["NUMBA_CACHE_DIR"] = tempfile.mkdtemp(prefix="numba-")

import jax
import jaxtyping
import pytest

jaxtyping.install_import_hook("jaxsep", "beartype.beartype")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(autouse=True, scope="module")
def _forget_compiled():
  """Frees what a file compiled: kept, it comes to gigabytes in each worker."""
  yield
  jax.clear_caches()


@pytest.fixture
def unchecked():
  """Lets a call of the wrong shape reach the library's own ValueError."""
  jaxtyping.config.update("jaxtyping_disable", True)
  yield
  jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def jaxsep_data() -> pathlib.Path:
  """The folder of real recordings; tests that ask for it are optional."""
  folder = pathlib.Path(os.environ.get("JAXSEP_DATA", "."))
  if not (folder / "LibriSpeech/test-other").is_dir():
    pytest.skip("needs LibriSpeech/test-other in the folder JAXSEP_DATA")
  return folder
