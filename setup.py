"""Installs jaxsep; what each extra is for is written next to it."""

import pathlib
import re

import setuptools

ROOT = pathlib.Path(__file__).parent
VERSION = re.search(
  r'__version__ = "(.+?)"', (ROOT / "jaxsep/__init__.py").read_text()
).group(1)

# What `import jaxsep`, `jaxsep separate` and `jaxsep score` need.
CORE = [
  "absl-py",
  "flax",
  "jax",
  "jaxtyping",
  "numpy",
  "optax",
  "safetensors",
  "soundfile",
  "soxr",
  "tqdm",
]

# Training jobs and their tf.data pipelines.
TRAIN = [
  "ml-collections",
  "orbax-checkpoint",
  "tensorboardX",
  "tensorflow",
  "tensorflow-datasets",
]

# Perceptual metrics and figures; pesq compiles C on installation.
EVAL = ["matplotlib", "pesq", "pystoi"]

# Judges and peers that the tests compare with.
TEST = [
  "beartype",
  "fast-bss-eval",
  "hypothesis",
  "librosa",
  "mir_eval",
  "psutil",
  "pytest",
  "pytest-xdist",
  "ruff",
  "scipy",
  # Pinned: this release has a CPU build; a newer one brings in CUDA.
  "torch==2.13.0",
]

setuptools.setup(
  name="jaxsep",
  version=VERSION,
  description="Speech and singing voice separation in JAX and Flax",
  long_description=(ROOT / "README.md").read_text(),
  long_description_content_type="text/markdown",
  license="Apache-2.0",
  license_files=["LICENSE"],
  python_requires=">=3.11",
  packages=setuptools.find_namespace_packages(
    include=["jaxsep*", "data_pipelines*", "experiments*"]
  ),
  package_data={"jaxsep": ["py.typed"]},
  install_requires=CORE,
  extras_require={
    "train": TRAIN,
    "eval": EVAL,
    "notebook": ["ipykernel", "matplotlib", "nbclient", "notebook"],
    "test": TRAIN + EVAL + TEST,
    "dev": TRAIN + EVAL + TEST + ["pyright"],
  },
  entry_points={"console_scripts": ["jaxsep = jaxsep.cli:run"]},
)
