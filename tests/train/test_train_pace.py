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


def test_speeds_leave_out_compilation_and_pauses(clock):
  pace = pace_lib.Pace(start_step=0, num_steps=10, show=False)
  run(pace, clock, num_steps=1, seconds=30.0)
  assert pace.speeds(batch_size=8) == {}
  run(pace, clock, num_steps=2, seconds=0.5)
  with pace.pause():
    clock.now += 1000
  run(pace, clock, num_steps=2, seconds=0.5)
  speeds = pace.speeds(batch_size=8)
  assert speeds["steps_per_second"] == pytest.approx(2.0)
  assert speeds["examples_per_second"] == pytest.approx(16.0)
  # The next period starts anew.
  run(pace, clock, num_steps=4, seconds=0.25)
  speeds = pace.speeds(batch_size=8)
  assert speeds["steps_per_second"] == pytest.approx(4.0)
  pace.close()


def test_line_of_progress(clock, capsys):
  pace = pace_lib.Pace(start_step=0, num_steps=245, show=False)
  run(pace, clock, num_steps=5, seconds=0.5)
  values = {"loss": 1.25, "skipped": 3, **pace.speeds(batch_size=8)}
  pace.report(5, values)
  line = "step 5/245: loss 1.250, 2 steps/s, 16 examples/s, 3 skipped, "
  assert capsys.readouterr().err == line + "02:00 left\n"
  pace.close()


# Edge.


def test_other_processes_are_silent(clock, capsys):
  for show in (None, True, False):
    pace = pace_lib.Pace(start_step=0, num_steps=9, show=show, active=False)
    run(pace, clock, num_steps=3, seconds=0.5)
    pace.report(3, {"loss": 1.0, **pace.speeds(batch_size=1)})
    pace.close()
  assert capsys.readouterr().err == ""
