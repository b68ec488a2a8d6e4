"""Schedules and the update direction, against values worked out by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsep import train
from jaxsep.train import optimizer

PEAK, END, WARMUP, STEPS = 0.5, 0.1, 4, 24


def rate_at(step, **options):
  options = {"learning_rate": PEAK, "end_learning_rate": END, **options}
  config = train.OptimizerConfig(**options)
  return float(optimizer.make_schedule(config, num_steps=STEPS)(step))


# Reference.


@pytest.mark.parametrize(
  ("schedule", "quarter", "middle", "end"),
  [
    ("constant", PEAK, PEAK, PEAK),
    ("plateau", PEAK, PEAK, PEAK),
    ("linear", 0.4, 0.3, END),
    # 1 + cos(pi / 4) halves, between END and PEAK.
    ("cosine", 0.3 + 0.2 * math.sqrt(0.5), 0.3, END),
    # Of 4 steps at the peak: 10, 15 and 25 are done.
    ("rsqrt", PEAK * math.sqrt(4 / 10), PEAK * math.sqrt(4 / 15), PEAK * 0.4),
  ],
)
def test_schedules_after_a_warm_up(schedule, quarter, middle, end):
  options = {"schedule": schedule, "warmup_steps": WARMUP}
  assert rate_at(0, **options) == pytest.approx(PEAK / WARMUP)
  assert rate_at(1, **options) == pytest.approx(PEAK * 2 / WARMUP)
  assert rate_at(WARMUP - 1, **options) == pytest.approx(PEAK)
  at = {9: quarter, 14: middle, STEPS: end}
  # The decay is from step 4 to step 24; the middle is step 14, a quarter 9.
  for step, expected in at.items():
    assert rate_at(step, **options) == pytest.approx(expected), step


@pytest.mark.parametrize(
  ("schedule", "first", "middle", "end"),
  [
    ("constant", PEAK, PEAK, PEAK),
    ("linear", PEAK, 0.3, END),
    ("cosine", PEAK, 0.3, END),
    ("rsqrt", PEAK, PEAK / math.sqrt(13), PEAK / 5),
  ],
)
def test_schedules_without_a_warm_up(schedule, first, middle, end):
  at = {0: first, 12: middle, 24: end}
  for step, expected in at.items():
    assert rate_at(step, schedule=schedule) == pytest.approx(expected), step


def test_staircase_is_the_schedule_of_dptnet():
  # k1 d^-0.5 n warm^-1.5 up to step 4000, then k2 0.98^floor((epoch - 1) / 2);
  # k1 = 0.2, d = 64, k2 = 4e-4. The first ends at 3.95e-4, within 1.2 % of k2.
  epoch = 3_000
  options = {
    "learning_rate": 4e-4,
    "schedule": "staircase",
    "warmup_steps": 4_000,
    "decay_every": 2 * epoch,
  }
  for n in (1, 10, 2_000, 3_999):
    expected = 0.2 * 64**-0.5 * n * 4_000**-1.5
    assert rate_at(n - 1, **options) == pytest.approx(expected, rel=0.015)
  for step in (4_000, 5_999, 6_000, 11_999, 12_000, 180_000):
    expected = 4e-4 * 0.98 ** ((step // epoch + 1 - 1) // 2)
    assert rate_at(step, **options) == pytest.approx(expected, rel=1e-4)


def test_weights_decay_apart_from_adam():
  params = {"w": jnp.float32([2.0, -3.0])}
  grads = {"w": jnp.float32([0.1, 0.2])}
  options = {"clip_norm": None, "eps": 0.0}
  decay = train.OptimizerConfig(weight_decay=0.01, **options)
  tx = optimizer.make_optimizer(decay)
  update, _ = tx.update(grads, tx.init(params), params)
  # Adam's first update is the sign of the gradient, whatever its size.
  np.testing.assert_allclose(update["w"], [1 + 0.02, 1 - 0.03], rtol=1e-5)


def test_clipping_is_of_the_global_norm():
  tx = optimizer.make_optimizer(train.OptimizerConfig(clip_norm=1.0))
  grads = {"a": jnp.float32([3.0]), "b": jnp.float32([4.0])}
  _, (_, adam) = tx.update(grads, tx.init(grads), grads)
  # The mean after one step is a tenth of the clipped gradient.
  np.testing.assert_allclose(adam.mu["a"], [0.06], rtol=1e-5)
  np.testing.assert_allclose(adam.mu["b"], [0.08], rtol=1e-5)


def test_muon_makes_kernels_orthogonal_and_leaves_the_rest_to_adam():
  key = jax.random.key(0)
  grads = {
    "kernel": jax.random.normal(key, (16, 32)) * jnp.arange(1.0, 33.0)[None],
    "depthwise": jax.random.normal(key, (3, 32)),
    "bias": jax.random.normal(key, (32,)),
  }
  config = train.OptimizerConfig(name="muon", clip_norm=None, eps=1e-12)
  tx = optimizer.make_optimizer(config)
  update, _ = tx.update(grads, tx.init(grads), grads)
  # The polar factor of the gradient, with entries of root mean square 0.2.
  left, values, right = np.linalg.svd(grads["kernel"], full_matrices=False)
  polar = left @ right * 0.2 * math.sqrt(32)
  assert values[0] > 3 * values[-1]
  ratio = np.linalg.svd(update["kernel"], compute_uv=False) / (
    0.2 * math.sqrt(32)
  )
  # The five steps of its iteration bring them near one, not to it.
  assert 0.6 < ratio.min() < ratio.max() < 1.3
  cosine = np.vdot(polar, update["kernel"]) / (
    np.linalg.norm(polar) * np.linalg.norm(update["kernel"])
  )
  assert cosine > 0.97
  for name in ("depthwise", "bias"):
    np.testing.assert_allclose(update[name], np.sign(grads[name]), rtol=1e-4)


# Laws.


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_decay_steps_move_the_end(schedule):
  options = {"schedule": schedule, "decay_steps": 8}
  for step in (8, 9, STEPS):
    assert rate_at(step, **options) == pytest.approx(END)
  assert rate_at(7, **options) > 1.01 * END


# Transform.


@pytest.mark.parametrize("decay_every", [41, 3333])
def test_stairs_begin_at_the_step_in_a_traced_schedule(decay_every):
  config = train.OptimizerConfig(
    schedule="staircase", decay_every=decay_every, decay_rate=0.5
  )
  rate = optimizer.make_schedule(config, num_steps=9)
  steps = decay_every * np.arange(1, 9)[:, None] + np.array([-1, 0, 1])
  expected = config.learning_rate * 0.5 ** (steps // decay_every)
  np.testing.assert_allclose(
    jax.jit(jax.vmap(jax.vmap(rate)))(steps.astype(np.int32)),
    expected,
    rtol=1e-6,
  )


@pytest.mark.parametrize("schedule", ["cosine", "linear", "rsqrt", "staircase"])
def test_schedule_of_a_traced_step(schedule):
  config = train.OptimizerConfig(
    schedule=schedule, warmup_steps=3, decay_every=2
  )
  rate = optimizer.make_schedule(config, num_steps=9)
  steps = jnp.arange(10, dtype=jnp.int32)
  np.testing.assert_allclose(
    jax.jit(jax.vmap(rate))(steps), [rate(i) for i in range(10)], rtol=1e-6
  )


# Failures.


@pytest.mark.parametrize(
  ("option", "value"),
  [
    ("name", "adm"),
    ("schedule", "cosin"),
    ("clip_norm", 0.0),
    ("learning_rate", -1.0),
    ("plateau_factor", 2.0),
    ("warmup_steps", -1),
    ("weight_decay", -0.1),
    ("decay_steps", 0),
    ("decay_rate", 1.5),
  ],
)
def test_options_out_of_range(option, value):
  options = train.OptimizerConfig(**{option: value})
  with pytest.raises(ValueError, match=option):
    optimizer.make_optimizer(options)


def test_staircase_needs_the_length_of_a_stair():
  with pytest.raises(ValueError, match="decay_every is None"):
    rate_at(0, schedule="staircase")
