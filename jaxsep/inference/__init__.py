"""Models applied to recordings of any length, whole or as they come."""

from jaxsep.inference._alignment import align_ctc
from jaxsep.inference._beam_search import Hypotheses, beam_search
from jaxsep.inference._cross_fade import CrossFade
from jaxsep.inference._css import CssJoin, CssWindows
from jaxsep.inference._ctc import greedy_ctc
from jaxsep.inference._doubles import without_doubles
from jaxsep.inference._even_level import EvenLevel
from jaxsep.inference._gains import RunningGains
from jaxsep.inference._live_order import LiveOrder
from jaxsep.inference._overlapping import Chunk, Overlapping
from jaxsep.inference._recognize import recognize
from jaxsep.inference._separate import separate, separate_blocks
from jaxsep.inference._speakers import speaker_features
from jaxsep.inference._stream import Stream, stream, stream_blocks
from jaxsep.inference._transcribe import Utterance, Word, transcribe
from jaxsep.inference._upper_band import with_upper_band
from jaxsep.inference._voice_activity import voice_segments

__all__ = [
  "Chunk",
  "CrossFade",
  "CssJoin",
  "CssWindows",
  "EvenLevel",
  "Hypotheses",
  "LiveOrder",
  "Overlapping",
  "RunningGains",
  "Stream",
  "Utterance",
  "Word",
  "align_ctc",
  "beam_search",
  "greedy_ctc",
  "recognize",
  "separate",
  "separate_blocks",
  "speaker_features",
  "stream",
  "stream_blocks",
  "transcribe",
  "voice_segments",
  "with_upper_band",
  "without_doubles",
]
