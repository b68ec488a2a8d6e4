"""Losses on spectra, their features, and hidden representations."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxsep.dsp import at_least_float32
from jaxsep.typing import Array, Float, Inexact, Int


def magnitude_l2(
  estimate: Inexact[Array, "*batch frames bins"],
  reference: Inexact[Array, "*batch frames bins"],
  *,
  num_frames: Int[Array, "*batch"] | None = None,
) -> Float[Array, "*batch"]:
  """Mean squared difference of two magnitude spectra.

  Phases are ignored. Both spectra are complex or are magnitudes already.

  Args:
    estimate: Separated spectrum, shape `[..., N, F]`.
    reference: Target spectrum, same shape.
    num_frames: Valid frames of each, shape `[...]`; None counts all.

  Returns:
    Loss, shape `[...]`, float32 or better: the mean over frames and bins.

  Raises:
    ValueError: If the two shapes differ or there are no frames or bins.

  Example:
    >>> estimate = jnp.array([[1.0 + 0.0j, 1.0j]])
    >>> print(magnitude_l2(estimate, jnp.array([[1.0, 3.0]])))
    2.0
  """
  estimate, reference = _checked(estimate, reference)
  error = jnp.abs(estimate) - jnp.abs(reference)
  return _mean(error * error, num_frames)


def complex_l2(
  estimate: Inexact[Array, "*batch frames bins"],
  reference: Inexact[Array, "*batch frames bins"],
  *,
  num_frames: Int[Array, "*batch"] | None = None,
) -> Float[Array, "*batch"]:
  """Mean squared distance of two complex spectra: magnitudes and phases.

  Args:
    estimate: Separated spectrum, shape `[..., N, F]`.
    reference: Target spectrum, same shape.
    num_frames: Valid frames of each, shape `[...]`; None counts all.

  Returns:
    Loss, shape `[...]`: the mean over frames and bins.

  Example:
    >>> estimate = jnp.array([[1.0 + 0.0j, 1.0j]])
    >>> print(complex_l2(estimate, jnp.array([[1.0, 1.0]])))
    1.0
  """
  estimate, reference = _checked(estimate, reference)
  error = estimate - reference
  # Not the square of the absolute value, which has no slope where it is zero.
  power = jnp.square(jnp.real(error)) + jnp.square(jnp.imag(error))
  return _mean(power, num_frames)


def feature_l2(
  estimate: Inexact[Array, "*batch frames bins"],
  reference: Inexact[Array, "*batch frames bins"],
  *,
  mel: Float[Array, "bins features"] | None = None,
  num_frames: Int[Array, "*batch"] | None = None,
  form: str = "mse",
) -> Float[Array, "*batch"]:
  """Distance of two magnitude spectra, or of linear features of them.

  With a mel filterbank it is the feature loss of separation for speech
  recognition, L_FA; without one the signal approximation, L_SA. The features
  are linear, not logarithmic. Filters that leave a bin out, as those of mel do
  with the DC bin, give it no gradient.

  Args:
    estimate: Separated spectrum, complex or magnitudes, shape `[..., N, F]`;
      never a mask.
    reference: Target spectrum, same shape.
    mel: Matrix that makes features of magnitudes, shape `[F, K]`, such as
      `dsp.mel_filterbank`; None compares the magnitudes.
    num_frames: Valid frames of each, shape `[...]`; None counts all.
    form: `"fro"` for the Frobenius norm over frames and features, as the paper
      prints it, or `"mse"` for the square of it divided by the frames, which is
      independent of the length.

  Returns:
    Loss, shape `[...]`, float32 or better. The gradient of an exact estimate is
    zero in both forms.

  Raises:
    ValueError: If shapes do not fit, or the form is unknown.

  References:
    Wu, Chen, Wang, Li and Yoshioka, Investigation of practical aspects of
    single channel speech separation for ASR, 2021, eq. (5) and (6).

  Example:
    >>> estimate, reference = jnp.full((2, 3), 3.0), jnp.ones((2, 3))
    >>> print(feature_l2(estimate, reference))
    12.0
    >>> mel = jnp.array([[0.0], [1.0], [0.5]])
    >>> print(feature_l2(estimate, reference, mel=mel, form="fro").round(3))
    4.243
  """
  estimate, reference = _checked(estimate, reference)
  error = jnp.abs(estimate) - jnp.abs(reference)
  if mel is not None:
    if mel.ndim != 2 or len(mel) != error.shape[-1]:
      raise ValueError(
        f"mel {mel.shape} must have one row for each of the"
        f" {error.shape[-1]} bins"
      )
    # The features are linear: those of the difference are the difference.
    error = jnp.matmul(error, mel, precision=jax.lax.Precision.HIGHEST)
  return _distance(error, num_frames, form)


def layer_distillation(
  student: Float[Array, "layers *batch frames features"],
  teacher: Float[Array, "more_layers *batch frames features"],
  *,
  layer_map: Sequence[int],
  num_frames: Int[Array, "*batch"] | None = None,
  form: str = "fro",
) -> Float[Array, "*batch"]:
  """Distance of a student's hidden representations from a teacher's.

  Args:
    student: Outputs of the student's layers, shape `[L, ..., N, D]`.
    teacher: Outputs of the teacher's layers, of the same input; `[M, ..., N,
      D]`. No gradient flows into them.
    layer_map: The teacher's layer, from 0, that each layer of the student
      follows.
    num_frames: Valid frames, shape `[...]`; None counts all.
    form: As in `feature_l2`.

  Returns:
    The sum over the student's layers, shape `[...]`, each with weight one; the
    paper prints no weights.

  Raises:
    ValueError: If shapes do not fit, `layer_map` has not one layer of the
      teacher for each of the student's, or the form is unknown.

  References:
    Wu et al., 2021, eq. (8) without its first term.

  Example:
    >>> student, teacher = jnp.ones((1, 4, 2)), jnp.zeros((3, 4, 2))
    >>> print(layer_distillation(student, teacher, layer_map=[2]).round(3))
    2.828
  """
  layers = list(layer_map)
  inside = all(0 <= layer < len(teacher) for layer in layers)
  if len(layers) != len(student) or not inside:
    raise ValueError(
      f"layer_map {tuple(layers)} must name one of the teacher's"
      f" {len(teacher)} layers for each of the student's {len(student)}"
    )
  followed = jax.lax.stop_gradient(teacher)[jnp.array(layers)]
  if student.shape != followed.shape:
    raise ValueError(
      f"student {student.shape} and teacher {teacher.shape} must agree in all"
      " but the number of layers"
    )
  error = at_least_float32(student) - at_least_float32(followed)
  if num_frames is not None:
    num_frames = jnp.broadcast_to(num_frames, error.shape[:-2])
  return jnp.sum(_distance(error, num_frames, form), axis=0)


def _distance(error, num_frames, form):
  """Frobenius norm, or its square by frame, of valid frames `[..., N, K]`."""
  if form not in ("fro", "mse"):
    raise ValueError(f"form {form!r} must be 'fro' or 'mse'")
  energy, count = _sum(error * error, num_frames)
  if form == "mse":
    return energy / count
  # The root has no slope at zero.
  positive = energy > 0
  return jnp.where(positive, jnp.sqrt(jnp.where(positive, energy, 1.0)), 0.0)


def _sum(values, num_frames):
  """Sum over valid frames and bins, and how many frames these are."""
  frames = jnp.sum(values, axis=-1)
  if num_frames is None:
    return jnp.sum(frames, axis=-1), frames.shape[-1]
  num_frames = jnp.asarray(num_frames)[..., None]
  places = jnp.arange(frames.shape[-1])
  places = places.reshape((1,) * (num_frames.ndim - 1) + (-1,))
  total = jnp.sum(jnp.where(places < num_frames, frames, 0.0), axis=-1)
  return total, jnp.maximum(num_frames[..., 0], 1)


def _mean(values, num_frames):
  """Mean over frames and bins, of the valid frames if they are known."""
  total, count = _sum(values, num_frames)
  return total / (count * values.shape[-1])


def _checked(estimate, reference):
  """Both spectra in float32 or better, of one shape."""
  estimate, reference = at_least_float32(estimate), at_least_float32(reference)
  if estimate.shape != reference.shape or estimate.ndim < 2:
    raise ValueError(
      f"estimate {estimate.shape} and reference {reference.shape} must have"
      " the same shape [..., frames, bins]"
    )
  if 0 in estimate.shape[-2:]:
    raise ValueError(f"spectra {estimate.shape} have no frames or no bins")
  return estimate, reference
