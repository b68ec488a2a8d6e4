"""What ends a run in one line."""


class TrainingError(RuntimeError):
  """A run cannot start or go on; the message says why and what to do."""
