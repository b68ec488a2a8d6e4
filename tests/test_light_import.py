"""The library imports with its core dependencies alone."""

import subprocess
import sys

import pytest

# What the extras bring, by the names they are imported under.
EXTRAS = [
  "IPython",
  "fast_bss_eval",
  "librosa",
  "matplotlib",
  "mir_eval",
  "ml_collections",
  "pesq",
  "pystoi",
  "scipy.signal",
  "tensorboardX",
  "tensorflow",
  "tensorflow_datasets",
  "torch",
]


@pytest.mark.parametrize(
  "statement",
  [
    "from jaxsep import losses, metrics",
    "from jaxsep import dsp, models, simulate",
    "from jaxsep import audio, cli, conversion, inference, tasks",
    "import jaxsep; jaxsep.save, jaxsep.load",
  ],
)
def test_imports_without_extras(statement):
  # Orbax is left out of the blocked names: flax itself looks for it.
  code = (
    f"import sys\nfor name in {EXTRAS}: sys.modules[name] = None\n{statement}"
  )
  subprocess.run([sys.executable, "-c", code], check=True)


def test_tensorflow_is_not_loaded():
  code = (
    "import sys, jaxsep\n"
    "from jaxsep import losses, metrics, models, train\n"
    "sys.exit('tensorflow' in sys.modules)"
  )
  subprocess.run([sys.executable, "-c", code], check=True)
