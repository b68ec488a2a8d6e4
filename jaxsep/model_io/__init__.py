"""A model on disk: a folder with `config.json` and `params.safetensors`.

- `config.json`: the model's class and options (see `jaxsep.json_values`), the
  sample rate, the task, metadata, and checksums.
- `params.safetensors`: all variables but the collection `loss_params`, under
  dotted names such as `params.encoder.kernel`.
- Files that belong to the model, such as `tokenizer.model`.
- Parts: sub-folders that are model folders.

Nothing in a folder is ever executed, and no module is imported because a file
names it.
"""

from jaxsep.model_io._format import LoadedModel, ModelFolderError
from jaxsep.model_io._reading import load, pretrained
from jaxsep.model_io._writing import check_savable, save

__all__ = [
  "LoadedModel",
  "ModelFolderError",
  "check_savable",
  "load",
  "pretrained",
  "save",
]
