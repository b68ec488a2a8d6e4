"""Where the tokens of a transcript are, by CTC."""

from collections.abc import Sequence

import numpy as np

from jaxsep.text import BLANK
from jaxsep.typing import Float, Int


def align_ctc(
  log_probs: Float[np.ndarray, "frames tokens"], tokens: Sequence[int]
) -> Int[np.ndarray, "labels 2"]:
  """The frames of each token in the most probable alignment of CTC.

  Args:
    log_probs: Log probabilities of each frame, shape `[N, V]`; token 0 is the
      blank.
    tokens: The U tokens of the transcript, without blanks.

  Returns:
    First frame of each token, and the one after its last, shape `[U, 2]`.

  Raises:
    ValueError: If the tokens do not fit into the frames: a token that follows
      its equal needs a blank before it.

  References:
    Graves et al., Connectionist temporal classification, ICML 2006, section
    4.1, with the largest term in place of the sum.

  Example:
    >>> probs = np.float32([[1, 0, 0, 9], [9, 0, 0, 1], [1, 0, 0, 9]])
    >>> align_ctc(np.log(probs + 0.1), [3, 3])
    array([[0, 1],
           [2, 3]])
  """
  # Blanks before, between and after the tokens.
  states = np.full(2 * len(tokens) + 1, BLANK)
  states[1::2] = tokens
  repeated = np.append([True, True], states[2:] == states[:-2])
  num_blanks = np.sum(repeated[3::2])
  if len(log_probs) < len(tokens) + num_blanks:
    raise ValueError(
      f"{len(tokens)} tokens with {num_blanks} blanks between equal ones do not"
      f" fit into {len(log_probs)} frames"
    )
  if not len(tokens):
    return np.zeros((0, 2), int)
  scores = np.asarray(log_probs)[:, states]
  best = np.where(np.arange(len(states)) < 2, scores[0], -np.inf)
  steps = np.zeros(scores.shape, int)  # How many states a frame goes on.
  for frame in range(1, len(scores)):
    one = np.append(-np.inf, best[:-1])
    # A blank may be skipped between tokens that differ.
    two = np.where(repeated, -np.inf, np.append([-np.inf] * 2, best[:-2]))
    ways = np.stack([best, one, two])
    steps[frame] = np.argmax(ways, axis=0)
    best = ways.max(axis=0) + scores[frame]
  path = np.zeros(len(scores), int)
  path[-1] = len(states) - 1 - (best[-2] > best[-1])
  for frame in range(len(scores) - 1, 0, -1):
    path[frame - 1] = path[frame] - steps[frame, path[frame]]
  places = np.arange(1, len(states), 2)
  ends = path.searchsorted(places), path.searchsorted(places, "right")
  return np.stack(ends, axis=1)
