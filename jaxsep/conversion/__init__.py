"""Checkpoints of other toolkits as models of this one."""

from jaxsep.conversion._asteroid import conv_tasnet_from_asteroid
from jaxsep.conversion._asteroid_dptnet import dptnet_from_asteroid
from jaxsep.conversion._convert import Conversion, convert
from jaxsep.conversion._fitting import ConversionError
from jaxsep.conversion._speechbrain import conv_tasnet_from_speechbrain

__all__ = [
  "Conversion",
  "ConversionError",
  "conv_tasnet_from_asteroid",
  "conv_tasnet_from_speechbrain",
  "convert",
  "dptnet_from_asteroid",
]
