"""Settings of the loop's tests."""

import jax
import pytest


@pytest.fixture(autouse=True, scope="session")
def compilation_cache(tmp_path_factory):
  """Compiles what many tests compile only once."""
  before = jax.config.jax_compilation_cache_dir
  folder = str(tmp_path_factory.mktemp("compiled"))
  jax.config.update("jax_compilation_cache_dir", folder)
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
  jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
  yield folder
  jax.config.update("jax_compilation_cache_dir", before)
