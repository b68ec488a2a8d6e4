import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from random_params import random_params

from jaxsep import dsp, models

SMALL: dict[str, Any] = {
  "num_mels": 20,
  "size": 16,
  "num_layers": 1,
  "num_heads": 2,
  "feedforward_size": 32,
  "kernel_size": 5,
  "num_decoder_layers": 2,
}
HOP = 160


@pytest.fixture(scope="module")
def small():
  model = models.Recognizer(10, **SMALL)
  return model, random_params(model, **model.example_inputs())


@pytest.fixture(scope="module")
def batch():
  rng = np.random.default_rng(0)
  length = np.array([30 * HOP, 17 * HOP + 5, 90], np.int32)
  signal = rng.standard_normal((3, 30 * HOP)).astype(np.float32)
  tokens = rng.integers(3, 10, (3, 5)).astype(np.int32)
  return {"signal": 0.1 * signal, "tokens": tokens, "length": length}


def apply(small, *args, **options):
  return compiled(small[0], options.pop("method", None))(
    small[1], *args, **options
  )


@functools.cache
def compiled(model, method):
  apply = functools.partial(model.apply, method=method)
  return jax.jit(apply, static_argnames="max_length")


def first_constants(model):
  def init():
    return model.init(jax.random.key(0), **model.example_inputs())["constants"]

  return {"constants": jax.jit(init)()}


# Reference.


def torch_linear(linear, weights):
  linear.weight.data = torch.tensor(np.array(weights["kernel"]).T)
  linear.bias.data = torch.tensor(np.array(weights["bias"]))


def torch_norm(norm, weights):
  for one, two in zip(
    (norm.weight, norm.bias), (weights["scale"], weights["bias"]), strict=True
  ):
    one.data = torch.tensor(np.array(two).reshape(-1))


def test_decoder_against_torch(small, batch):
  """The same layers as torch's, which SpeechBrain's decoder has."""
  params = small[1]["params"]["decoder"]
  rng = np.random.default_rng(1)
  encoded = rng.standard_normal((3, 8, 16)).astype(np.float32)
  lengths = np.array([8, 5, 3])
  got = apply(small, batch["tokens"], encoded, lengths, method="decode")
  table = np.array(params["embedding"]["embedding"])
  places = np.arange(5)[:, None] * 10_000 ** (-np.arange(0, 16, 2) / 16)
  waves = np.stack([np.sin(places), np.cos(places)], -1).reshape(5, 16)
  x = torch.tensor((4 * table[batch["tokens"]] + waves).astype("f4"))
  padding = torch.arange(8)[None] >= torch.tensor(lengths)[:, None]
  for index in range(2):
    layer = torch.nn.TransformerDecoderLayer(
      16, 2, 32, 0.0, "gelu", 1e-6, batch_first=True, norm_first=True
    )
    p = params[f"layers_{index}"]
    own, cross = layer.self_attn, layer.multihead_attn
    joint = {"weight": "kernel", "bias": "bias"}
    for name, key in joint.items():
      getattr(own, f"in_proj_{name}").data = torch.tensor(
        np.array(p["query_key_value"][key]).T
      )
      both = [
        np.array(p[k][key]).T for k in ("memory_query", "memory_key_value")
      ]
      getattr(cross, f"in_proj_{name}").data = torch.tensor(
        np.concatenate(both)
      )
    torch_linear(own.out_proj, p["attention_out"])
    torch_linear(cross.out_proj, p["memory_out"])
    torch_linear(layer.linear1, p["feedforward"]["hidden"])
    torch_linear(layer.linear2, p["feedforward"]["out"])
    torch_norm(layer.norm1, p["attention_norm"])
    torch_norm(layer.norm2, p["memory_norm"])
    torch_norm(layer.norm3, p["feedforward_norm"])
    x = layer(
      x,
      torch.tensor(encoded),
      tgt_mask=torch.nn.Transformer.generate_square_subsequent_mask(5),
      memory_key_padding_mask=padding,
    )
  norm, head = torch.nn.LayerNorm(16, 1e-6), torch.nn.Linear(16, 10)
  torch_norm(norm, params["norm"])
  torch_linear(head, small[1]["params"]["decoder_head"])
  np.testing.assert_allclose(got, head(norm(x)).detach(), atol=2e-5)


