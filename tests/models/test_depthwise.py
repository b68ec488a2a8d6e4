"""The depthwise convolution and its gradient, against the plain sum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from separators import signal

from jaxsep.models._depthwise import depthwise


def plain(x, kernel):
  reach = len(kernel) // 2
  padded = jnp.pad(x, ((0, 0), (reach, reach), (0, 0)))
  seen = jnp.arange(x.shape[1])[:, None] + jnp.arange(len(kernel))[None]
  return jnp.einsum("bntc,tc->bnc", padded[:, seen], kernel)


@pytest.mark.parametrize("frames", [1, 37, 130])
def test_equals_the_plain_sum(frames):
  x, kernel = signal(2, frames, 3), signal(5, 3, seed=1)
  weights = signal(2, frames, 3, seed=2)

  @jax.jit
  def of(x, kernel):
    return [
      jax.value_and_grad(
        lambda *inputs, form=form: jnp.sum(form(*inputs) * weights),
        argnums=(0, 1),
      )(x, kernel)
      for form in (depthwise, plain)
    ]

  found, expected = of(x, kernel)
  for one, other in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
