"""What a run leaves to read: a log in JSON lines, TensorBoard, W&B."""

import contextlib
import hashlib
import importlib
import json
import math
import os
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath

from jaxsep.train.errors import TrainingError
from jaxsep.train.workdir import is_local


class Writer:
  """Writes scalars and signals of a run.

  `path` is the log: one JSON object a line, with `step`, `split` and the
  values; what is not finite is null. Where a run goes on, its later lines are
  cut off, so that no step is there twice.

  Files are written on this machine; those of a workdir in a bucket, which
  cannot be appended to, are copied there by `upload`.
  """

  def __init__(
    self,
    folder: epath.Path,
    *,
    start_step: int = 0,
    evaluated: bool = True,
    tensorboard: bool = True,
    wandb_project: str | None = None,
    run_config: Mapping[str, Any] | None = None,
  ):
    self._folder = local = folder
    if not is_local(folder):
      local = epath.Path(tempfile.mkdtemp(prefix="jaxsep-"))
      if (folder / "log.jsonl").exists():
        (folder / "log.jsonl").copy(local / "log.jsonl")
    self._shown: set[str] = set()
    self._events = self._wandb = None
    # The optional packages first: they may be missing.
    if tensorboard:
      self._events = _open_events(local, start_step)
    if wandb_project is not None:
      self._wandb = _open_wandb(wandb_project, folder, local, run_config)
    self.path = local / "log.jsonl"
    cut_log(self.path, start_step, evaluated=evaluated)
    self._log = open(self.path, "a")

  def scalars(
    self, step: int, split: str, values: Mapping[str, float | int]
  ) -> None:
    """Writes the values of a step."""
    finite = {name: x for name, x in values.items() if math.isfinite(x)}
    line = {"step": step, "split": split}
    line |= {name: finite.get(name) for name in values}
    self._log.write(json.dumps(line) + "\n")
    self._log.flush()
    for name, value in finite.items():
      if self._events is not None:
        self._events.add_scalar(f"{split}/{name}", value, step)
    if self._wandb is not None:
      named = {f"{split}/{name}": value for name, value in finite.items()}
      self._wandb.log(named, step=step)

  def signals(
    self, step: int, signals: Mapping[str, Any], *, sample_rate_hz: int
  ) -> None:
    """Writes signals as audio and as spectrograms to TensorBoard.

    Only names that start with "estimate" are written more than once.
    """
    if self._events is None:
      return
    for name, array in signals.items():
      if name in self._shown and not name.startswith("estimate"):
        continue
      self._shown.add(name)
      array = np.asarray(array, np.float32)
      for i, row in enumerate(np.atleast_2d(array)):
        tag = name if array.ndim == 1 else f"{name}_{i + 1}"
        # Estimates may be louder than full scale.
        row = row / max(1.0, float(np.max(np.abs(row), initial=0.0)))
        self._events.add_audio(f"audio/{tag}", row, step, sample_rate_hz)
        image = spectrogram_image(row, sample_rate_hz=sample_rate_hz)
        self._events.add_image(
          f"spectrogram/{tag}", image, step, dataformats="HW"
        )
    self._events.flush()

  def upload(self) -> None:
    """Copies the files to a workdir in a bucket; nothing on a disk."""
    local = self.path.parent
    if local == self._folder:
      return
    if self._events is not None:
      self._events.flush()
    for folder, _, names in local.walk():
      target = self._folder / folder.relative_to(local)
      target.mkdir(parents=True, exist_ok=True)
      for name in names:
        (folder / name).copy(target / name, overwrite=True)

  def close(self) -> None:
    """Flushes and closes all files."""
    # Every line was flushed: what is left is one that failed, and said so.
    with contextlib.suppress(OSError):
      self._log.close()
    if self._events is not None:
      self._events.close()
    if self._wandb is not None:
      self._wandb.finish()
    self.upload()


def cut_log(path: epath.Path, step: int, *, evaluated: bool = True) -> None:
  """Drops the lines past a step, and its evaluation unless `evaluated`."""
  if not path.exists():
    return
  kept = []
  for line in path.read_text().splitlines():
    # The last line of a run that was killed may be broken.
    with contextlib.suppress(ValueError, KeyError, TypeError):
      values = json.loads(line)
      last = step - (values["split"] == "eval" and not evaluated)
      if values["step"] <= last:
        kept.append(line + "\n")
  hidden = path.parent / f".{path.name}"
  hidden.write_text("".join(kept))
  hidden.replace(path)


def spectrogram_image(
  signal: np.ndarray, *, sample_rate_hz: int, max_width: int = 600
) -> np.ndarray:
  """Draws 70 dB of a signal's spectrogram, low frequencies at the bottom."""
  n_fft = max(sample_rate_hz * 32 // 1000, 16)
  hop = max(n_fft // 4, -(-len(signal) // max_width))
  padded = np.pad(np.asarray(signal, np.float32), (n_fft // 2, n_fft))
  starts = np.arange(0, max(len(signal), 1), hop)
  frames = padded[starts[:, None] + np.arange(n_fft)] * np.hanning(n_fft)
  power = np.square(np.abs(np.fft.rfft(frames)))
  level = 10 * np.log10(power / max(float(power.max()), 1e-12) + 1e-12)
  grey = 255 * np.clip(1 + level / 70, 0, 1).T[::-1]
  return grey.astype(np.uint8)


def _open_events(folder, start_step):
  """The TensorBoard writer; events past the start are not shown again."""
  writer = _package("tensorboardX", "'jaxsep[train]'", "tensorboard to False")
  purge = start_step + 1 if start_step else None
  return writer.SummaryWriter(
    os.fspath(folder / "tensorboard"), purge_step=purge
  )


def _open_wandb(project, folder, local, run_config):
  """The Weights & Biases run of a workdir, which a later start goes on."""
  return _package("wandb", "wandb", "wandb_project to None").init(
    project=project,
    name=folder.name,
    id=hashlib.sha256(os.fspath(folder).encode()).hexdigest()[:16],
    resume="allow",
    dir=os.fspath(local),
    config=dict(run_config or {}),
  )


def _package(name, requirement, instead):
  """An optional package; says how to install it, or to do without it."""
  try:
    return importlib.import_module(name)
  except ImportError as error:
    raise TrainingError(
      f"{name} is not installed: pip install {requirement}, or set {instead}"
    ) from error
