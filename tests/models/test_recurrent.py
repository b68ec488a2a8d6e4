import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from separators import signal

from jaxsep.models.recurrent import LSTM


def random_lstm(features=3, hidden=4, **options):
  """An LSTM and its parameters, larger than its own initial values."""
  lstm = LSTM(hidden, **options)
  params = lstm.init(jax.random.key(1), signal(1, 2, features))
  return lstm, jax.tree.map(lambda value: 2 * value, params)


def torch_lstm(params, hidden):
  """PyTorch's LSTM with the same parameters, all bias in one of its two."""
  kernel, bias = (np.array(params["params"][n]) for n in ("kernel", "bias"))
  directions, rows, _ = kernel.shape
  features = rows - hidden
  lstm = torch.nn.LSTM(
    features, hidden, bidirectional=directions == 2, batch_first=True
  )
  for direction, end in enumerate(["", "_reverse"][:directions]):
    values = {
      "weight_ih": kernel[direction, :features].T,
      "weight_hh": kernel[direction, features:].T,
      "bias_ih": bias[direction],
      "bias_hh": 0 * bias[direction],
    }
    for name, value in values.items():
      getattr(lstm, f"{name}_l0{end}").data = torch.from_numpy(value.copy())
  return lstm


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("length", [1, 7])
def test_equals_pytorch_with_gradients(length, bidirectional):
  lstm, params = random_lstm(bidirectional=bidirectional)
  x = signal(2, length, 3)
  outputs, pullback = jax.vjp(jax.jit(lstm.apply), params, x)
  weight = signal(*outputs.shape, seed=2)
  d_params, d_x = pullback(weight)

  peer = torch_lstm(params, 4)
  peer_x = torch.from_numpy(np.array(x)).requires_grad_()
  peer_outputs = peer(peer_x)[0]
  peer_outputs.backward(torch.from_numpy(np.array(weight)))
  np.testing.assert_allclose(outputs, peer_outputs.detach(), atol=1e-6)
  np.testing.assert_allclose(d_x, peer_x.grad, atol=1e-5)
  for direction, end in enumerate(["", "_reverse"][: 1 + bidirectional]):
    expected = torch.cat(
      [getattr(peer, f"weight_{part}_l0{end}").grad for part in ("ih", "hh")],
      dim=1,
    )
    np.testing.assert_allclose(
      d_params["params"]["kernel"][direction], expected.T, atol=1e-5
    )
    np.testing.assert_allclose(
      d_params["params"]["bias"][direction],
      getattr(peer, f"bias_ih_l0{end}").grad,
      atol=1e-5,
    )


def test_starts_as_pytorch():
  x = signal(1, 2, 5)
  values = jax.jit(LSTM(100).init)(jax.random.key(0), x)["params"]
  for value in values.values():
    assert 0.099 < jnp.abs(value).max() <= 0.1


def test_bfloat16_is_close_to_float32():
  exact, params = random_lstm(8, 16)
  lstm = LSTM(16, dtype=jnp.bfloat16)
  x = signal(2, 20, 8)

  def gradient(lstm):
    loss = lambda p: jnp.sum(lstm.apply(p, x) ** 2)  # noqa: E731
    return jax.jit(jax.grad(loss))(params)

  assert jax.eval_shape(lstm.apply, params, x).dtype == jnp.float32
  ours, theirs = (jax.tree.leaves(gradient(one)) for one in (lstm, exact))
  for half, full in zip(ours, theirs, strict=True):
    assert half.dtype == jnp.float32
    error = jnp.abs(half - full).max() / jnp.abs(full).max()
    assert 1e-5 < error < 0.03


def test_memory_of_the_gradient():
  # Automatic differentiation keeps some 16 maps of the state's width.
  lstm, params = random_lstm(8, 32)
  x = signal(16, 100, 8)
  loss = lambda p: jnp.sum(lstm.apply(p, x) ** 2)  # noqa: E731
  compiled = jax.jit(jax.grad(loss)).lower(params).compile()
  one_map = 2 * 16 * 100 * 32 * 4
  assert compiled.memory_analysis().temp_size_in_bytes < 14 * one_map
