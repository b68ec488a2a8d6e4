"""Speech and singing voice separation in JAX and Flax.

The layers, lowest first; a module imports its own layer or a lower one.

- `dsp`: signals in, signals out.
- `simulate`: ingredients in, mixtures out.
- `losses`: what training minimises, one value per example.
- `metrics`: what papers report, one value per example.
- `models`: published systems as Flax modules.
- `inference`: models applied to recordings of any length, whole or as they
  come.
- `tasks`: where a model, a simulation and a loss meet.
- `train`: the training loop and its side effects.

Beside the layers: `json_values` and `model_io` (options and models in files),
`audio` (sound files), `text` (tokens and word errors), `conversion`
(checkpoints of other toolkits), `cli` (the commands).
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
  from jaxsep.model_io import LoadedModel, ModelFolderError, load, save

__version__ = "0.1.0"
#: Where the project can be cloned from; None until it is published.
__url__: str | None = None

__all__ = ["LoadedModel", "ModelFolderError", "load", "save"]


def __getattr__(name: str):
  # On first use only: `from jaxsep import losses` needs no Flax model.
  if name in __all__:
    from jaxsep import model_io

    return getattr(model_io, name)
  raise AttributeError(f"module 'jaxsep' has no attribute {name!r}")
