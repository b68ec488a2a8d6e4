"""Options as JSON and back."""

import dataclasses
import functools
import json
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsep import json_values, losses


@dataclasses.dataclass(frozen=True)
class Window:
  length: int = 512
  name: str = ""
  kind: str | None = "hann"
  parts: tuple[Any, ...] = ()


class Net(nn.Module):
  window: Window = Window()
  head: nn.Module | None = None
  dtype: Any = jnp.float32
  act: Any = nn.relu


def module_level(x):
  return x


NAMES = {"Window": Window, "Net": Net, "Dense": nn.Dense}


def there_and_back(value, names=NAMES):
  text = json.dumps(json_values.encode(value), allow_nan=False)
  return json_values.decode(json.loads(text), names)


# Laws.


@pytest.mark.parametrize(
  "value",
  [
    None,
    True,
    -3,
    2.5,
    -math.inf,
    "text",
    [1, [None, ()]],
    (1, (2.0, "x"), None),
    {"a": {"b": (1,)}},
    {1: "one", (2, 3): None},
    {"class": "Window", "tuple": [1]},
    jnp.bfloat16,
    np.dtype("int8"),
    np.float32,
    np.int64(7),
    Window(256, None, (Window(), {"deep": jnp.int32})),
    Window(name="muon"),
    Net(window=Window(128), head=nn.Dense(3), dtype=jnp.bfloat16, act=jnp.tanh),
    nn.gelu,
  ],
  ids=lambda value: type(value).__name__,
)
def test_comes_back_equal(value):
  again = there_and_back(value)
  assert again == value
  if not isinstance(value, np.generic | np.dtype | type):
    assert type(again) is type(value)


def test_nan_comes_back_and_dtypes_are_those_of_jax():
  assert math.isnan(there_and_back(float("nan")))
  assert there_and_back(np.dtype("float32")) is jnp.float32


def test_partial_of_a_function_comes_back():
  loss = functools.partial(losses.neg_snr, eps=1e-3)
  encoded = json_values.encode(loss)
  assert encoded["partial"] == {"function": "jaxsep.losses.neg_snr"}
  again = there_and_back(loss, json_values.names_in(loss))
  assert again.func is losses.neg_snr
  assert (again.args, again.keywords) == ((), {"eps": 1e-3})
  other = functools.partial(losses.neg_snr, eps=1e-4)
  assert json_values.encode(other) != encoded


def test_names_in_are_those_that_decode_needs():
  net = Net(head=nn.Dense(3), act=module_level)
  names = json_values.names_in(net)
  assert {"Net", "Window", "Dense"} < names.keys()
  assert there_and_back(net, names) == net


def test_a_local_function_is_left_out_where_it_is_the_default():
  options = json_values.encode(nn.Dense(3))["options"]
  assert not {"kernel_init", "parent", "name"} & options.keys()


# Failures.


def test_what_has_no_lasting_name_is_refused():
  def local(x):
    return x

  for value in (lambda x: x, local):
    with pytest.raises(ValueError, match=r"Net\.act: .* no lasting name"):
      json_values.encode(Net(act=value))
  with pytest.raises(ValueError, match=r"Net\.act\.kernel_init: .*no lasting"):
    json_values.encode(
      Net(act=functools.partial(nn.Dense, kernel_init=lambda *_: 0))
    )
  with pytest.raises(ValueError, match=r"Window\.parts\[\]: a .*Array"):
    json_values.encode(Window(parts=(jax.numpy.ones(2),)))


def test_two_classes_of_one_name_are_refused():
  other = dataclasses.make_dataclass("Window", ["length"], frozen=True)
  with pytest.raises(ValueError, match="two classes are called Window"):
    json_values.encode([Window(), other(3)])


@pytest.mark.parametrize(
  ("value", "match"),
  [
    ({"class": "os.system", "options": {}}, "class 'os.system' is unknown"),
    ({"function": "os.system"}, "function 'os.system' is unknown"),
    ({"function": "jax.nn.no_such"}, "no_such"),
    ({"class": "Window", "options": {"bogus": 1}}, "bogus"),
    ({"class": "Window"}, "options"),
    ({"dtype": "object"}, "object"),
    ({"tuple": 3}, "cannot be read"),
  ],
)
def test_unknown_names_are_refused(value, match):
  with pytest.raises(ValueError, match=match):
    json_values.decode(value, NAMES)
