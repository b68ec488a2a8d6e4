"""Speeds and the lines of progress."""

import pytest

from jaxsep.train import pace as pace_lib


class Clock:
  """A clock that the test moves."""

  def __init__(self):
    self.now = 100.0

  def monotonic(self):
    return self.now


@pytest.fixture
def clock(monkeypatch):
  clock = Clock()
  monkeypatch.setattr(pace_lib, "time", clock)
  return clock


def run(pace, clock, *, num_steps, seconds):
  for _ in range(num_steps):
    clock.now += seconds
    pace.step()


# Reference.


def test_speeds_leave_out_compilation_and_pauses(clock, capsys):
  pace = pace_lib.Pace(start_step=0, num_steps=245, show=False)
  run(pace, clock, num_steps=1, seconds=30.0)
  assert pace.report(1, {"loss": 2.0}, batch_size=8) == {"loss": 2.0}
  run(pace, clock, num_steps=2, seconds=0.5)
  with pace.pause():
    clock.now += 1000
  run(pace, clock, num_steps=2, seconds=0.5)
  values = pace.report(5, {"loss": 1.25, "skipped": 3}, batch_size=8)
  assert values["steps_per_second"] == pytest.approx(2.0)
  assert values["examples_per_second"] == pytest.approx(16.0)
  # The next period starts anew.
  run(pace, clock, num_steps=4, seconds=0.25)
  values = pace.report(9, {}, batch_size=8)
  assert values["steps_per_second"] == pytest.approx(4.0)
  pace.close()
  line = "step 5/245: loss 1.250, 2 steps/s, 16 examples/s, 3 skipped, "
  assert capsys.readouterr().err.splitlines()[1] == line + "02:00 left"