def test_subsampling_against_torch(small):
  """Two convolutions with reflected ends, as SpeechBrain's."""
  params = small[1]["params"]
  features = np.random.default_rng(2).standard_normal((1, 11, 20)).astype("f4")

  def joined(model, x, num_frames):
    for layer in model.subsampling:
      x, num_frames = layer(x, num_frames), (num_frames + 1) // 2
    return x

  model, variables = small
  got = jax.jit(functools.partial(model.apply, method=joined))(
    variables, features[..., None], jnp.array([11])
  )
  x = torch.tensor(features)[:, None]
  for index, channels in enumerate(model.conv_channels):
    p = params[f"subsampling_{index}"]
    conv = torch.nn.Conv2d(
      x.shape[1], channels, 3, 2, 1, padding_mode="reflect"
    )
    conv.weight.data = torch.tensor(
      np.array(p["conv"]["kernel"]).transpose(3, 2, 0, 1)
    )
    bias = torch.tensor(np.array(p["conv"]["bias"]))
    conv.bias = torch.nn.Parameter(bias)
    x = conv(x).permute(0, 2, 3, 1)
    scale, bias = (torch.tensor(p["norm"][key]) for key in ("scale", "bias"))
    x = torch.nn.functional.layer_norm(x, x.shape[2:], scale, bias, 1e-5)
    x = torch.nn.functional.leaky_relu(x).permute(0, 3, 1, 2)
  assert got.shape == (1, 3, 5, 32)
  np.testing.assert_allclose(got, x.permute(0, 2, 3, 1).detach(), atol=1e-5)


def test_number_of_parameters():
  """Of one layer of the encoder and one of the decoder at the usual sizes."""
  model = models.Recognizer(5000, num_layers=1, num_decoder_layers=1)
  shapes = jax.eval_shape(
    model.init, jax.random.key(0), **model.example_inputs()
  )
  sizes = {
    name: sum(int(np.prod(x.shape)) for x in jax.tree.leaves(part))
    for name, part in shapes["params"].items()
  }
  size, norm = 512, 1024
  feedforward = 2 * size * 2048 + 2048 + size + norm
  attention = 5 * size * size + 3 * size + norm
  conv = 3 * size * size + 3 * size + 32 * size + 2 * norm
  assert sizes["encoder_0"] == 2 * feedforward + attention + conv + norm
  decoder = 8 * size * size + 8 * size + 2 * norm + feedforward
  assert sizes["decoder"] == decoder + 5000 * size + norm
  assert sizes["joined"] == 640 * size + size


# Law.


def test_padded_batch_equals_single_examples(small, batch):
  ctc, decoder, length = apply(small, **batch)
  assert length.tolist() == [8, 5, 1]
  noisy = batch | {"signal": batch["signal"].copy()}
  for row, size in enumerate(batch["length"]):
    noisy["signal"][row, size:] = 9.0
  np.testing.assert_allclose(apply(small, **noisy)[1], decoder, atol=1e-5)
  size = batch["length"][1]
  alone = apply(small, batch["signal"][1:2, :size], batch["tokens"][1:2])
  np.testing.assert_allclose(alone[0][0], ctc[1, :5], atol=1e-5)
  np.testing.assert_allclose(alone[1][0], decoder[1], atol=1e-5)


def test_steps_equal_the_whole(small, batch):
  """Three hypotheses a row, whose states are exchanged on the way."""
  rng = np.random.default_rng(3)
  encoded = rng.standard_normal((2, 8, 16)).astype(np.float32)
  lengths = np.array([8, 5])
  tokens = rng.integers(3, 10, (2, 3, 4)).astype(np.int32)
  tokens[..., 0] = 1
  shared, state = apply(
    small, encoded, lengths, max_length=4, method="search_start"
  )
  state = jax.tree.map(lambda x: jnp.repeat(x[:, None], 3, axis=1), state)
  order = np.array([[2, 0, 0], [1, 1, 2]])
  for place in range(4):
    got, state = apply(
      small, shared, state, tokens[:, :, place], method="search_step"
    )
    for hypothesis in range(3):
      logits = apply(
        small, tokens[:, hypothesis], encoded, lengths, method="decode"
      )
      expected = jax.nn.log_softmax(logits[:, place])
      np.testing.assert_allclose(got[:, hypothesis], expected, atol=2e-5)
    if place == 1:
      state = jax.tree.map(lambda x: x[np.arange(2)[:, None], order], state)
      history = tokens[np.arange(2)[:, None], order]
      tokens[:, :, :2] = history[:, :, :2]


