"""Audio files: checked reading and writing, channels and sample rates.

Signals are float32 arrays `[C, T]` ([C]hannels, [T]ime) with full scale at 1.
The format is read from the content of a file, not from its name. A file that
cannot be used raises an `AudioError` of one line, which says what to do.
"""

from jaxsep.audio._checks import AudioError
from jaxsep.audio._pipe import Pipe
from jaxsep.audio._reader import AudioInfo, info, read, read_blocks
from jaxsep.audio._signal import resample_blocks, to_mono
from jaxsep.audio._writer import Writer, write

__all__ = [
  "AudioError",
  "AudioInfo",
  "Pipe",
  "Writer",
  "info",
  "read",
  "read_blocks",
  "resample_blocks",
  "to_mono",
  "write",
]
