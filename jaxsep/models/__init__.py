"""Published systems as pure Flax modules.

`__all__` holds every class that may appear in a model folder: the separators,
the speaker encoder, their building blocks, and the options that nest in them.
"""

from jaxsep.dsp import Stft
from jaxsep.models.coders import Decoder, Encoder
from jaxsep.models.conv_tasnet import ConvTasNet
from jaxsep.models.dptnet import DPTNet
from jaxsep.models.ecapa_tdnn import EcapaTdnn
from jaxsep.models.norms import CumulativeLayerNorm, GlobalLayerNorm
from jaxsep.models.spectrogram_tasnet import SpectrogramTasNet
from jaxsep.models.tcn import TemporalConvNet
from jaxsep.models.tf_gridnet import TFGridNet

__all__ = [
  "ConvTasNet",
  "CumulativeLayerNorm",
  "DPTNet",
  "Decoder",
  "EcapaTdnn",
  "Encoder",
  "GlobalLayerNorm",
  "SpectrogramTasNet",
  "Stft",
  "TFGridNet",
  "TemporalConvNet",
]
