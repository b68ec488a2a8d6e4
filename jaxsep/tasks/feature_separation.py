"""Separation that is trained on features for speech recognition."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxsep import dsp, json_values, losses
from jaxsep.tasks.spectrogram import SpectrogramSeparationTask
from jaxsep.tasks.task import Batch, Keys
from jaxsep.typing import Array, Float


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeatureSeparationTask(SpectrogramSeparationTask):
  """Trains a model by mel features of the spectra of its estimates: L_FA.

  As `SpectrogramSeparationTask`, but the loss compares linear mel spectra of
  masked magnitudes with those of the references. A silent reference is a source
  like any other.

  Attributes:
    model: As in `SpectrogramSeparationTask`: such as
      `models.ConformerSeparator`.
    loss_function: A function that also takes `mel`, the filterbank.
    num_mels: Filters; None for L_SA, which compares the magnitudes.

  References:
    Wu, Chen, Wang, Li and Yoshioka, Investigation of practical aspects of
    single channel speech separation for ASR, 2021, eq. (5) and (6).
  """

  loss_function: Callable = losses.feature_l2
  num_mels: int | None = 80

  def describe(self) -> dict[str, Any]:
    """What fixes the meaning of the parameters, as JSON values."""
    return super().describe() | {"num_mels": self.num_mels}

  def _permuted(self, estimate, reference, **valid):
    return super()._permuted(estimate, reference, mel=self._mel(), **valid)

  def _mel(self):
    """The filterbank `[F, K]`, or None."""
    if self.num_mels is None:
      return None
    return dsp.mel_filterbank(
      self.num_mels,
      n_fft=self.model.stft.n_fft,
      sample_rate_hz=self.sample_rate_hz,
    )


@dataclasses.dataclass(frozen=True)
class ObjectiveShift:
  """A weight that moves from one objective to another in the training: L_OS.

  The paper prints `sigmoid(-k (t - t0))` for the weight of the references: it
  begins with them and ends with the teacher. The method that it cites goes the
  other way. Which one the authors trained is not known.

  Attributes:
    slope: k, per step.
    middle: t0, the step at which both weights are one half.
    ends_with: `"teacher"` as printed, or `"reference"` as in the method cited.

  References:
    Wu et al., 2021, eq. (10); Chen et al., Recall and learn, 2020, eq. (9).

  Example:
    >>> shift = ObjectiveShift(slope=0.1, middle=100)
    >>> print(shift(0).round(3), shift(100), shift(200).round(3))
    1.0 0.5 0.0
  """

  slope: float = 5e-4
  middle: int = 150_000
  ends_with: str = "teacher"

  def __post_init__(self):
    if self.ends_with not in ("teacher", "reference"):
      raise ValueError(
        f"ends_with {self.ends_with!r} must be 'teacher' or 'reference'"
      )

  def __call__(self, step: Any) -> Float[Array, ""]:
    """The weight of the references at a step; the teacher has the rest."""
    sign = -1.0 if self.ends_with == "teacher" else 1.0
    return jax.nn.sigmoid(sign * self.slope * (step - self.middle))


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistillationTask(FeatureSeparationTask):
  """Trains a small model to do as a large one does: L_LTS, L_OS.

  The student follows the teacher's estimates in the teacher's order, and the
  outputs of the teacher's layers, both as they are in evaluation. The variables
  of the teacher are `frozen["teacher"]`. Evaluation compares with the
  references only.

  Both models have the method `hidden`, which returns masks, the spectrum that
  they apply to, and the outputs of all layers, `[L, B, N, D]`, of one size.
  Sums over sources are means here, as in the other tasks.

  Attributes:
    teacher: The large model; it has the front end of `model`.
    layer_map: The teacher's layer, from 0, of each layer of the student. The
      paper's is (2, 5, 8, 11, 14, 15). Empty for none: L_TS.
    layer_weight: Weight of each layer beside the estimates; not printed.
    shift: Mixes in the loss against the references, with a weight that depends
      on the step; None leaves it out.

  References:
    Wu et al., 2021, eq. (8) to (10).
  """

  teacher: Any
  layer_map: tuple[int, ...] = (2, 5, 8, 11, 14, 15)
  layer_weight: float = 1.0
  shift: ObjectiveShift | None = None

  def loss(
    self,
    variables: Any,
    batch: Batch,
    *,
    keys: Keys,
    step: Any,
    frozen: Any = None,
  ) -> tuple[Float[Array, "batch"], tuple[Any, dict[str, Array]]]:
    """Distance from the teacher, and with a `shift` from the references.

    `scalars` holds both parts, `[B]`.
    """
    if not frozen or "teacher" not in frozen:
      raise ValueError("the variables of the teacher, frozen['teacher'], miss")
    if self.teacher.stft != self.model.stft:
      raise ValueError(
        f"the teacher's spectra, {self.teacher.stft}, are not the student's,"
        f" {self.model.stft}"
      )
    mixed = self._mixed(batch, keys)
    student, changed = self._trained(variables, mixed, keys, method="hidden")
    teacher = self.teacher.apply(
      frozen["teacher"],
      mixed["mixture"],
      length=mixed.get("length"),
      method="hidden",
    )
    scale, num_frames = self._scale(mixed)
    masked = [scale * masks * y[:, None] for masks, y, _ in (student, teacher)]
    # Eq. (9), without a permutation: the mean over the sources.
    per_source = jax.vmap(
      lambda x, y: self.loss_function(
        x, y, mel=self._mel(), num_frames=num_frames
      ),
      in_axes=1,
      out_axes=1,
    )
    distance = jnp.mean(per_source(*masked), axis=1)
    if self.layer_map:  # Eq. (8).
      distance += self.layer_weight * losses.layer_distillation(
        student[2],
        teacher[2],
        layer_map=self.layer_map,
        num_frames=num_frames,
        form="mse",
      )
    scalars: dict[str, Array] = {"teacher_distance": distance}
    value = distance
    if self.shift is not None:  # Eq. (10).
      reference, _ = self._compare(student[0] * student[1][:, None], mixed)
      weight = self.shift(step)
      value = weight * reference + (1 - weight) * distance
      scalars["reference_distance"] = reference
    return value, (changed, scalars)

  def describe(self) -> dict[str, Any]:
    """What fixes the meaning of the parameters, as JSON values."""
    return super().describe() | {
      "teacher": json_values.encode(self.teacher),
      "layer_map": list(self.layer_map),
      "layer_weight": self.layer_weight,
      "shift": json_values.encode(self.shift),
    }
