"""What can be wrong with an audio file."""

import os
import re
import struct

import numpy as np
import soundfile

# What may follow the samples of a WAV file without a chunk header: tags.
_MAX_TRAILER_BYTES = 1024
FIX_LENGTH = (
  "fetch or export it again, or take what is there with allow_truncated"
)


class AudioError(ValueError):
  """A file that cannot be used as it is; one line says why and what to do."""


def states_no_size(size: int) -> bool:
  """Whether a size in a header stands for one that was not known.

  Args:
    size: Bytes of a chunk, or of the whole file, as in the header.

  Returns:
    Whether it is within 64 KiB of 2^31 or below 2^32, as from programs that
    write into a pipe, or more than any file has.

  Example:
    >>> states_no_size(0x7FFFF000), states_no_size(3_000_000_000)
    (True, False)
  """
  signed = abs(size - 2**31) <= 2**16
  return signed or 2**32 - 2**16 <= size < 2**32 or size >= 2**62


def check_finite(block, path, position, rate):
  """Refuses NaN and Inf."""
  bad = ~np.isfinite(block)
  if not bad.any():
    return
  first = int(bad.any(axis=0).argmax())
  raise AudioError(
    f"{path}: {int(bad.sum())} samples are NaN or Inf, the first "
    f"{(position + first) / rate:.3f} s into the file; repair it or cut "
    "them out"
  )


def check_end(file, path):
  """Refuses a file of which the last sample is not there."""
  notes = file.extra_info
  for stated, actual in re.findall(r"(\d+) \(should be (\d+)\)", notes):
    if int(actual) < int(stated) and not states_no_size(int(stated)):
      raise AudioError(
        f"{path}: is cut off: {stated} bytes announced, {actual} there; "
        f"{FIX_LENGTH}"
      )
  if "lacks an end-of-stream" in notes:
    raise AudioError(f"{path}: is cut off: its end is missing; {FIX_LENGTH}")
  if file.format == "FLAC":
    try:
      file.seek(file.frames - 1)
      missing = len(file.read(1)) == 0
    except soundfile.LibsndfileError:
      missing = True
    if missing:
      raise AudioError(
        f"{path}: is cut off: {file.frames} samples announced, the last "
        f"ones are not there; {FIX_LENGTH}"
      )
    file.seek(0)


def check_riff(handle, path):
  """Refuses a WAV file whose header and size disagree."""
  total = handle.seek(0, os.SEEK_END)
  handle.seek(0)
  magic = handle.read(12)
  if magic[:4] not in (b"RIFF", b"RF64") or magic[8:] != b"WAVE":
    return
  long_size = None
  position = 12
  while position + 8 <= total:
    handle.seek(position)
    name, size = struct.unpack("<4sI", handle.read(8))
    if name == b"ds64":
      sizes = handle.read(16)
      if len(sizes) < 16:
        raise AudioError(f"{path}: is cut off within its header; {FIX_LENGTH}")
      long_size = struct.unpack("<8xQ", sizes)[0]
    if name == b"data":
      break
    position += 8 + size + size % 2
  else:
    return
  if size == 0xFFFFFFFF and long_size is not None:
    size = long_size
  there = total - position - 8
  is_stated = magic[:4] == b"RF64" or not states_no_size(size)
  if there < size and is_stated:
    raise AudioError(
      f"{path}: is cut off: {size} bytes of samples announced, {there} "
      f"there; {FIX_LENGTH}"
    )
  handle.seek(position + 8 + min(size, there) + size % 2)
  if there - size > _MAX_TRAILER_BYTES and not _is_chunk(handle, total):
    raise AudioError(
      f"{path}: its header is wrong: {size} bytes of samples announced, "
      f"{there} there; the recorder may not have finished it: repair the "
      "header, for example with ffmpeg -ignore_length 1 -i"
    )


def _is_chunk(handle, total):
  """Whether a chunk, or padding, stands at the position of a RIFF file."""
  position = handle.tell()
  head = handle.read(_MAX_TRAILER_BYTES)
  if not head.strip(b"\0"):
    return True
  size = int.from_bytes(head[4:8], "little")
  return all(32 <= byte < 127 for byte in head[:4]) and size <= total - position
