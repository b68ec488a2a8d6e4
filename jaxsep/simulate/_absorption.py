"""Absorption of the walls of a rectangular room for a reverberation time."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxsep.typing import Array, Float


def image_absorption(
  room: Float[Array, "*#batch 3"],
  t60_s: Float[Array, "*#batch"] | float | int,
  *,
  speed_of_sound: float | int = 343.0,
) -> Float[Array, "*batch"]:
  """Absorption with which the image method decays as wanted.

  Sound that travels at a small angle to the floor of a flat room meets few
  walls. The image method has such sound, so that it decays more slowly than the
  formulas of Sabine and Eyring say: in rooms of 0.6 s by half as much again and
  more. This is the absorption for which the mean energy of all directions,
  integrated backwards, takes half of `t60_s` from -5 to -35 dB.

  Args:
    room: Sizes in metres, shape `[..., 3]`.
    t60_s: Time in which the energy falls by 60 dB, shape `[...]`.
    speed_of_sound: In m/s.

  Returns:
    Share of the energy that a wall takes, shape `[...]`, below 1.

  Example:
    >>> print(image_absorption(np.array([6.0, 5.0, 3.0]), 0.3).round(3))
    0.379
  """
  # With -ln(1 - absorption) = a, what is left after the path c t of directions
  # that meet q walls in a metre is the mean of exp(-a c t q).
  path = jnp.vectorize(_path, signature="(d)->()")(
    jnp.asarray(room, jnp.float32)
  )
  return -jnp.expm1(-path / (speed_of_sound * jnp.asarray(t60_s)))


def _path(room):
  """Product a c T60 of a room `[3]`; see `image_absorption`."""
  crossings = jnp.sum(_DIRECTIONS / room[None], axis=-1)
  energy = _WEIGHTS / crossings
  energy = energy / jnp.sum(energy)
  levels = jnp.array([-5.0, -35.0]) * (math.log(10) / 10)

  def halve(_, span):
    low, high = span
    middle = (low + high) / 2
    left = jnp.exp(-middle[:, None] * crossings[None]) @ energy
    is_before = jnp.log(left) > levels
    return jnp.where(is_before, middle, low), jnp.where(is_before, high, middle)

  # No direction meets fewer walls than one along the longest side.
  span = jnp.zeros(2), -levels * jnp.max(room)
  first, last = jax.lax.fori_loop(0, 24, halve, span)[0]
  return 2 * (last - first)


def sabine_absorption(
  room: Float[Array, "*#batch 3"],
  t60_s: Float[Array, "*#batch"] | float | int,
  *,
  speed_of_sound: float | int = 343.0,
) -> Float[Array, "*batch"]:
  """Absorption by Sabine's formula, as published simulations have it.

  Args:
    room: Sizes in metres, shape `[..., 3]`.
    t60_s: Time in which the energy falls by 60 dB, shape `[...]`.
    speed_of_sound: In m/s.

  Returns:
    Share of the energy that a wall takes, shape `[...]`; 1 or more where the
    room is too large to sound so short.

  Example:
    >>> print(sabine_absorption(np.array([6.0, 5.0, 3.0]), 0.3).round(3))
    0.384
  """
  x, y, z = jnp.moveaxis(jnp.asarray(room, jnp.float32), -1, 0)
  decay = 24 * math.log(10) / (speed_of_sound * jnp.asarray(t60_s))
  return decay * x * y * z / (2 * (x * y + y * z + z * x))


def _octant(num=12):
  """Directions `[D, 3]` of an eighth of the sphere, and weights `[D]`."""
  nodes, weights = np.polynomial.legendre.leggauss(num)
  up, turn = np.meshgrid((nodes + 1) / 2, np.pi / 4 * (nodes + 1))
  level = np.sqrt(1 - up**2)
  axes = np.stack([level * np.cos(turn), level * np.sin(turn), up], axis=-1)
  return (
    axes.reshape(-1, 3).astype(np.float32),
    np.outer(weights, weights).ravel().astype(np.float32) / 4,
  )


_DIRECTIONS, _WEIGHTS = _octant()
