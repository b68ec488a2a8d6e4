"""What importing the library loads."""

import subprocess
import sys

import pytest

# What the extras bring, by the names they are imported under. Orbax is not
# among them: flax itself looks for it.
EXTRAS = """
  IPython fast_bss_eval librosa matplotlib meeteval mir_eval ml_collections pesq
  pystoi scipy.signal sentencepiece tensorboardX tensorflow tensorflow_datasets
  torch webrtcvad
""".split()


@pytest.mark.parametrize(
  "code",
  [
    # The core dependencies are enough.
    f"for name in {EXTRAS}: sys.modules[name] = None\n"
    "from jaxsep import audio, cli, conversion, dsp, inference, losses\n"
    "from jaxsep import metrics, models, simulate, tasks, text\n"
    "import jaxsep; jaxsep.save, jaxsep.load",
    # A part loads little, and nothing loads TensorFlow.
    "from jaxsep import losses\n"
    "assert not {'flax', 'jaxsep.model_io', 'safetensors'} & set(sys.modules)\n"
    "import jaxsep; jaxsep.load\n"
    "from jaxsep import metrics, models, train\n"
    "import jaxsep.cli._demo, jaxsep.cli._score, jaxsep.cli._separate\n"
    "assert 'tensorflow' not in sys.modules",
    "from jaxsep import text\n"
    "assert not {'jax', 'sentencepiece'} & set(sys.modules)",
    "from jaxsep import cli; cli.main(['--help'])\n"
    "assert not {'jax', 'numpy', 'soundfile'} & set(sys.modules)",
  ],
  ids=["without_extras", "lazily", "text", "help"],
)
def test_imports(code):
  subprocess.run(
    [sys.executable, "-c", f"import sys\n{code}"],
    check=True,
    stdout=subprocess.DEVNULL,
    timeout=60,
  )
