import jax
import jax.numpy as jnp
import numpy as np
from separators import signal, small

from jaxsep.models import ConvTasNet
from jaxsep.models.initializers import filterbank_initializer


def test_filters_are_those_of_a_fourier_transform():
  kernel = filterbank_initializer("fourier", fan_in=16)(None, (16, 64))
  spectrum = np.abs(np.fft.fft(np.asarray(kernel)[:, :17], 32, axis=0))
  # The filter of each frequency has its peak there; near zero and near half
  # the rate, the peak of the negative frequency runs into it.
  peaks = np.argmax(spectrum[:17], axis=0)
  assert list(peaks[4:13]) == list(range(4, 13))


def test_models_differ_only_in_their_filters():
  start = {}
  for init in ("uniform", "fourier"):
    model, *_ = small(ConvTasNet, num_filters=32, filterbank_init=init)
    variables = jax.jit(model.init)(jax.random.key(0), signal(1, 100))
    start[init] = variables["params"]
  same = jax.tree.map(lambda a, b: bool(jnp.all(a == b)), *start.values())
  assert all(jax.tree.leaves(same["masker"]))
  assert not same["encoder"]["kernel"] and not same["decoder"]["kernel"]
