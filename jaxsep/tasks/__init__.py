"""Where a model, a simulation and a loss meet, as pure functions.

A task is all that the training loop knows of what it trains. `Task` is the
protocol; `SeparationTask` trains a model that maps a mixture to its sources by
their waveforms, `SpectrogramSeparationTask` by their spectra,
`FeatureSeparationTask` by mel features of these, and `DistillationTask` by what
a larger model makes of the mixture; `RecognizedSeparationTask` by the errors of
a recogniser. `RecognitionTask` and `LanguageModelTask` train what turns speech
into words.
"""

from jaxsep.tasks.feature_separation import (
  DistillationTask,
  FeatureSeparationTask,
  ObjectiveShift,
)
from jaxsep.tasks.recognition import LanguageModelTask, RecognitionTask
from jaxsep.tasks.recognized_separation import RecognizedSeparationTask
from jaxsep.tasks.separation import SeparationTask
from jaxsep.tasks.spectrogram import SpectrogramSeparationTask
from jaxsep.tasks.task import Batch, Keys, Mean, Task

__all__ = [
  "Batch",
  "DistillationTask",
  "FeatureSeparationTask",
  "Keys",
  "LanguageModelTask",
  "Mean",
  "ObjectiveShift",
  "RecognitionTask",
  "RecognizedSeparationTask",
  "SeparationTask",
  "SpectrogramSeparationTask",
  "Task",
]
