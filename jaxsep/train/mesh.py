"""Devices, and batches spread over them.

On CPUs a small model may train faster with the batch spread over several
devices of one process: set
`XLA_FLAGS=--xla_force_host_platform_device_count=2` in the environment.
"""

import functools
import json
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxsep.tasks import Batch
from jaxsep.train.errors import TrainingError

AXIS = "data"


def make_mesh(devices: Sequence[Any] | None = None) -> Mesh:
  """Makes a mesh with one axis, `"data"`; None takes all devices there are."""
  devices = jax.devices() if devices is None else list(devices)
  return jax.make_mesh(
    (len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices
  )


def replicated(mesh: Mesh) -> NamedSharding:
  """The sharding of what every device holds in full."""
  return NamedSharding(mesh, PartitionSpec())


def pad_batch(batch: Batch, *, multiple: int) -> dict[str, np.ndarray]:
  """Repeats the last example up to a multiple; the mask tells what is real."""
  size = batch_size(batch)
  padding = -size % multiple
  batch = {"mask": np.ones(size, bool), **batch}
  if not padding:
    return batch
  rows = np.minimum(np.arange(size + padding), size - 1)
  padded = {name: np.asarray(value)[rows] for name, value in batch.items()}
  padded["mask"][size:] = False
  return padded


def batch_size(batch: Batch) -> int:
  """Number of examples of a batch, padding included."""
  sizes = {name: np.shape(value)[:1] for name, value in batch.items()}
  if not sizes or len(set(sizes.values())) > 1 or () in sizes.values():
    shapes = {name: np.shape(value) for name, value in batch.items()}
    raise ValueError(f"the arrays of a batch need one first axis; got {shapes}")
  (size,) = next(iter(sizes.values()))
  if not size:
    raise ValueError("a batch without examples")
  return size


def shard_batch(batch: Batch, mesh: Mesh) -> dict[str, jax.Array]:
  """Turns the rows of this process into arrays of the global batch.

  Process p holds rows `p * local ... (p + 1) * local`.
  """
  size = batch_size(batch)
  num_local = mesh.local_mesh.size
  if size % num_local:
    raise ValueError(
      f"a batch of {size} examples does not spread evenly over {num_local} "
      f"devices; make batch_size a multiple of {num_local}"
    )
  sharding = NamedSharding(mesh, PartitionSpec(AXIS))
  if jax.process_count() == 1:
    return jax.device_put(dict(batch), sharding)
  return {
    name: jax.make_array_from_process_local_data(sharding, np.asarray(value))
    for name, value in batch.items()
  }


def replicate(tree: Any, mesh: Mesh) -> Any:
  """Copies values, the same in every process, to all devices."""
  return jax.device_put(tree, replicated(mesh))


def together(function: Callable[[], Any]) -> Any:
  """Calls a function in every process; what one raises, all raise.

  Every process calls this at the same point, so that none waits for a process
  that has failed.
  """
  if jax.process_count() == 1:
    return function()
  from jax.experimental import multihost_utils

  result, error, message = None, None, b""
  try:
    result = function()
  except Exception as raised:
    error, message = raised, str(raised).encode() or repr(raised).encode()
  # Of a fixed size, since all processes have to know it.
  text = np.zeros(2000, np.uint8)
  text[: len(message)] = np.frombuffer(message[:2000], np.uint8)
  texts = multihost_utils.process_allgather(text)
  if error is not None:
    raise error
  for text in texts[texts.any(axis=1)]:
    text = text.tobytes().rstrip(b"\0")
    raise TrainingError(text.decode(errors="replace"))
  return result


def in_first(function: Callable[[], Any]) -> Any:
  """Calls a function in process 0 alone, see `together`; others get None."""
  return together(function if jax.process_index() == 0 else lambda: None)


def by_first(method: Callable[..., Any]) -> Callable[..., Any]:
  """Makes a method run in process 0 alone, see `together`."""

  @functools.wraps(method)
  def called(*args, **options):
    return in_first(lambda: method(*args, **options))

  return called


def broadcast(tree: Any) -> Any:
  """NumPy arrays of process 0, in every process; all give the same shapes."""
  if jax.process_count() == 1:
    return tree
  from jax.experimental import multihost_utils

  return multihost_utils.broadcast_one_to_all(tree)


def broadcast_json(value: Any) -> Any:
  """A JSON value of process 0, in every process."""
  text = json.dumps(value).encode()
  size = int(broadcast(np.int32(len(text))))
  text = np.frombuffer(text.ljust(size)[:size], np.uint8)
  return json.loads(broadcast(text).tobytes())
