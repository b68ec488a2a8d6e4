"""Where a model, a simulation and a loss meet, as pure functions.

A task is all that the training loop knows of what it trains. `Task` is the
protocol; `SeparationTask` trains a model that maps a mixture to its sources by
<<<<<<< HEAD
their waveforms, `SpectrogramSeparationTask` by their spectra,
`FeatureSeparationTask` by mel features of these, and `DistillationTask` by what
a larger model makes of the mixture.
"""

from jaxsep.tasks.feature_separation import (
  DistillationTask,
  FeatureSeparationTask,
  ObjectiveShift,
)
=======
their waveforms, `SpectrogramSeparationTask` by their spectra; `RecognitionTask`
and `LanguageModelTask` train what turns speech into words.
"""

from jaxsep.tasks.recognition import LanguageModelTask, RecognitionTask
>>>>>>> asr
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
<<<<<<< HEAD
  "ObjectiveShift",
=======
  "RecognitionTask",
>>>>>>> asr
  "SeparationTask",
  "SpectrogramSeparationTask",
  "Task",
]
