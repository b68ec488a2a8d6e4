"""How fast a run goes, for the eye."""

import contextlib
import sys
import time
from collections.abc import Iterator

import tqdm


class Pace:
  """Progress bar on a terminal, one line per period of the log elsewhere.

  Speeds are those of the steps alone: evaluations and exports are taken out
  of the clock, and so is the first step, which compiles.
  """

  def __init__(
    self,
    *,
    start_step: int,
    num_steps: int,
    show: bool | None = None,
    active: bool = True,
  ):
    show = sys.stderr.isatty() if show is None else show
    self._num_steps = num_steps
    self._active = active
    self._bar = tqdm.tqdm(
      total=num_steps,
      initial=start_step,
      disable=not (show and active),
      dynamic_ncols=True,
      smoothing=0.1,
      bar_format="{n_fmt}/{total_fmt} |{bar}| {remaining} left{postfix}",
    )
    self._num_steps_timed = 0
    self._seconds = 0.0
    self._since: float | None = None
    self._rate: float | None = None

  def step(self) -> None:
    """Counts a step that is done."""
    if self._since is None:
      self._since = time.monotonic()
    else:
      self._num_steps_timed += 1
    self._bar.update()

  @contextlib.contextmanager
  def pause(self) -> Iterator[None]:
    """Takes what happens inside out of the clock."""
    self._stop_clock()
    running, self._since = self._since is not None, None
    yield
    if running:
      self._since = time.monotonic()

  def speeds(self, *, batch_size: int) -> dict[str, float]:
    """Speeds since the last call; none before the second step."""
    self._stop_clock()
    if not self._num_steps_timed:
      return {}
    self._rate = self._num_steps_timed / max(self._seconds, 1e-9)
    self._num_steps_timed, self._seconds = 0, 0.0
    return {
      "steps_per_second": self._rate,
      "examples_per_second": self._rate * batch_size,
    }

  def report(self, step: int, values: dict[str, float | int]) -> None:
    """Shows the values of a period of the log."""
    parts = [f"loss {values['loss']:.3f}"] if "loss" in values else []
    if "steps_per_second" in values:
      parts.append(f"{values['steps_per_second']:.3g} steps/s")
      parts.append(f"{values['examples_per_second']:.3g} examples/s")
    if values.get("skipped"):
      parts.append(f"{values['skipped']} skipped")
    if not self._bar.disable:
      self._bar.set_postfix_str(", ".join(parts))
    elif self._active:
      if self._rate:
        left = int((self._num_steps - step) / self._rate)
        parts.append(f"{tqdm.tqdm.format_interval(left)} left")
      line = f"step {step}/{self._num_steps}: {', '.join(parts)}"
      print(line, file=sys.stderr, flush=True)

  def close(self) -> None:
    """Leaves the bar as it is."""
    self._bar.close()

  def _stop_clock(self):
    if self._since is not None:
      now = time.monotonic()
      self._seconds += now - self._since
      self._since = now
