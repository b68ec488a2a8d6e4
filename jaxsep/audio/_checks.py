"""What can be wrong with an audio file."""

import os
import re

import numpy as np
import soundfile

#: Lower rates come from damaged headers, and make hours of seconds.
MIN_RATE_HZ = 1000
# What may follow the samples of a WAV file without a chunk header: tags.
_MAX_TRAILER_BYTES = 1024
FIX_LENGTH = (
  "fetch or export it again, or use what is there with --allow_truncated (in"
  " Python: allow_truncated=True)"
)


class AudioError(ValueError):
  """A file that cannot be used as it is; one line says why and what to do."""


def states_no_size(size: int) -> bool:
  """Whether a size in a header, in bytes, stands for "not known".

  Programs that write into a pipe state about 2^31 or 2^32, or more bytes than
  any file has.
  """
  signed = abs(size - 2**31) <= 2**16
  return signed or 2**32 - 2**16 <= size < 2**32 or size >= 2**62


#: Samples of this size are damage, not sound.
MOST = 1e30


def check_finite(block, path, position, rate):
  """Refuses NaN, Inf, and what becomes Inf when it is filtered or averaged."""
  bad = ~(np.abs(block) <= MOST)
  if not bad.any():
    return
  first = int(bad.any(axis=0).argmax())
  raise AudioError(
    f"{path}: {int(bad.sum())} samples are NaN or Inf or huge, the first "
    f"{(position + first) / rate:.3f} s into the file; repair it or cut "
    "them out"
  )


def check_length(file, handle, path):
  """Refuses a file whose samples are not as many as its header announces.

  libsndfile reads such files; what it notices is in its log, `extra_info`.
  """
  log = file.extra_info
  sizes = re.findall(r"(\S+) *: (\d+) \(should be (\d+)\)", log)
  for label, stated, actual in sizes:
    if label == "Bytes/sec":
      raise AudioError(
        f"{path}: its header contradicts itself: {file.samplerate} Hz are"
        f" {actual} bytes a second, but it says {stated}; {FIX_LENGTH}"
      )
    if int(actual) < int(stated) and not states_no_size(int(stated)):
      raise AudioError(
        f"{path}: is cut off: {stated} bytes announced, {actual} there; "
        f"{FIX_LENGTH}"
      )
  if "lacks an end-of-stream" in log:
    raise AudioError(f"{path}: is cut off: its end is missing; {FIX_LENGTH}")
  # Pages of Ogg that are damaged are left out, and not counted as samples.
  if file.format == "OGG" and re.search("Corrupted|a hole|Junk after", log):
    raise AudioError(f"{path}: is damaged: parts are missing; {FIX_LENGTH}")
  if file.format == "FLAC":
    try:
      file.seek(file.frames - 1)
      missing = len(file.read(1)) == 0
      file.seek(0)
    except soundfile.LibsndfileError:
      missing = True
    if missing:
      raise AudioError(
        f"{path}: is cut off: {file.frames} samples announced, the last "
        f"ones are not there; {FIX_LENGTH}"
      )
  stop = re.search(r"marker (?:\(\w+\) )?at position (\d+)", log)
  if stop and file.format in ("WAV", "WAVEX", "RF64"):
    # Does not move the position, which libsndfile shares.
    after = os.pread(
      handle.fileno(), _MAX_TRAILER_BYTES + 1, int(stop.group(1))
    )
    # Zeros are padding; a few bytes are tags; anything else is sound.
    if len(after) > _MAX_TRAILER_BYTES and after.strip(b"\0"):
      raise AudioError(
        f"{path}: its header is wrong: there are more samples than it "
        "announces; the recorder may not have finished it: repair the header, "
        "for example with ffmpeg -ignore_length 1 -i"
      )
