import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxsep.models import CumulativeLayerNorm, GlobalLayerNorm
from jaxsep.models.norms import ChannelLayerNorm


def features(*shape):
  return 3 * jax.random.normal(jax.random.key(0), shape) + 1


@pytest.mark.parametrize("norm", [GlobalLayerNorm, ChannelLayerNorm])
def test_equals_the_norms_of_torch(norm):
  x = features(3, 20, 6)
  params = {"scale": jnp.arange(6.0), "bias": jnp.ones(6)}
  gain, bias = torch.arange(6.0), torch.ones(6)
  theirs = torch.from_numpy(np.array(x))
  if norm is GlobalLayerNorm:
    theirs = torch.nn.functional.group_norm(theirs.mT, 1, gain, bias, 1e-8).mT
  else:
    theirs = torch.nn.functional.layer_norm(theirs, (6,), gain, bias, 1e-8)
  ours = norm().apply({"params": params}, x)
  np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5)


@pytest.mark.parametrize(
  ("scale", "mean", "tolerance"),
  # Also the logarithm of a spectrum of near-silence.
  [(1.0, 0.0, 1e-5), (0.003, -18.4, 2e-3)],
)
def test_cumulative_norm_takes_all_frames_so_far(scale, mean, tolerance):
  x = scale * np.array(features(2, 300, 64)) + mean
  ours, params = CumulativeLayerNorm().init_with_output(jax.random.key(0), x)
  assert params["params"]["scale"].shape == (64,)
  for frame in (0, 1, 3, 299):
    past = x[:, : frame + 1].astype(np.float64)
    center = past.mean(axis=(1, 2))[:, None]
    deviation = past.std(axis=(1, 2))[:, None]
    expected = (x[:, frame] - center) / deviation
    np.testing.assert_allclose(
      ours[:, frame], expected, rtol=tolerance, atol=tolerance
    )


@pytest.mark.parametrize(
  ("norm", "axes"), [(GlobalLayerNorm, (1, 2)), (ChannelLayerNorm, (2,))]
)
@pytest.mark.parametrize("first", [-18.4, 0.0])
def test_small_variance_beside_a_large_mean(norm, axes, first):
  # The logarithm of a spectrum of near-silence, whose first frame may differ.
  x = np.array(features(2, 400, 64)) * 0.003 - 18.4
  x[:, 0] += first + 18.4
  x[:, 1:] += -18.4 - x[:, 1:].mean()
  exact = x.astype(np.float64)
  exact -= exact.mean(axes, keepdims=True)
  exact /= exact.std(axes, keepdims=True)
  ours = norm().apply(
    {"params": {"scale": np.ones(64), "bias": np.zeros(64)}}, x
  )
  np.testing.assert_allclose(ours, exact, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize(
  "norm", [GlobalLayerNorm, CumulativeLayerNorm, ChannelLayerNorm]
)
@pytest.mark.parametrize("value", [0.0, 7.0])
def test_constant_input(norm, value):
  x = jnp.full((2, 50, 8), value)
  params = norm().init(jax.random.key(0), x)
  # Cancellation must not make a variance negative. The rounding error of the
  # mean is at most multiplied by 1 / sqrt(eps).
  y, pullback = jax.vjp(lambda x: norm().apply(params, x), x)
  assert jnp.all(jnp.abs(y) <= 1e-5 * value * 1e4)
  assert jnp.all(jnp.isfinite(pullback(jnp.ones_like(y))[0]))


@pytest.mark.parametrize("norm", [GlobalLayerNorm, CumulativeLayerNorm])
def test_statistics_are_float32(norm):
  # In bfloat16 a sum of ones stops at 256.
  x = (1 + features(1, 1000, 8)).astype(jnp.bfloat16)
  params = norm().init(jax.random.key(0), x)
  y = norm().apply(params, x)
  exact = norm().apply(params, x.astype(jnp.float32))
  assert y.dtype == jnp.bfloat16
  np.testing.assert_allclose(y.astype(jnp.float32), exact, atol=0.02)
