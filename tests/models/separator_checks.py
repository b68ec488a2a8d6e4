"""What is asked of every separator `[B, T] -> [B, S, T]`, whatever is in it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxsep.dsp import Stft
from jaxsep.models import TemporalConvNet


def nest(model_class, **options):
  """A model, its options told apart from those of the values in it."""
  nested = {
    name: value_class(
      **{key: options.pop(key) for key in fields(value_class) & options.keys()}
    )
    for name, value_class in (("masker", TemporalConvNet), ("stft", Stft))
    if name in fields(model_class)
  }
  return model_class(**nested, **options)


def fields(value_class):
  return {field.name for field in dataclasses.fields(value_class)}


def signal(*shape, seed=0):
  return jax.random.normal(jax.random.key(seed), shape)


def count(params):
  return sum(value.size for value in jax.tree.leaves(params))


def check_examples_do_not_meet(apply, params, *, time):
  mixture = signal(3, time)
  alone = jnp.concatenate([apply(params, row[None]) for row in mixture])
  np.testing.assert_allclose(apply(params, mixture), alone, atol=2e-5)


def check_padding_changes_nothing(model, params, *, time=200):
  """A padded batch gives what its examples give alone, and their gradients."""
  lengths = jnp.array([time, 113, 17])
  mixture = signal(3, time)

  @jax.jit
  def run(params, mixture, length=None):
    def total(params):
      estimate = model.apply({"params": params}, mixture, length=length)
      return jnp.sum(estimate**2), estimate

    return jax.grad(total, has_aux=True)(params)

  gradient, estimate = run(params, mixture, lengths)
  gradients = []
  for index, length in enumerate(lengths.tolist()):
    one, alone = run(params, mixture[index : index + 1, :length])
    gradients.append(one)
    assert jnp.all(estimate[index, :, length:] == 0)
    atol = 1e-5 * jnp.abs(alone).max()
    np.testing.assert_allclose(estimate[index, :, :length], alone[0], atol=atol)
  for values in zip(*map(jax.tree.leaves, [gradient, *gradients]), strict=True):
    expected = sum(values[1:])
    np.testing.assert_allclose(
      values[0], expected, atol=1e-3 * jnp.abs(expected).max() + 1e-6
    )


def check_level_changes_nothing_else(apply, params, *, time, atol=1e-4):
  mixture = signal(2, time)
  np.testing.assert_allclose(
    apply(params, 8.0 * mixture),
    8.0 * apply(params, mixture),
    rtol=1e-3,
    atol=atol,
  )


def check_sees_the_future(apply, params, *, time):
  """A change of the last 100 samples changes the first 100."""
  mixture = signal(1, time)
  changed = mixture.at[:, -100:].multiply(10.0)
  difference = apply(params, changed) - apply(params, mixture)
  assert jnp.abs(difference[..., :100]).max() > 1e-3


def check_length_comes_back(apply, params, length):
  estimate = apply(params, signal(2, length))
  assert estimate.shape == (2, 2, length)
  assert jnp.all(jnp.isfinite(estimate))
  return estimate


def check_finite_at_all_levels(apply, params, *, time):
  """Silence, near silence and loud sound, in values and gradients."""

  def total(params, mixture):
    return jnp.sum(apply(params, mixture) ** 2)

  gradient_of = jax.jit(jax.value_and_grad(total, argnums=(0, 1)))
  values = []
  for level in (0.0, 1e-6, 1e4):
    mixture = (level * signal(2, time)).at[:, :100].set(0.0)
    value, gradient = gradient_of(params, mixture)
    assert jnp.isfinite(value)
    assert all(jnp.all(jnp.isfinite(g)) for g in jax.tree.leaves(gradient))
    values.append(value)
  return values


def check_bfloat16(whole, half, *, time, most):
  """Each is a model's parameters and compiled function."""
  params, apply = whole
  half_params, half_apply = half
  assert all(v.dtype == jnp.float32 for v in jax.tree.leaves(half_params))
  mixture = signal(2, time)
  estimate, exact = half_apply(params, mixture), apply(params, mixture)
  assert estimate.dtype == jnp.float32
  error = jnp.sqrt(jnp.mean((estimate - exact) ** 2) / jnp.mean(exact**2))
  assert 1e-6 < error < most


def check_sharded(apply, params, *, time, gradient_atol=None):
  """A batch spread over devices equals one that is not; so do gradients."""
  mixture = signal(8, time)
  mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
  spread = jax.device_put(mixture, NamedSharding(mesh, PartitionSpec("data")))
  copied = jax.device_put(params, NamedSharding(mesh, PartitionSpec()))
  np.testing.assert_allclose(
    apply(copied, spread), apply(params, mixture), rtol=1e-4, atol=1e-5
  )
  if gradient_atol is None:
    return

  @jax.jit
  def gradient(params, mixture):
    return jax.grad(lambda p: jnp.mean(apply(p, mixture) ** 2))(params)

  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(
      a, b, rtol=1e-3, atol=gradient_atol
    ),
    gradient(copied, spread),
    gradient(params, mixture),
  )


def learn(loss, params, *, steps):
  """Parameters after some steps of Adam, and the loss before the last."""
  optimizer = optax.adam(1e-2)

  @jax.jit
  def step(params, state):
    value, gradient = jax.value_and_grad(loss)(params)
    update, state = optimizer.update(gradient, state)
    return optax.apply_updates(params, update), state, value

  state = optimizer.init(params)
  for _ in range(steps):
    params, state, value = step(params, state)
  return params, value


def check_learns_two_tones(apply, params, *, most):
  time = jnp.arange(800) / 8000
  low = jnp.sin(2 * jnp.pi * 200 * time)
  high = jnp.sin(2 * jnp.pi * 1500 * time)
  reference = jnp.stack([low, high])[None]
  mixture = reference.sum(axis=1)
  loss = lambda p: jnp.mean((apply(p, mixture) - reference) ** 2)  # noqa: E731
  # The references have a power of a half.
  assert learn(loss, params, steps=150)[1] < most


#: Shapes that are no batch of mixtures.
OTHER_SHAPES = [(100,), (1, 2, 100), (2, 0)]


def check_refuses_shape(model, params, shape):
  with pytest.raises(ValueError, match=r"\[batch, time\]"):
    model.apply({"params": params}, jnp.zeros(shape))


def check_refuses_options(model, message):
  with pytest.raises(ValueError, match=message):
    jax.eval_shape(model.init, jax.random.key(0), signal(1, 100))
