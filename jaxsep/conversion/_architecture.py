"""A model of another toolkit, and how its weights become parameters here."""

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import flax.traverse_util
import jax
import numpy as np

# Names of weights that an error lists.
_SHOWN = 4
# Names of our axes.
_AXES = "abcd"

Weights = Mapping[str, np.ndarray]
Arguments = Mapping[str, Any]


class ConversionError(ValueError):
  """A checkpoint that cannot be converted.

  Attributes:
    lines: What is wrong with it, a line for each kind of fault.
  """

  def __init__(self, *lines: str):
    super().__init__("\n".join(lines))
    self.lines = lines


class Place(NamedTuple):
  """Where a weight of the peer goes.

  Attributes:
    target: Dotted name of our parameter; of another variable, with its
      collection before it.
    axes: The peer's axes in terms of ours, which are `a`, `b` ...: `"ba1"` is
      ours transposed, followed by an axis of length one.
    part: Index of the part of our parameter that the weight is added to.
    change: What is done to the weight first; it keeps its shape.
  """

  target: str
  axes: str = "a"
  part: Any = ...
  change: Callable[[np.ndarray], np.ndarray] = np.asarray


@dataclasses.dataclass(frozen=True)
class Architecture:
  """A model of a peer.

  Attributes:
    peer: The toolkit.
    name: The model's name there.
    signs: Starts of names that only weights of this model have.
    defaults: What the peer takes for arguments that a checkpoint leaves out
      and the weights do not tell.
    counts: Arguments that are whole numbers from 1 to 65,536.
    others: Further arguments that it may have.
    sizes: The arguments that the weights tell, from the weights and the given
      arguments; None for what they do not tell.
    build: Our model with these arguments.
    places: Where each weight of the model goes.
    fixed: Our parameters that the peer has no weight for, by dotted name.
    task: What the model does, for the model folder.
    prepare: Brings the weights of all the peer's versions to one form.
  """

  peer: str
  name: str
  signs: tuple[str, ...]
  defaults: Arguments
  counts: tuple[str, ...]
  others: tuple[str, ...]
  sizes: Callable[[Weights, Arguments], Arguments]
  build: Callable[[Arguments], nn.Module]
  places: Callable[[Any], dict[str, Place]]
  fixed: Mapping[str, float] = dataclasses.field(default_factory=dict)
  task: str = "separation"
  prepare: Callable[[Weights], Weights] = dict

  def convert(
    self, weights: Weights, arguments: Arguments, *, complete: bool
  ) -> tuple[nn.Module, dict[str, Any]]:
    """Our model and its variables; `complete` fills in the peer's defaults."""
    weights = self.prepare(weights)
    defaults = self.defaults if complete else {}
    sizes = self.sizes(weights, {**defaults, **arguments})
    told = {name: size for name, size in sizes.items() if size is not None}
    args = {**defaults, **told, **arguments}
    self._check(args)
    try:
      model = self.build(args)
      example = model.example_inputs()
      shapes = jax.eval_shape(model.init, jax.random.key(0), **example)
    except ConversionError:
      raise
    except (TypeError, ValueError) as error:
      raise ConversionError(
        f"{self.peer}'s arguments have no counterpart here: {error}"
      ) from error
    shapes = flax.traverse_util.flatten_dict(dict(shapes), sep=".")
    ours = {name: name.removeprefix("params.") for name in shapes}
    filled = self._fit(
      {ours[name]: shape for name, shape in shapes.items()},
      self.places(model),
      weights,
    )
    variables = {name: filled[ours[name]] for name in shapes}
    return model, flax.traverse_util.unflatten_dict(variables, sep=".")

  def _check(self, args):
    needed = dict.fromkeys((*self.counts, *self.defaults))
    if gaps := [name for name in needed if name not in args]:
      raise ConversionError(
        f"the checkpoint does not say {', '.join(gaps)}, and its weights do "
        "not tell: give each as --set=NAME=VALUE."
      )
    if unknown := sorted(args.keys() - {*needed, *self.others}):
      raise ConversionError(
        f"{self.peer}'s {', '.join(unknown)} has no counterpart here."
      )
    for name in self.counts:
      if type(args[name]) is not int or not 1 <= args[name] <= 65_536:
        raise ConversionError(f"{name} cannot be {args[name]!r}.")
    if "stride" not in (*self.defaults, *self.others):
      return
    size = args["kernel_size"]
    stride = args.get("stride") or size // 2
    if size % 2 or stride != size // 2:
      raise ConversionError(
        f"stride={stride!r} with kernel_size={size} has no counterpart here: "
        "filters are of even length and overlap by half. Where the file does "
        "not say its stride, --set=stride=N does."
      )

  def _fit(self, shapes, places, weights):
    """Our variables by name, every weight in its place."""
    expected = {
      name: _shape_at_peer(shapes[place.target].shape, place)
      for name, place in places.items()
    }
    common = [name for name in places if name in weights]
    faults = {
      "missing": [name for name in places if name not in weights],
      "left over": [name for name in weights if name not in places],
      "wrong shape": [
        f"{name} is {list(weights[name].shape)}, not {expected[name]}"
        for name in common
        if list(weights[name].shape) != expected[name]
      ],
      "not finite": [
        name for name in common if not np.isfinite(weights[name]).all()
      ],
    }
    if any(faults.values()):
      raise ConversionError(
        f"the weights do not fit {self.peer}'s {self.name}:",
        *(f"{what}: {_some(names)}" for what, names in faults.items() if names),
      )
    filled = {
      name: np.full(shape.shape, self.fixed.get(name, 0), np.float32)
      for name, shape in shapes.items()
    }
    for name, place in places.items():
      part = filled[place.target][place.part]
      if place.axes.replace("1", "") == _AXES[: part.ndim][::-1]:
        part = part.T
      part += place.change(weights[name]).reshape(part.shape)
    return filled


def _shape_at_peer(shape, place):
  """The shape that a weight must have; nothing of that size is made."""
  part = np.broadcast_to(np.float32(0), shape)[place.part].shape
  lengths = {"1": 1, **dict(zip(_AXES, part, strict=False))}
  return [lengths[axis] for axis in place.axes]


def _some(names):
  more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
  return ", ".join(names[:_SHOWN]) + more


def size_of(weights: Weights, name: str, axis: int) -> int | None:
  """Length of one axis of a weight; None if there is no such weight."""
  shape = weights[name].shape if name in weights else ()
  return shape[axis] if axis < len(shape) else None


def num_layers(weights: Weights, prefix: str) -> int | None:
  """One more than the largest number after the prefix; None without any."""
  pattern = re.compile(rf"{re.escape(prefix)}(\d+)\.")
  found = [int(match[1]) for match in map(pattern.match, weights) if match]
  return max(found) + 1 if found else None


def choose(args: Arguments, name: str, known: Mapping[Any, Any]) -> Any:
  """Our word for an argument of a peer; an error if there is none."""
  value = args[name]
  if isinstance(value, (str, bool, type(None))) and value in known:
    return known[value]
  words = ", ".join(str(word) for word in known)
  raise ConversionError(
    f"{name}={value!r} has no counterpart here: only {words}."
  )


def check_depth(blocks: int, repeats: int) -> None:
  """Refuses what nobody trains and what would take hours to build."""
  if blocks > 30 or blocks * repeats > 1000:
    raise ConversionError(f"{repeats} repeats of {blocks} blocks cannot be.")
