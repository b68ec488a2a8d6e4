"""Endless training batches and fixed evaluation batches, as NumPy."""


def train_batches(
  corpus,
  *,
  batch_size,
  num_sources,
  crop_length,
  sample_rate_hz,
  seed,
  start_step=0,
  process_index=0,
  process_count=1,
  speed_range=None,
  noise=None,
  rirs=None,
  rir_length=None,
  num_threads=None,
):
  """Endless batches of ingredients."""
  raise NotImplementedError


def eval_batches(
  corpus,
  *,
  num_examples,
  batch_size,
  num_sources,
  crop_length,
  sample_rate_hz,
  seed,
  process_index=0,
  process_count=1,
  speed_range=None,
  noise=None,
  rirs=None,
  rir_length=None,
  num_threads=None,
):
  """A fixed set of batches of ingredients, to be iterated any often."""
  raise NotImplementedError


def premixed_train_batches(
  corpus,
  *,
  batch_size,
  crop_length,
  sample_rate_hz,
  seed,
  start_step=0,
  process_index=0,
  process_count=1,
  num_threads=None,
):
  """Endless batches of crops of mixtures."""
  raise NotImplementedError


def premixed_eval_batches(
  corpus,
  *,
  batch_size,
  sample_rate_hz,
  length_multiple,
  max_length=None,
  process_index=0,
  process_count=1,
  num_threads=None,
):
  """Whole mixtures, grouped by length."""
  raise NotImplementedError
