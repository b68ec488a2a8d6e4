import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from dptnet_torch import DPTNetTorch
from separators import SMALL, signal, small

from jaxsep.models import DPTNet

# Reference.


@pytest.mark.parametrize("filter_length", [2, 8])
def test_equals_a_plain_pytorch_version(filter_length):
  torch.manual_seed(0)
  peer = DPTNetTorch(3, 12, filter_length, 8, 10, 2, 2, 5)
  for value in peer.parameters():
    if value.ndim == 1:
      value.data += 0.3 * torch.randn_like(value)
  model = DPTNet(
    num_sources=3,
    num_filters=12,
    filter_length=filter_length,
    feature_size=8,
    chunk_length=10,
    num_blocks=2,
    num_heads=2,
    hidden_size=5,
  )
  # The tail of a signal that fills no frame is for padding="both".
  mixture = signal(2, 80)
  params = flax.traverse_util.unflatten_dict(peer.as_params(), sep=".")
  ours = jax.jit(model.apply)({"params": params}, mixture)
  with torch.inference_mode():
    theirs = peer(torch.from_numpy(np.array(mixture))).numpy()
  assert np.abs(ours - theirs).max() < 1e-4 * np.abs(theirs).max()


def test_the_pytorch_version_has_the_authors_size():
  peer = sum(value.numel() for value in DPTNetTorch().parameters())
  assert peer == 2_834_945


# Laws.


def test_starts_at_the_scale_of_the_authors():
  # A linear layer of PyTorch from 256 filters: uniform within 1 / 16.
  model = DPTNet(**SMALL[DPTNet] | {"num_filters": 256, "filter_length": 2})
  variables = jax.jit(model.init)(jax.random.key(0), **model.example_inputs())
  kernel = variables["params"]["decoder"]["kernel"]
  assert kernel.shape == (256, 2)
  assert 0.9 / 16 < jnp.abs(kernel).max() <= 1 / 16


def test_every_sample_sees_every_other():
  _, variables, apply = small(DPTNet)
  mixture = signal(1, 300)
  ends = lambda x: jnp.sum(apply(variables, x)[..., :4])  # noqa: E731
  gradient = jax.jit(jax.grad(ends))(mixture)
  assert jnp.all(jnp.abs(gradient) > 0)


def test_remat_changes_nothing_but_memory():
  mixture = signal(2, 400)
  model, variables, _ = small(DPTNet, num_blocks=2)

  def compiled(model):
    loss = lambda v: jnp.sum(model.apply(v, mixture) ** 2)  # noqa: E731
    return jax.jit(jax.grad(loss)).lower(variables).compile()

  kept, again = compiled(model), compiled(model.clone(remat=True))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4),
    again(variables),
    kept(variables),
  )
  memory = [c.memory_analysis().temp_size_in_bytes for c in (again, kept)]
  assert memory[0] < 0.7 * memory[1]


def test_remat_drops_the_same():
  mixture = signal(1, 100)
  model, variables, _ = small(DPTNet, dropout=0.3)
  options = {"train": True, "rngs": {"dropout": jax.random.key(1)}}

  def gradient(model):
    loss = lambda v: jnp.sum(model.apply(v, mixture, **options) ** 2)  # noqa: E731
    return jax.jit(jax.grad(loss))(variables)

  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4),
    gradient(model.clone(remat=True)),
    gradient(model),
  )


def test_dropout_acts_in_training_only():
  model, variables, apply = small(DPTNet, dropout=0.3)
  plain = small(DPTNet)[2]
  mixture = signal(1, 100)
  np.testing.assert_array_equal(
    apply(variables, mixture), plain(variables, mixture)
  )
  drop = jax.jit(
    lambda key: model.apply(
      variables, mixture, train=True, rngs={"dropout": key}
    )
  )
  one, other = (drop(jax.random.key(seed)) for seed in (0, 1))
  assert not np.allclose(one, other)
  np.testing.assert_array_equal(one, drop(jax.random.key(0)))
