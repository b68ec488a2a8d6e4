import functools

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from dptnet_torch import DPTNetTorch
from separators import SMALL, bytes_kept, signal, small

from jaxsep.models import DPTNet

# Code with the usual kind of key compiles much more slowly.
fast_key = functools.partial(jax.random.key, impl="unsafe_rbg")


@pytest.mark.parametrize(("filter_length", "num_blocks"), [(2, 1), (8, 2)])
def test_equals_a_plain_pytorch_version(filter_length, num_blocks):
  size = sum(value.numel() for value in DPTNetTorch().parameters())
  assert size == 2_834_945  # As the authors' own.
  torch.manual_seed(0)
  peer = DPTNetTorch(3, 12, filter_length, 8, 10, num_blocks, 2, 5)
  for value in peer.parameters():
    if value.ndim == 1:
      value.data += 0.3 * torch.randn_like(value)
  model = DPTNet(
    num_sources=3,
    num_filters=12,
    filter_length=filter_length,
    feature_size=8,
    chunk_length=10,
    num_blocks=num_blocks,
    num_heads=2,
    hidden_size=5,
  )
  mixture = signal(2, 80)
  params = flax.traverse_util.unflatten_dict(peer.as_params(), sep=".")
  ours = jax.jit(model.apply)({"params": params}, mixture)
  with torch.inference_mode():
    theirs = peer(torch.from_numpy(np.array(mixture))).numpy()
  assert np.abs(ours - theirs).max() < 1e-4 * np.abs(theirs).max()


def test_starts_at_the_scale_of_the_authors():
  # A linear layer of PyTorch from 256 filters: uniform within 1 / 16.
  model = DPTNet(**SMALL[DPTNet] | {"num_filters": 256, "filter_length": 2})
  start = jax.jit(
    lambda key: model.init(key, **model.example_inputs())["params"]["decoder"]
  )
  kernel = start(jax.random.key(0))["kernel"]
  assert kernel.shape == (256, 2)
  assert 0.9 / 16 < jnp.abs(kernel).max() <= 1 / 16


def test_every_sample_sees_every_other():
  _, variables, apply = small(DPTNet)
  mixture = signal(1, 300)
  ends = lambda x: jnp.sum(apply(variables, x)[..., :4])  # noqa: E731
  gradient = jax.jit(jax.grad(ends))(mixture)
  assert jnp.all(jnp.abs(gradient) > 0)


def test_remat_keeps_less():
  model, variables, _ = small(DPTNet, num_blocks=2)
  kept, again = (
    bytes_kept(lambda v, m=m: m.apply(v, signal(2, 400)), variables)
    for m in (model, model.clone(remat=True))
  )
  assert again < 0.3 * kept


def test_remat_drops_the_same():
  mixture = signal(1, 40)
  model, variables, _ = small(DPTNet, dropout=0.3)
  options = {"train": True, "length": jnp.array([30])}
  options["rngs"] = {"dropout": fast_key(1)}

  def gradient(model):
    loss = lambda v: jnp.sum(model.apply(v, mixture, **options) ** 2)  # noqa: E731
    return jax.jit(jax.grad(loss))(variables)

  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4),
    gradient(model.clone(remat=True)),
    gradient(model),
  )


def test_dropout_acts_in_training_only():
  model, variables, _ = small(DPTNet, dropout=0.3)
  mixture = signal(1, 40)
  # Evaluation needs no random numbers.
  jax.eval_shape(model.apply, variables, mixture)
  drop = jax.jit(
    lambda key: model.apply(
      variables, mixture, train=True, rngs={"dropout": key}
    )
  )
  one, other = (drop(fast_key(seed)) for seed in (0, 1))
  assert not np.allclose(one, other)
  np.testing.assert_array_equal(one, drop(fast_key(0)))
