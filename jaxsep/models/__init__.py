"""Published systems as pure Flax modules.

`__all__` holds every class that may appear in a model folder: the separators,
the speaker encoder, their building blocks, and the options that nest in them.
"""

from jaxsep.dsp import Stft
from jaxsep.models.coders import Decoder, Encoder
from jaxsep.models.conformer_separator import (
  ConformerSeparator,
  TransformerSeparator,
)
from jaxsep.models.conv_tasnet import ConvTasNet
from jaxsep.models.crn import CRN
from jaxsep.models.dense_crn import DenseCRN
from jaxsep.models.dptnet import DPTNet
from jaxsep.models.ecapa_tdnn import EcapaTdnn
from jaxsep.models.language_model import (
  LSTMLanguageModel,
  TransformerLanguageModel,
)
from jaxsep.models.norms import CumulativeLayerNorm, GlobalLayerNorm
from jaxsep.models.recognizer import Recognizer
from jaxsep.models.spectrogram_tasnet import SpectrogramTasNet
from jaxsep.models.tcn import TemporalConvNet
from jaxsep.models.tf_gridnet import TFGridNet
from jaxsep.models.transformer import CausalTransformer

__all__ = [
  "CRN",
  "CausalTransformer",
  "ConformerSeparator",
  "ConvTasNet",
  "CumulativeLayerNorm",
  "DPTNet",
  "Decoder",
  "DenseCRN",
  "EcapaTdnn",
  "Encoder",
  "GlobalLayerNorm",
  "LSTMLanguageModel",
  "Recognizer",
  "SpectrogramTasNet",
  "Stft",
  "TFGridNet",
  "TemporalConvNet",
  "TransformerLanguageModel",
  "TransformerSeparator",
]
