"""Rooms at random, with a microphone and speakers around it."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from jaxsep.simulate._absorption import sabine_absorption
from jaxsep.simulate._levels import Range, ends, uniform
from jaxsep.simulate._shoebox import shoebox_rir
from jaxsep.typing import Array, Float, Key

# Rooms, and places of the speakers, are drawn so often; the first that fit are
# taken, so that shapes stay fixed. One in ten or so does not fit.
_NUM_DRAWS = 32
# A source is at least so far from a wall, in metres.
_MARGIN_M = 0.1
_RANGES = (
  *("width_m", "depth_m", "height_m", "t60_s"),
  *("microphone_height_m", "distance_m", "rise_m"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomRoom:
  """Draws a room and the responses from its speakers to one microphone.

  The defaults are those of the simulation for which the LibriCSS authors
  published the program. A range is `(low, high)`; draws are uniform. As there,
  walls absorb by Sabine's formula: measured, rooms sound up to twice as long as
  `t60_s`, most in flat rooms (see `image_absorption`).

  Attributes:
    width_m: Size in x.
    depth_m: Size in y.
    height_m: Size in z.
    t60_s: Reverberation time for Sabine's formula, and where responses end. A
      room too large for its time is drawn again, with the time.
    off_centre_m: How far the microphone is from the centre, at most, in x and
      in y.
    microphone_height_m: Its height.
    distance_m: Semi-axes, in x and in y, of the ellipse around the microphone
      on which all speakers stand; walls keep them within the room.
    rise_m: How far the speakers' mouths are above the microphone.
    rise_spread_m: How far each of them is off that, up or down.
    min_angle_deg: Least angle between two speakers, seen from the microphone;
      if there are too many of them, the widest of the draws is taken.
    speed_of_sound: In m/s.

  Raises:
    ValueError: If a range is none, or no room can sound so short.

  Example:
    >>> room = RandomRoom(t60_s=(0.2, 0.3))
    >>> draw = jax.jit(lambda key: room(key, 2, sample_rate_hz=8000))
    >>> rirs = draw(jax.random.key(0))
    >>> print(rirs.shape, rirs.argmax(axis=-1).min())
    (2, 2400) 0
  """

  width_m: Range = (5.0, 16.0)
  depth_m: Range = (5.0, 16.0)
  height_m: Range = (2.5, 4.5)
  t60_s: Range = (0.15, 0.6)
  off_centre_m: float = 2.0
  microphone_height_m: Range = (0.4, 1.2)
  distance_m: Range = (0.5, 4.0)
  rise_m: Range = (0.1, 1.0)
  rise_spread_m: float = 0.1
  min_angle_deg: float = 5.0
  speed_of_sound: float = 340.0

  def __post_init__(self):
    for name in _RANGES:
      object.__setattr__(self, name, ends(name, getattr(self, name)))
    smallest = [low for low, _ in self._sizes]
    shortest, longest = self._times
    if min(smallest) <= 2 * _MARGIN_M or shortest <= 0:
      raise ValueError(
        f"a room of {smallest} m and {shortest} s is none: give larger "
        "sizes, and a time above 0"
      )
    # Sabine: 24 ln(10) V / (c S T).
    half_surface = math.prod(smallest) * sum(1 / size for size in smallest)
    decay = 12 * math.log(10) / (self.speed_of_sound * longest)
    if decay * math.prod(smallest) >= half_surface:
      raise ValueError(
        f"t60_s {self.t60_s} is too short for rooms from {smallest} m on: give "
        "a longer time, or smaller rooms"
      )

  def __call__(
    self, key: Key, num_sources: int, *, sample_rate_hz: int
  ) -> Float[Array, "sources taps"]:
    """Responses of one room.

    Args:
      key: Random key.
      num_sources: Number of speakers S.
      sample_rate_hz: Sample rate of the responses.

    Returns:
      Responses, shape `[S, R]`, as long as the longest `t60_s`. The delay of
      the direct sound of the nearest speaker is taken off all.
    """
    place = self.draw(key, num_sources)
    apart = place["source"] - place["microphone"][None]
    distance = jnp.sqrt(jnp.sum(apart**2, axis=-1))
    return shoebox_rir(
      place["room"],
      place["source"],
      place["microphone"],
      absorption=self._absorption(place["room"], place["t60_s"]),
      until_s=place["t60_s"],
      advance_s=jnp.min(distance) / self.speed_of_sound,
      sample_rate_hz=sample_rate_hz,
      length=math.ceil(self._times[1] * sample_rate_hz),
      speed_of_sound=self.speed_of_sound,
    )

  def draw(self, key: Key, num_sources: int) -> dict[str, Array]:
    """A room and who is where in it.

    Args:
      key: Random key.
      num_sources: Number of speakers S.

    Returns:
      "room" `[3]`, "t60_s", "microphone" `[3]` and "source" `[S, 3]`.
    """
    keys = iter(jax.random.split(key, 10))

    def pick(span, *shape):
      return uniform(next(keys), span, shape)

    rooms = jnp.stack([pick(x, _NUM_DRAWS) for x in self._sizes], axis=-1)
    times = pick(self.t60_s, _NUM_DRAWS)
    absorption = self._absorption(rooms, times)
    first = jnp.argmin(jnp.maximum(absorption, 0.99))
    room, t60_s = rooms[first], times[first]

    off = pick((-self.off_centre_m, self.off_centre_m), 2)
    height = pick(self.microphone_height_m, 1)
    microphone = jnp.concatenate([room[:2] / 2 + off, height])
    microphone = jnp.clip(microphone, _MARGIN_M, room - _MARGIN_M)

    turn = pick((0.0, 2 * math.pi), _NUM_DRAWS, num_sources, 1)
    ellipse = pick(self.distance_m, 2).reshape(1, 1, 2)
    level = ellipse * jnp.concatenate([jnp.cos(turn), jnp.sin(turn)], axis=-1)
    spread = pick((-self.rise_spread_m, self.rise_spread_m), *turn.shape)
    rise = pick(self.rise_m) + spread
    apart = jnp.concatenate([level, rise], axis=-1)
    source = microphone.reshape(1, 1, 3) + apart
    source = jnp.clip(source, _MARGIN_M, (room - _MARGIN_M).reshape(1, 1, 3))
    wide = jnp.radians(self.min_angle_deg)
    narrowest = jax.vmap(_narrowest)(source - microphone.reshape(1, 1, 3))
    first = jnp.argmax(jnp.minimum(narrowest, wide))
    return {
      "room": room,
      "t60_s": t60_s,
      "microphone": microphone,
      "source": source[first],
    }

  @property
  def _sizes(self) -> Any:
    return self.width_m, self.depth_m, self.height_m

  @property
  def _times(self) -> Any:
    return self.t60_s

  def _absorption(self, room, t60_s):
    speed = self.speed_of_sound
    return sabine_absorption(room, t60_s, speed_of_sound=speed)


def _narrowest(apart):
  """The smallest angle, in x and y, between two of the vectors `[S, 3]`."""
  angle = jnp.arctan2(apart[:, 1], apart[:, 0])
  between = jnp.abs(angle[:, None] - angle[None])
  between = jnp.minimum(between, 2 * math.pi - between)
  return jnp.min(between + 7.0 * jnp.eye(len(angle)))
