"""Weights of a peer, checked name by name and put into our places."""

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import flax.traverse_util
import numpy as np

_SHOWN = 4


class ConversionError(ValueError):
  """A checkpoint that cannot be converted.

  Attributes:
    lines: What is wrong with it, a line for each kind of fault.
  """

  def __init__(self, *lines: str):
    super().__init__("\n".join(lines))
    self.lines = lines


def _side_by_side(parts):
  return np.concatenate(parts, axis=-1)


class Place(NamedTuple):
  """Where a weight of the peer goes.

  Attributes:
    shape: The shape that it must have at the peer.
    target: Dotted name of our parameter.
    change: Turns the array of the peer into ours.
    join: Makes one array of all that have the same target, in the order of
      the table; if not given, they stand side by side along the last axis.
  """

  shape: tuple[int, ...]
  target: str
  change: Callable[[np.ndarray], np.ndarray]
  join: Callable[[list[np.ndarray]], np.ndarray] = _side_by_side


def fit(
  table: Mapping[str, Place], weights: Mapping[str, np.ndarray], *, model: str
) -> dict[str, Any]:
  """Puts every weight of a peer into its place.

  Args:
    table: The place of each weight that the model has at the peer.
    weights: The weights that there are.
    model: What the model is called in an error.

  Returns:
    Our parameters, a nested dictionary of float32 arrays.

  Raises:
    ConversionError: If weights are missing, left over, of a wrong shape or
      not finite; it has a line for each of the four.

  Example:
    >>> table = {"conv.weight": Place((3, 2, 1), "dense.kernel", matrix)}
    >>> params = fit(table, {"conv.weight": np.ones((3, 2, 1))}, model="Net")
    >>> params["dense"]["kernel"].shape
    (2, 3)
  """
  common = [name for name in table if name in weights]
  wrong = [
    f"{name} is {list(weights[name].shape)}, not {list(table[name].shape)}"
    for name in common
    if weights[name].shape != table[name].shape
  ]
  groups = {
    "missing": [name for name in table if name not in weights],
    "left over": [name for name in weights if name not in table],
    "wrong shape": wrong,
    "not finite": [
      name for name in common if not np.isfinite(weights[name]).all()
    ],
  }
  if any(groups.values()):
    raise ConversionError(
      f"the weights do not fit {model}:",
      *(f"{what}: {_some(names)}" for what, names in groups.items() if names),
    )
  parts: dict[str, list[np.ndarray]] = {}
  for name, place in table.items():
    value = place.change(np.asarray(weights[name], np.float32))
    parts.setdefault(place.target, []).append(value)
  joins = {place.target: place.join for place in table.values()}
  params = {
    target: joins[target](values) if len(values) > 1 else values[0]
    for target, values in parts.items()
  }
  return flax.traverse_util.unflatten_dict(params, sep=".")


def size_of(
  weights: Mapping[str, np.ndarray], name: str, axis: int
) -> int | None:
  """Length of one axis of a weight; None if there is no such weight."""
  shape = weights[name].shape if name in weights else ()
  return shape[axis] if axis < len(shape) else None


def choose(
  arguments: Mapping[str, Any], name: str, known: Mapping[Any, Any], peer: str
) -> Any:
  """Our word for an option of a peer.

  Raises:
    ConversionError: If the option has no counterpart here.
  """
  value = arguments[name]
  if isinstance(value, (str, bool, type(None))) and value in known:
    return known[value]
  words = ", ".join(str(word) for word in known)
  raise ConversionError(
    f"{peer}'s {name}={value!r} has no counterpart here: only {words}."
  )


def gather(
  *sources: Mapping[str, Any],
  needed: Collection[str],
  counts: Collection[str],
  known: Collection[str],
  peer: str,
) -> dict[str, Any]:
  """The arguments of a model at a peer, from several sources, checked.

  Args:
    *sources: Defaults, what the weights tell, and what is given; the last one
      wins, and None in it means that it does not say.
    needed: What the model takes.
    counts: Which of it are sizes, whole numbers from 1 to 65,536.
    known: What it may take besides.
    peer: Who it comes from, for errors.

  Returns:
    The arguments.

  Raises:
    ConversionError: If one is missing or unknown, a size is impossible, or the
      filters do not overlap by half.
  """
  args = {name: value for source in sources for name, value in source.items()}
  names = dict.fromkeys((*counts, *needed))
  if gaps := [name for name in names if name not in args]:
    raise ConversionError(
      f"the checkpoint does not say {', '.join(gaps)}, and its weights do not "
      "tell: give each as --set=NAME=VALUE."
    )
  if unknown := sorted(args.keys() - {*needed, *counts, *known}):
    raise ConversionError(
      f"{peer}'s {', '.join(unknown)} has no counterpart here."
    )
  for name in counts:
    value = args[name]
    if type(value) is not int or not 1 <= value <= 65_536:
      raise ConversionError(f"{name} cannot be {value!r}.")
  size = args["kernel_size"]
  stride = args.get("stride") or size // 2
  if size % 2 or stride != size // 2:
    raise ConversionError(
      f"{peer}'s stride={stride!r} with kernel_size={size} has no counterpart "
      "here: filters are of even length and overlap by half. Where the file "
      "does not say its stride, --set=stride=N does."
    )
  return args


def told(**sizes: Any) -> dict[str, Any]:
  """The sizes that the weights tell: those that are not None."""
  return {name: value for name, value in sizes.items() if value is not None}


def matrix(weight: np.ndarray) -> np.ndarray:
  """The weight of a 1x1 convolution as a kernel `[inputs, outputs]`."""
  return weight.reshape(weight.shape[:2]).T


def taps(weight: np.ndarray) -> np.ndarray:
  """The weight of a one-channel or depthwise convolution as `[taps, F]`."""
  return weight[:, 0].T


def same(weight: np.ndarray) -> np.ndarray:
  """The weight itself."""
  return weight


def flat(weight: np.ndarray) -> np.ndarray:
  """The weight as a vector."""
  return weight.reshape(-1)


def scalar(weight: np.ndarray) -> np.ndarray:
  """The weight as a number."""
  return weight.reshape(())


def _some(names):
  more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
  return ", ".join(names[:_SHOWN]) + more


def whole_rate(value: object) -> int | None:
  """A sample rate as a peer writes it, in hertz; None if it says none.

  Raises:
    ConversionError: If it is no whole number of hertz.
  """
  if value is None or value == "None":
    return None
  if isinstance(value, (int, float)) and math.isfinite(value):
    if value == int(value) and value > 0 and not isinstance(value, bool):
      return int(value)
  raise ConversionError(f"the sample rate cannot be {value!r}.")
