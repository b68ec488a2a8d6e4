"""Progress bar and speed of a run."""

import contextlib
import sys
import time
from collections.abc import Iterator

import jax
import tqdm


def say(line: str) -> None:
  """Prints a line above the progress bar, in process 0."""
  if jax.process_index() == 0:
    tqdm.tqdm.write(line, file=sys.stderr)
    sys.stderr.flush()


class Pace:
  """Progress bar on a terminal, one line per period of the log elsewhere.

  Speeds leave out evaluations, exports and the first step, which compiles.
  """

  def __init__(self, *, start_step: int, num_steps: int, show: bool | None):
    show = sys.stderr.isatty() if show is None else show
    self._num_steps = num_steps
    self._bar = tqdm.tqdm(
      total=num_steps,
      initial=start_step,
      disable=not show or jax.process_index() > 0,
      dynamic_ncols=True,
      smoothing=0.1,
      bar_format="{n_fmt}/{total_fmt} |{bar}| {remaining} left{postfix}",
    )
    self._num_timed = 0
    self._seconds = 0.0
    #: When the clock was last read; None while it stands still.
    self._since: float | None = None

  def step(self) -> None:
    """Counts a step that is done."""
    self._num_timed += self._since is not None
    self._read_clock()
    self._bar.update()

  @contextlib.contextmanager
  def pause(self) -> Iterator[None]:
    """Takes what happens inside out of the clock."""
    if self._since is None:
      yield
      return
    self._read_clock()
    yield
    self._since = time.monotonic()

  def report(
    self, step: int, values: dict[str, float | int], *, batch_size: int
  ) -> dict[str, float | int]:
    """Shows the values of a period; returns them with the speeds in it."""
    parts = [f"loss {values['loss']:.3f}"] if "loss" in values else []
    left = []
    # There is no speed before the second step.
    if self._num_timed:
      rate = self._num_timed / max(self._seconds, 1e-9)
      self._num_timed, self._seconds = 0, 0.0
      speeds = {"steps": rate, "examples": rate * batch_size}
      values = values | {f"{k}_per_second": x for k, x in speeds.items()}
      parts += [f"{x:.3g} {k}/s" for k, x in speeds.items()]
      seconds = int((self._num_steps - step) / rate)
      left = [f"{tqdm.tqdm.format_interval(seconds)} left"]
    if values.get("skipped"):
      parts.append(f"{values['skipped']} skipped")
    if not self._bar.disable:
      self._bar.set_postfix_str(", ".join(parts))
    else:
      say(f"step {step}/{self._num_steps}: {', '.join(parts + left)}")
    return values

  def close(self) -> None:
    """Leaves the bar as it is."""
    self._bar.close()

  def _read_clock(self):
    now = time.monotonic()
    if self._since is not None:
      self._seconds += now - self._since
    self._since = now
