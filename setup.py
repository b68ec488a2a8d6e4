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
  "etils[epath]",
  "flax>=0.12.8",
  "jax>=0.10",
  "jaxtyping",
  "numpy",
  "optax>=0.2.8",
  "safetensors",
  "scipy",
  "soundfile",
  "soxr",
  "tqdm",
]

# Training jobs and their tf.data pipelines.
TRAIN = [
  "ml-collections",
  "orbax-checkpoint>=0.12.8",
  # Pictures in TensorBoard.
  "pillow",
  "tensorboardX",
  # Only reads data here; the build without CUDA is smaller and does not warn
  # on machines without a GPU, but exists for Linux on x86-64 only.
  "tensorflow-cpu>=2.21; "
  "sys_platform == 'linux' and platform_machine == 'x86_64'",
  "tensorflow>=2.21; sys_platform != 'linux' or platform_machine != 'x86_64'",
  "tensorflow-datasets>=4.9.10",
]

# Working directories in buckets, such as --workdir=gs://bucket/run.
CLOUD = ["etils[epath-gcs]"]

# Packing large corpora with Beam (`data_pipelines.build_tfds`).
BEAM = ["apache-beam"]

# An additional log at Weights & Biases.
WANDB = ["wandb"]

# Figures.
PLOT = ["matplotlib"]

# Perceptual metrics and pitch trackers; pesq compiles C on installation.
EVAL = [*PLOT, "librosa", "pesq", "pystoi"]

# Recognition: word pieces, scores of meetings and voice activity. meeteval
# compiles C++ on installation.
ASR = ["meeteval", "sentencepiece", "webrtcvad-wheels"]

# `jaxsep convert`: reads checkpoints of PyTorch without running what is in
# them, and hyper-parameters in YAML.
CONVERT = ["pyyaml", "torch"]

# References and peers that the tests compare with. pesq and meeteval need a
# compiler: `make test` adds them where there is one; where they are missing,
# their tests are skipped by name.
TEST = [
  "beartype",
  "fast-bss-eval",
  "hypothesis",
  "ipykernel",
  "librosa",
  "mir_eval",
  "nbclient",
  "nbformat",
  "psutil",
  "pyroomacoustics",
  "pystoi",
  "pytest",
  "pytest-xdist",
  "pyyaml",
  "ruff",
  "sentencepiece",
  # The release that the parity tests were made with. Where pip's index offers
  # a CPU build, that is enough (CONTRIBUTING.md says how to get it).
  "torch==2.13.0",
  "webrtcvad-wheels",
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
  # `experiments` runs from a checkout and is not installed.
  packages=setuptools.find_namespace_packages(
    include=["jaxsep*", "data_pipelines*"]
  ),
  package_data={
    "data_pipelines": ["lexicon.toml"],
    "jaxsep": [
      "py.typed",
      "demo/*.flac",
      "inference/speakers.safetensors",
      "pretrained/**",
    ],
  },
  install_requires=CORE,
  extras_require={
    "train": TRAIN,
    "plot": PLOT,
    "eval": EVAL,
    "asr": ASR,
    "convert": CONVERT,
    "cloud": CLOUD,
    "beam": BEAM,
    "wandb": WANDB,
    "notebook": [*PLOT, "ipykernel", "nbclient", "notebook"],
    "test": TRAIN + PLOT + TEST,
    "dev": TRAIN + EVAL + ASR + TEST + ["pyright"],
  },
  entry_points={"console_scripts": ["jaxsep = jaxsep.cli:run"]},
)
