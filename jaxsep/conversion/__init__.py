"""Checkpoints of other toolkits as models of this one."""

from jaxsep.conversion._architecture import ConversionError
from jaxsep.conversion._convert import Conversion, convert

__all__ = ["Conversion", "ConversionError", "convert"]
