"""A dense layer with the initial values of the published systems."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxsep.models.initializers import uniform_fan_in
from jaxsep.typing import Array, Float


class Linear(nn.Module):
  """Maps `[..., inputs]` to `[..., features]`, float32 out.

  The bias starts uniform, as the kernel, or at zero with `zero_bias`. The
  factors of the matmul are of type `dtype`.
  """

  features: int
  use_bias: bool = True
  dtype: DTypeLike = jnp.float32
  zero_bias: bool = False
  kernel_init: nn.initializers.Initializer | None = None

  @nn.compact
  def __call__(
    self, x: Float[Array, "*batch inputs"]
  ) -> Float[jax.Array, "*batch {self.features}"]:
    """Multiplies and adds."""
    init = uniform_fan_in(x.shape[-1])
    kernel = self.param(
      "kernel", self.kernel_init or init, (x.shape[-1], self.features)
    )
    product = jnp.matmul(
      x.astype(self.dtype),
      kernel.astype(self.dtype),
      preferred_element_type=jnp.float32,
    )
    if not self.use_bias:
      return product
    bias_init = nn.initializers.zeros if self.zero_bias else init
    bias = self.param("bias", bias_init, (self.features,))
    return product + jnp.expand_dims(bias, range(x.ndim - 1))
