"""The benchmark of eight devices against one."""

import os

import pytest

from jaxsep import models

# Compiling is what takes time, and one block compiles as others do.
MODEL = models.ConvTasNet(
  num_filters=16,
  bottleneck_channels=8,
  hidden_channels=16,
  skip_channels=8,
  num_blocks=2,
  num_repeats=1,
)


@pytest.fixture
def devices(monkeypatch):
  """The module; what it sets in the environment is undone."""
  for name in ("JAX_PLATFORMS", "XLA_FLAGS"):
    monkeypatch.setenv(name, os.environ.get(name, ""))
  from experiments.benchmarks import devices

  return devices


def test_devices_do_not_change_the_losses(devices):
  rows = devices.compare(num_steps=6, size=8, length=1000, model=MODEL)
  assert [row[0] for row in rows] == [1, 2, 3, 4, 5, 6]
  one, eight = [[row[i] for row in rows] for i in (1, 2)]
  assert len(set(one)) == 6, "the loss of every step is another"
  # The bounds hold for the losses themselves, not only as printed.
  assert abs(one[0] - eight[0]) <= 1e-5 * abs(one[0])
  for a, b in zip(one, eight, strict=True):
    assert abs(a - b) <= 1e-3 * abs(a)
  assert rows[0][3] <= 1e-5 and max(row[3] for row in rows) <= 1e-3


def test_batches_depend_on_the_step_alone(devices):
  first, again = (devices.batches(0, size=2, length=50) for _ in range(2))
  next(first), next(again)
  later = devices.batches(1, size=2, length=50)
  expected = next(later)["sources"].tolist()
  assert next(first)["sources"].tolist() == expected
  assert next(again)["index"].tolist() == [2, 3]
