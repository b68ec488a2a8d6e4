"""Models of a size that compiles at once."""

from jaxsep import models


def tiny(name, *, causal=False, **options):
  """A model of a class of `jaxsep.models`, with random-looking tiny sizes."""
  masker = models.TemporalConvNet(
    bottleneck_channels=4,
    hidden_channels=8,
    skip_channels=4,
    num_blocks=1,
    num_repeats=1,
    causal=causal,
  )
  if name == "ConvTasNet":
    options = {"num_filters": 8, **options}
  return getattr(models, name)(masker=masker, **options)