def test_later_tokens_change_nothing(small, batch):
  other = batch | {"tokens": batch["tokens"].copy()}
  other["tokens"][:, 3:] = 0
  one, two = (apply(small, **x)[1] for x in (batch, other))
  np.testing.assert_allclose(one[:, :3], two[:, :3], atol=1e-6)
  assert np.max(np.abs(one[:, 3] - two[:, 3])) > 1e-3


def test_features_are_those_of_spectra(small, batch):
  """Of masked magnitudes come the features that training has seen."""
  model, _ = small
  features, num_frames = apply(
    small, batch["signal"], batch["length"], method="features"
  )
  inside = np.arange(30 * HOP) < batch["length"][:, None]
  spectrum = jnp.abs(model.stft(jnp.where(inside, batch["signal"], 0.0)))
  again = apply(small, spectrum, num_frames, method="features_of_spectra")
  np.testing.assert_allclose(features, again, atol=1e-4)
  valid = np.arange(31)[None] < np.asarray(num_frames)[:, None]
  for row in range(2):
    part = features[row][valid[row]]
    np.testing.assert_allclose(np.mean(part, 0), 0.0, atol=1e-4)
    np.testing.assert_allclose(np.std(part, 0), 1.0, atol=1e-2)
  louder = apply(small, 3 * spectrum, num_frames, method="features_of_spectra")
  np.testing.assert_allclose(louder, features, atol=1e-3)


def test_global_normalisation():
  model = models.Recognizer(10, normalization="global", **SMALL)
  variables = first_constants(model)
  silent = jnp.zeros((1, 2, 257)), jnp.array([2])
  run = functools.partial(apply, method="features_of_spectra")
  got = run((model, variables), *silent)
  np.testing.assert_allclose(got, np.log(1e-10), rtol=1e-6)
  variables["constants"]["mean"] += np.log(1e-10) - 4.0
  variables["constants"]["deviation"] *= 2.0
  got = run((model, variables), *silent)
  np.testing.assert_allclose(got, 2.0, rtol=1e-5)


def test_quiet_bands_are_raised_to_the_limit_below_the_loudest():
  options = SMALL | {"normalization": "global", "top_db": 20.0}
  model = models.Recognizer(10, **options)
  magnitudes = np.ones((2, 3, 257), np.float32)
  magnitudes[:, 1] = 1e-2
  # Padding of the second, which is louder.
  magnitudes[1, 2] = 100.0
  got = apply(
    (model, first_constants(model)),
    magnitudes,
    np.array([3, 2]),
    method="features_of_spectra",
  )
  loud = np.log(
    dsp.mel_filterbank(20, n_fft=512, sample_rate_hz=16000).sum(axis=0)
  )
  low = np.maximum(loud - 4 * np.log(10), loud.max() - 2 * np.log(10))
  loud = np.maximum(loud, loud.max() - 2 * np.log(10))
  expected = [[loud, low, loud], [loud, low, 0 * loud]]
  np.testing.assert_allclose(got, expected, atol=1e-4)


# Edge.


def test_silence_has_finite_gradients(small, batch):
  model, variables = small

  def total(magnitudes):
    features = model.apply(
      variables, magnitudes, jnp.array([9]), method="features_of_spectra"
    )
    encoded, _ = model.apply(
      variables, features, jnp.array([9]), method="encode"
    )
    return jnp.sum(encoded**2)

  slope = jax.jit(jax.grad(total))
  assert np.all(np.isfinite(slope(jnp.zeros((1, 9, 257)))))


# Failure.


def test_bad_options():
  model = models.Recognizer(10, **dict(SMALL, normalization="corpus"))
  with pytest.raises(ValueError, match="unknown normalization 'corpus'"):
    jax.jit(model.init)(jax.random.key(0), **model.example_inputs())
  decoder = models.CausalTransformer(10, size=18, num_heads=2)
  with pytest.raises(ValueError, match="18 must be a multiple of twice num_he"):
    decoder.init(jax.random.key(0), jnp.ones((1, 2), jnp.int32))
