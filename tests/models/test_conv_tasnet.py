"""What only ConvTasNet does; parity with the peers is tested in conversion."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from separators import signal, small

from jaxsep.models import ConvTasNet


@pytest.mark.parametrize(
  ("padding", "seen"), [("zeros", [4, 5, 6]), ("late", [3, 4, 5])]
)
def test_late_convolutions_do_not_see_now(padding, seen):
  # Beside the frame itself: what is half a kernel away.
  model, variables, _ = small(
    ConvTasNet,
    causal=True,
    conv_padding=padding,
    norm="channel",
    num_blocks=1,
  )

  def frame(features):
    masks = model.apply(
      variables, features, method=lambda self, x: self.masker(x)
    )
    return jnp.sum(masks[0, 0, 6])

  gradient = jax.jit(jax.grad(frame))(signal(1, 9, 16))
  assert np.flatnonzero(jnp.abs(gradient[0]).max(axis=-1)).tolist() == seen


def test_softmax_masks_add_up_to_one():
  model, variables, apply = small(
    ConvTasNet, num_sources=3, mask_activation="softmax"
  )
  mixture = signal(1, 100)
  unmasked = model.apply(
    variables,
    mixture,
    method=lambda self, x: self.decoder(self.encoder(x), length=x.shape[1]),
  )
  total = apply(variables, mixture).sum(axis=1)
  np.testing.assert_allclose(total, unmasked, atol=1e-5)


def test_without_padding_an_end_that_fills_no_hop_is_silent():
  _, variables, apply = small(ConvTasNet, padding="none")
  mixture = signal(1, 107)
  estimate = apply(variables, mixture)
  assert estimate.shape == (1, 2, 107)
  assert jnp.all(estimate[..., 104:] == 0)
  np.testing.assert_allclose(
    estimate[..., :104], apply(variables, mixture[:, :104]), atol=1e-6
  )


@pytest.mark.parametrize("length", [1, 17])
def test_one_source_of_few_frames(length):
  # Frames are reflected at the ends, even a single one.
  _, variables, apply = small(
    ConvTasNet, num_sources=1, padding="none", conv_padding="reflect"
  )
  estimate = apply(variables, signal(1, length))
  assert estimate.shape == (1, 1, length)
  assert jnp.all(jnp.isfinite(estimate))
