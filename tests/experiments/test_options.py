"""Configs made from class instances, flags on them, and optimizers."""

import dataclasses
import functools
import json
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import options as options_lib
from experiments.optimizer import OptimizerConfig, make_schedule
from experiments.options import build, make_config, options, override
from jaxsep import losses, train


@dataclasses.dataclass(frozen=True)
class Inner:
  size: int = 3
  reach: float = math.inf


@dataclasses.dataclass(frozen=True)
class Outer:
  """One of every kind of option."""

  inner: Inner = Inner()
  maybe: Inner | None = None
  span: float | tuple[float, float] = (0.0, 5.0)
  level_db: float | None = -25.0
  where: str | None = None
  parts: tuple[str, ...] = ()
  dtype: Any = jnp.float32
  flag: bool = False
  kind: str = "a"
  name: str = "b"
  stages: tuple[Inner, ...] = ()


options_lib.register(Inner, Outer)


def config_of(value, *words):
  config = make_config(value=options(value), rate=8000)
  override(config, words)
  return config


def changed(*words):
  return build(config_of(Outer(), *words).value)


def test_every_field_is_there_and_comes_back():
  value = Outer(
    maybe=Inner(7),
    span=2.0,
    parts=("a", "b"),
    dtype=jnp.bfloat16,
    stages=(Inner(1), Inner(2)),
  )
  config = config_of(value)
  names = {field.name for field in dataclasses.fields(Outer)}
  assert set(config.value) == names | {"class"}
  assert build(config.value) == value
  as_text = json.dumps(options_lib.to_json(config))
  again = make_config(**json.loads(as_text))
  assert build(again.value) == value and again.rate == 8000


@pytest.mark.parametrize(
  ("words", "expected"),
  [
    (["level_db=None"], Outer(level_db=None)),
    (["level_db=-30"], Outer(level_db=-30.0)),
    (["span=(1,2)", "parts=('x',)"], Outer(span=(1.0, 2.0), parts=("x",))),
    (["span=4"], Outer(span=4.0)),
    (["where=3", "flag=true"], Outer(where="3", flag=True)),
    (["inner.size=5"], Outer(inner=Inner(5))),
    (["inner.reach=1e3"], Outer(inner=Inner(3, 1000.0))),
    (["maybe.size=5"], Outer(maybe=Inner(5))),
    (["maybe.size=5", "maybe=None"], Outer()),
    (["dtype=bfloat16"], Outer(dtype=jnp.dtype("bfloat16"))),
  ],
)
def test_flags_set_what_they_say(words, expected):
  assert changed(*(f"--config.value.{word}" for word in words)) == expected


@pytest.mark.parametrize(
  ("word", "message"),
  [
    ("value.sise=1", "config.value has no sise; it has dtype, flag, inner"),
    ("value.inner.size=big", "config.value.inner.size is 'big'; it takes int"),
    ("value.inner.size=1.5", "config.value.inner.size is 1.5"),
    ("value.inner.size=None", "inner.size is None; it takes int"),
    ("value.flag=1", "config.value.flag is 1; it takes bool"),
    ("value.span=(1,2,3)", "it takes float | tuple"),
    ("value.inner=4", "config.value.inner has options"),
    ("value.class=Inner", "config.value has no class"),
    ("value.kind.x=1", "config.value.kind is 'a'; it has no x"),
    ("rate=fast", "config.rate is 'fast'; it takes int"),
    ("rate", "--config.rate is given no value"),
  ],
)
def test_mistakes_are_one_line(word, message):
  with pytest.raises(ValueError) as caught:
    changed(f"--config.{word}")
  assert message in str(caught.value) and "\n" not in str(caught.value)


def test_names_and_folders_need_no_class():
  words = ["init_from=runs/a:encoder", "init_from.masker/norm=c:norm"]
  words.append("frozen.teacher=b")
  config = config_of(Outer(), *(f"--config.{word}" for word in words))
  names = {"": "runs/a:encoder", "masker/norm": "c:norm"}
  assert config.init_from.to_dict() == names
  assert config.frozen.to_dict() == {"teacher": "b"}
  again = make_config(**options_lib.to_json(config))
  assert again.init_from.to_dict() == names
  override(again, ["--config.init_from=None"])
  assert not again.init_from


def test_types_are_checked_in_files_too():
  config = config_of(Outer())
  config.value.inner.size = "many"
  with pytest.raises(ValueError, match="size is 'many'; it takes int"):
    build(config.value)
  config.value["class"] = "Utter"
  with pytest.raises(ValueError, match="class is 'Utter'; known are"):
    build(config.value)


def test_losses_by_name_with_their_arguments():
  config = config_of(losses.neg_si_snr)
  assert build(config.value) is losses.neg_si_snr
  override(config, ["--config.value=neg_sdr"])
  assert build(config.value) is losses.neg_sdr
  override(config, ["--config.value.soft_threshold_db=30"])
  loss = build(config.value)
  assert loss.func is losses.neg_sdr
  assert loss.keywords == {"soft_threshold_db": 30}
  given = functools.partial(losses.neg_snr, soft_threshold_db=20.0)
  assert build(config_of(given).value).keywords == given.keywords
  with pytest.raises(ValueError, match="is 'mse'; it is one of"):
    override(config, ["--config.value=mse"])


# Optimizers.


