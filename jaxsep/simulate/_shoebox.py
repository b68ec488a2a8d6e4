"""Room impulse responses of empty rectangular rooms, by the image method."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxsep import dsp
from jaxsep.simulate._absorption import image_absorption
from jaxsep.typing import Array, Float

# Images are added in steps of this many, so that memory is bounded.
_CHUNK = 1 << 12
# Of the fractional delays as polynomials: 101 dB below the largest tap.
_DEGREE = 7
# Nearer images are heard as from here: no response is infinite.
_NEAREST_M = 0.01


def shoebox_rir(
  room: Float[Array, "*#batch 3"],
  source: Float[Array, "*#batch 3"],
  microphone: Float[Array, "*#batch 3"],
  *,
  sample_rate_hz: float | int,
  length: int,
  t60_s: Float[Array, "*#batch"] | float | None = None,
  absorption: Float[Array, "*#batch"] | float | None = None,
  until_s: Float[Array, "*#batch"] | float | None = None,
  advance_s: Float[Array, "*#batch"] | float = 0.0,
  speed_of_sound: float = 343.0,
  num_taps: int = 81,
  high_pass_hz: float | None = 100.0,
) -> Float[Array, "*batch taps"]:
  """Room impulse responses (RIRs) of an empty room with six equal walls.

  An image at distance r is heard r / c later with the gain 1 / (4 pi r), and
  sqrt(1 - absorption) of it for every wall on the way. Delays are fractional,
  by a windowed sinc; what of it lies before time 0 is cut. Every image that
  arrives within the response is there, however many: the loop over images runs
  as often as the room needs, so one program serves all rooms. Under `jax.vmap`,
  and on leading axes, a CPU takes one room after the other; elsewhere the loop
  runs as often as the slowest of them needs. No gradients.

  Args:
    room: Sizes in x, y and z in metres, shape `[..., 3]`.
    source: Position from one corner, `[..., 3]`, such as `[S, 3]`.
    microphone: The same for the microphone. Leading axes broadcast.
    sample_rate_hz: Sample rate.
    length: Samples R of the response; what arrives later is left out.
    t60_s: Time in which the energy falls by 60 dB; `image_absorption` turns it
      into the absorption. Give this or `absorption`.
    absorption: Share of the energy that a wall takes, at least 0, below 1.
    until_s: Images that arrive after this time are left out as well; None takes
      all within the length.
    advance_s: Taken off all delays: that of a direct sound puts it exactly on
      the first sample.
    speed_of_sound: In m/s.
    num_taps: Odd number of taps of a fractional delay.
    high_pass_hz: Corner of the high-pass of the original method, 100 Hz there.
      All images are positive and add up at the lowest frequencies, which decay
      more slowly than they should; None leaves that in.

  Returns:
    Responses, shape `[..., R]`.

  Raises:
    ValueError: If a room is impossible: a size that is not positive, a source
      or a microphone that is not inside, an absorption outside 0 to 1. Only of
      values that are known; traced ones are not checked.

  References:
    Allen and Berkley, Image method for efficiently simulating small-room
    acoustics, 1979, equation 10. Peterson, Simulating the response of multiple
    microphones to a single acoustic source, 1986, for the delays.

  Example:
    >>> room = np.array([6.0, 5.0, 3.0])
    >>> source = np.array([[1.0, 2.0, 1.5], [4.0, 2.0, 1.5]])
    >>> rir = shoebox_rir(
    ...   room, source, room / 2, t60_s=0.3, sample_rate_hz=8000, length=2400)
    >>> print(rir.shape, rir[1, :30].argmax(), round(1.118 / 343 * 8000))
    (2, 2400) 26 26
  """
  if (t60_s is None) == (absorption is None):
    raise ValueError("give either t60_s or absorption")
  _check(room, source, microphone, absorption, num_taps)
  return _rirs(
    *(jnp.asarray(place, jnp.float32) for place in (room, source, microphone)),
    t60_s,
    absorption,
    until_s,
    advance_s,
    rate_hz=sample_rate_hz,
    length=length,
    speed=speed_of_sound,
    num_taps=num_taps,
    high_pass_hz=high_pass_hz,
  )


@functools.partial(
  jax.jit,
  static_argnames=("rate_hz", "length", "speed", "num_taps", "high_pass_hz"),
)
def _rirs(
  room, source, microphone, t60_s, absorption, until_s, advance_s, *,
  rate_hz, length, speed, num_taps, high_pass_hz,
):  # fmt: skip
  """Responses of any leading axes."""
  if absorption is None:
    absorption = image_absorption(room, t60_s, speed_of_sound=speed)
  wall = jnp.sqrt(1.0 - jnp.asarray(absorption, jnp.float32))
  # Beyond the end by half of a fractional delay, which begins before its time.
  advance = jnp.asarray(advance_s, jnp.float32) * rate_hz
  until = advance + (length + num_taps // 2)
  if until_s is not None:
    until = jnp.minimum(until, jnp.asarray(until_s, jnp.float32) * rate_hz)
  # In samples, so that distances are delays.
  scale = rate_hz / speed
  one = functools.partial(
    _rir,
    scale=scale,
    length=length,
    num_taps=num_taps,
    corner=None if high_pass_hz is None else high_pass_hz / rate_hz,
  )
  if jax.default_backend() == "cpu":
    # One room after the other under `vmap` too: batched, the loop over images
    # would copy the sums of all rooms in each step, and wait for the slowest.
    one = jax.custom_batching.sequential_vmap(one)
  one = jnp.vectorize(one, signature="(d),(d),(d),(),(),()->(t)")
  with jax.numpy_rank_promotion("allow"):
    places = (scale * place for place in (room, source, microphone))
    return one(*places, wall, until, advance)


def _rir(
  room, source, microphone, wall, until, advance, *,
  scale, length, num_taps, corner,
):  # fmt: skip
  """One response `[R]`; places in samples, `until` the latest delay."""
  half = num_taps // 2
  # Images are numbered from -last to last on each axis: number i is behind
  # |i| walls, and each chunk takes the next ones of the box of all numbers.
  last = jnp.floor(until / room) + 1
  counts = (2 * last + 1).astype(jnp.int32)
  ahead = jnp.arange(_CHUNK, dtype=jnp.float32)
  loss = jnp.log2(wall)

  def add(chunk, train):
    # Odometer: the place of the chunk in whole numbers, then short steps from
    # there, which float32 holds exactly.
    rest, z = jnp.divmod(chunk * _CHUNK, counts[2])
    x, y = jnp.divmod(rest, counts[1])
    turns, z = _carry(ahead + z, counts[2])
    turns, y = _carry(turns + y, counts[1])
    number = jnp.stack([turns + x, y, z]) - last[:, None]
    # Odd images are mirrored: their source is as far from the other wall.
    is_odd = number - 2 * jnp.floor(number / 2)
    inside = source[:, None] + is_odd * (room - 2 * source)[:, None]
    apart = number * room[:, None] + inside - microphone[:, None]
    delay = jnp.sqrt(jnp.sum(apart**2, axis=0))
    # Equation 10 of Allen and Berkley, with one absorption for all walls.
    gain = jnp.exp2(jnp.sum(jnp.abs(number), axis=0) * loss)
    gain = gain / jnp.maximum(delay, _NEAREST_M * scale)
    near = jnp.round(delay - advance)
    is_heard = (delay <= until) & (near >= -half)
    place = jnp.where(is_heard, near, 2 * train.shape[0])
    powers = [gain]
    for _ in range(_DEGREE):
      powers.append(powers[-1] * (delay - advance - near))
    place = place.astype(jnp.int32) + half
    return train.at[place].add(jnp.stack(powers, axis=-1), mode="drop")

  # Row n: sums over images around sample n - half, weighted by the powers of
  # their fractions of a sample.
  train = jnp.zeros((length + 2 * half + 1, _DEGREE + 1), jnp.float32)
  num_chunks = -(-jnp.prod(counts) // _CHUNK)
  train = jax.lax.fori_loop(0, num_chunks, add, train)
  rir = _filtered(train.T, num_taps, corner)[2 * half : 2 * half + length]
  return scale / (4 * jnp.pi) * rir


def _carry(value, base):
  """What a digit carries over to the next, and the digit."""
  turns = jnp.floor((value + 0.5) / base)
  return turns, value - turns * base


def _filtered(train, num_taps, corner):
  """Fractional delays, as polynomials in the fraction of a sample."""
  taps = _delay_polynomials(num_taps)
  # The high-pass rings on: nothing of it may come round to the start.
  ringing = 0 if corner is None else math.ceil(1.5 / corner)
  n_fft = dsp.fast_length(train.shape[-1] + num_taps - 1 + ringing)
  response = np.fft.rfft(taps, n_fft).astype(np.complex64)
  spectrum = jnp.sum(jnp.fft.rfft(train, n_fft) * response, axis=0)
  if corner is not None:
    # Allen and Berkley, appendix: zeros at 1 and r, poles at r exp(+-jw).
    w = 2 * np.pi * corner
    r = np.exp(-w)
    back = np.exp(-2j * np.pi * np.arange(n_fft // 2 + 1) / n_fft)
    response = (1 - back) * (1 - r * back)
    response /= 1 - 2 * r * np.cos(w) * back + (r * back) ** 2
    spectrum = spectrum * response.astype(np.complex64)
  return jnp.fft.irfft(spectrum, n_fft)


def _delay_polynomials(num_taps):
  """Taps `[P, taps]` of the powers of a fraction between -0.5 and 0.5."""
  nodes = 0.5 * np.cos(np.pi * (np.arange(64) + 0.5) / 64)
  after = np.arange(num_taps) - num_taps // 2 - nodes[:, None]
  # Peterson's window of `num_taps - 1` samples, around the exact delay.
  width = np.minimum(np.abs(after) / (num_taps - 1), 0.5)
  wanted = np.sinc(after) * (0.5 + 0.5 * np.cos(2 * np.pi * width))
  powers = nodes[:, None] ** np.arange(_DEGREE + 1)
  return np.linalg.lstsq(powers, wanted, rcond=None)[0]


def _check(room, source, microphone, absorption, num_taps):
  """Raises ValueError for what is known to be impossible."""
  if num_taps < 3 or num_taps % 2 == 0:
    raise ValueError(f"num_taps {num_taps} must be odd, and at least 3")
  if _is_known(room) and not np.all(np.asarray(room) > 0):
    raise ValueError(f"room {room} must have positive sizes, in metres")
  for name, place in (("source", source), ("microphone", microphone)):
    if _is_known(room) and _is_known(place):
      inside = (np.asarray(place) > 0) & (np.asarray(place) < np.asarray(room))
      if not np.all(inside):
        raise ValueError(f"{name} {place} is not inside the room {room}")
  if absorption is not None and _is_known(absorption):
    share = np.asarray(absorption)
    if not np.all((share >= 0) & (share < 1)):
      raise ValueError(
        f"absorption {share.round(3)} must be at least 0 and below 1; a room "
        "that asks for more is too large to sound so short: give a longer t60_s"
      )


def _is_known(value):
  """Whether a value is known, not traced."""
  return not isinstance(value, Tracer)
