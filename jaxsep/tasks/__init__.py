"""Where a model, a simulation and a loss meet, as pure functions.

A task is all that the training loop knows of what it trains. `Task` is the
protocol; `SeparationTask` trains a model that maps a mixture to its sources by
their waveforms, `SpectrogramSeparationTask` by their spectra; `RecognitionTask`
and `LanguageModelTask` train what turns speech into words.
"""

from jaxsep.tasks.recognition import LanguageModelTask, RecognitionTask
from jaxsep.tasks.separation import SeparationTask
from jaxsep.tasks.spectrogram import SpectrogramSeparationTask
from jaxsep.tasks.task import Batch, Keys, Mean, Task

__all__ = [
  "Batch",
  "Keys",
  "LanguageModelTask",
  "Mean",
  "RecognitionTask",
  "SeparationTask",
  "SpectrogramSeparationTask",
  "Task",
]