def reference_rate(config, step, num_steps):
  """The definition of each schedule, in Python's float64."""
  peak, warmup = config.learning_rate, config.warmup_steps
  span = max((config.decay_steps or num_steps) - warmup, 1)
  done = min(max((step - warmup) / span, 0.0), 1.0)
  end = config.end_learning_rate
  knee = max(warmup, 1)
  rate = {
    "cosine": end + (peak - end) * 0.5 * (1 + math.cos(math.pi * done)),
    "linear": peak + (end - peak) * done,
    "rsqrt": peak * math.sqrt(knee / max(step + 1, knee)),
    "staircase": peak * config.decay_rate ** (step // 5),
  }.get(config.schedule, peak)
  return rate * min((step + 1) / knee, 1.0)


@pytest.mark.parametrize("warmup", [0, 1, 7])
@pytest.mark.parametrize(
  "name", ["constant", "cosine", "linear", "rsqrt", "staircase"]
)
def test_learning_rate_of_every_step(name, warmup):
  config = OptimizerConfig(
    schedule=name,
    learning_rate=2e-3,
    warmup_steps=warmup,
    end_learning_rate=1e-4,
    decay_rate=0.9,
    decay_every=5,
  )
  steps = np.arange(50)
  found = jax.jit(jax.vmap(make_schedule(config, 40)))(steps)
  wanted = [reference_rate(config, step, 40) for step in steps.tolist()]
  np.testing.assert_allclose(found, wanted, rtol=2e-6)


def test_stairs_are_at_the_exact_step():
  config = OptimizerConfig(
    schedule="staircase", learning_rate=1.0, decay_rate=0.5, decay_every=40_009
  )
  rate = jax.jit(make_schedule(config, 10**6))
  for stair in range(1, 24):
    step = stair * 40_009
    assert float(rate(step - 1)) == pytest.approx(0.5 ** (stair - 1))
    assert float(rate(step)) == pytest.approx(0.5**stair)


PARAMS = {
  "encoder": {"kernel": jnp.linspace(-1, 1, 160).reshape(16, 10)},
  "depthwise": {"kernel": jnp.linspace(-1, 1, 120).reshape(8, 15)},
  "norm": {"scale": jnp.ones(15)},
}
PARAMS["layers"] = {
  "out": {"kernel": jnp.stack([PARAMS["encoder"]["kernel"]] * 2)},
  "conv": {"kernel": jnp.stack([PARAMS["depthwise"]["kernel"]] * 2)},
}


def updates_of(*, params=PARAMS, steps=2, scale=1.0, **fields):
  fields = {"schedule": "constant", "learning_rate": 0.1, **fields}
  optimizer, _, _ = OptimizerConfig(**fields).make(10)

  @jax.jit
  def run(params):
    state = optimizer.init(params)
    for _ in range(steps):
      grads = jax.tree.map(lambda x: scale * (x + 0.5), params)
      updates, state = optimizer.update(grads, state, params)
    return updates

  return jax.device_get(run(params))


def test_adam_takes_the_steps_of_its_paper():
  updates = updates_of(clip_norm=None, steps=1)
  for update, x in zip(
    jax.tree.leaves(updates), jax.tree.leaves(PARAMS), strict=True
  ):
    np.testing.assert_allclose(update, -0.1 * np.sign(x + 0.5), atol=1e-5)
  decayed = updates_of(name="adamw", weight_decay=0.2, clip_norm=None, steps=1)
  np.testing.assert_allclose(
    decayed["norm"]["scale"] - updates["norm"]["scale"], -0.02, atol=1e-6
  )


def test_muon_takes_matrices_and_no_depthwise_kernels():
  adam, muon = updates_of(), updates_of(name="muon")
  np.testing.assert_allclose(
    muon["depthwise"]["kernel"], adam["depthwise"]["kernel"], rtol=1e-5
  )
  kernel = muon["encoder"]["kernel"]
  assert np.abs(kernel - adam["encoder"]["kernel"]).max() > 0.01
  # Stacked layers are as many matrices and depthwise kernels.
  layers = muon["layers"]
  for found in layers["out"]["kernel"]:
    np.testing.assert_allclose(found, kernel, rtol=1e-3, atol=1e-6)
  for found in layers["conv"]["kernel"]:
    np.testing.assert_allclose(found, adam["depthwise"]["kernel"], rtol=1e-5)
  # Updates have about the size of Adam's: 0.2 in root mean square.
  assert 0.005 < np.sqrt(np.mean(kernel**2)) < 0.03


def test_plateau_is_handed_on():
  config = config_of(OptimizerConfig(), "--config.value.plateau.patience=2")
  _, schedule, plateau = build(config.value).make(10)
  assert plateau == train.Plateau(patience=2)
  assert float(schedule(7)) == pytest.approx(1e-3)
  assert OptimizerConfig().make(10)[2] is None


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"learning_rate": 0.0}, "learning_rate is 0.0; it is above 0"),
    ({"clip_norm": 0.0}, "clip_norm is 0.0"),
    ({"schedule": "staircase"}, "decay_every is None"),
    ({"warmup_steps": 9, "decay_steps": 9}, "decay_steps is 9; it is above"),
    ({"weight_decay": 0.1}, "weight_decay is 0.1; .*adamw"),
  ],
)
def test_options_that_cannot_be_meant(fields, message):
  with pytest.raises(ValueError, match=message):
    OptimizerConfig(**fields)
