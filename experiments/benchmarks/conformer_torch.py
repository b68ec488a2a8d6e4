"""ConformerSeparator in PyTorch, from the same equations.

Its benchmark and the tests of parity use it. Module names are those of the
parameters in Flax where the two correspond.
"""
# ruff: noqa: D101, D102

import math
import types

import torch
from torch import nn
from torch.nn import functional

_STFT = types.SimpleNamespace(n_fft=512, win_length=400, hop_length=160)


class MaskedSpectrumTorch(nn.Module):
  """`[B, T]` to `[B, S, T]`: masks of a network on the log spectrum."""

  def __init__(self, stft, sources, network):
    super().__init__()
    self.stft, self.sources, self.network = stft, sources, network
    window = torch.hamming_window(stft.win_length)
    self.register_buffer("window", window, persistent=False)

  def options(self):
    stft = self.stft
    return {
      "n_fft": stft.n_fft,
      "hop_length": stft.hop_length,
      "win_length": stft.win_length,
      "window": self.window,
    }

  def forward(self, mixture):
    spectrum = torch.stft(
      mixture, pad_mode="constant", return_complex=True, **self.options()
    )
    features = spectrum.abs().clamp_min(1.19e-7).log().transpose(1, 2)
    variance, mean = torch.var_mean(features, 1, correction=0, keepdim=True)
    features = (features - mean) / (variance + 1e-5).sqrt()
    masks = self.network(features).sigmoid()  # [B, S, N, F]
    inner = masks[..., 1:-1]
    masks = torch.cat([inner[..., :1], inner, inner[..., -1:]], dim=-1)
    masked = spectrum[:, None] * masks.transpose(2, 3)
    waves = torch.istft(
      masked.flatten(0, 1), length=mixture.shape[1], **self.options()
    )
    return waves.unflatten(0, (-1, self.sources))


class Attention(nn.Module):
  """Shaw's keys, from all `2 N - 1` offsets by shifting."""

  def __init__(self, size, heads):
    super().__init__()
    self.heads = heads
    self.query_key_value = nn.Linear(size, 3 * size)
    self.out = nn.Linear(size, size)

  def forward(self, x, rows):
    batch, frames, _ = x.shape
    joint = self.query_key_value(x).view(batch, frames, 3, self.heads, -1)
    query, key, value = joint.permute(2, 0, 3, 1, 4)
    query = query / math.sqrt(query.shape[-1])
    offsets = functional.pad(query @ rows.T, (1, 0)).flatten(2)
    # Rows of 2 N values, read as rows of 2 N - 1, begin one offset earlier.
    shifted = offsets[..., frames:].view(batch, self.heads, frames, -1)
    scores = query @ key.transpose(2, 3) + shifted[..., :frames]
    mixed = scores.softmax(dim=-1) @ value
    return self.out(mixed.transpose(1, 2).reshape(x.shape))


class FeedForward(nn.Module):
  def __init__(self, size, hidden, activation):
    super().__init__()
    self.hidden, self.out = nn.Linear(size, hidden), nn.Linear(hidden, size)
    self.activation = activation

  def forward(self, x):
    return self.out(self.activation(self.hidden(x)))


class Conv(nn.Module):
  """`glu` is None or "multiplier"; with squeeze and excitation."""

  def __init__(self, size, channels, kernel, glu, reduction):
    super().__init__()
    self.glu = glu
    self.expand = nn.Linear(size, channels)
    inputs = channels if glu is None else channels // 2
    self.depthwise = nn.Conv1d(
      inputs, channels, kernel, padding=kernel // 2, groups=inputs
    )
    self.norm = nn.BatchNorm1d(channels)
    self.out = nn.Linear(channels, size)
    self.squeeze = nn.Linear(size, size // reduction)
    self.excite = nn.Linear(size // reduction, size)

  def forward(self, x):
    y = self.expand(x).transpose(1, 2)
    if self.glu is not None:
      y = functional.glu(y, dim=1)
    y = functional.silu(self.norm(self.depthwise(y))).transpose(1, 2)
    y = self.out(y)
    gate = self.excite(self.squeeze(y.mean(dim=1)).relu()).sigmoid()
    return y * gate[:, None]


class Layer(nn.Module):
  """A Conformer layer, or a Transformer's without `kernel`."""

  def __init__(
    self, size, heads, feedforward, channels=0, kernel=None, glu=None,
    reduction=1, macaron=True, activation=functional.silu,
  ):  # fmt: skip
    super().__init__()
    self.macaron, self.has_conv = macaron, kernel is not None
    if macaron:
      self.feedforward_first_norm = nn.LayerNorm(size)
      self.feedforward_first = FeedForward(size, feedforward, activation)
    self.attention_norm = nn.LayerNorm(size)
    self.attention = Attention(size, heads)
    if self.has_conv:
      self.conv_norm = nn.LayerNorm(size)
      self.conv = Conv(size, channels, kernel, glu, reduction)
    self.feedforward_norm = nn.LayerNorm(size)
    self.feedforward = FeedForward(size, feedforward, activation)

  def forward(self, x, rows):
    factor = 0.5 if self.macaron else 1.0
    if self.macaron:
      x = x + factor * self.feedforward_first(self.feedforward_first_norm(x))
    x = x + self.attention(self.attention_norm(x), rows)
    if self.has_conv:
      x = x + self.conv(self.conv_norm(x))
    return x + factor * self.feedforward(self.feedforward_norm(x))


class Stack(nn.Module):
  """Features `[B, N, F]` to masks before their sigmoid, `[B, S, N, F]`."""

  def __init__(self, bins, sources, layers, size, heads, distance, **options):
    super().__init__()
    self.sources, self.distance = sources, distance
    self.positions = nn.Parameter(torch.randn(2 * distance + 1, size // heads))
    self.input, self.input_norm = nn.Linear(bins, size), nn.LayerNorm(size)
    self.layers = nn.ModuleList(
      Layer(size, heads, **options) for _ in range(layers)
    )
    self.output_norm = nn.LayerNorm(size)
    self.output = nn.Linear(size, sources * bins)

  def forward(self, features):
    frames = features.shape[1]
    offset = torch.arange(1 - frames, frames, device=features.device)
    offset = offset.clamp(-self.distance, self.distance) + self.distance
    rows = self.positions[offset]
    x = self.input_norm(self.input(features)).relu()
    for layer in self.layers:
      x = layer(x, rows)
    y = self.output(self.output_norm(x))
    return y.unflatten(-1, (self.sources, -1)).transpose(1, 2)


def base_model():
  """The default `ConformerSeparator` with the values of seed 0."""
  torch.manual_seed(0)
  stack = Stack(
    257, 2, layers=16, size=256, heads=4, distance=1024, feedforward=1024,
    channels=512, kernel=33, reduction=16,
  )  # fmt: skip
  return MaskedSpectrumTorch(_STFT, 2, stack)


def stack_variables(net):
  """The variables of `_Stack` in Flax, as NumPy arrays."""
  layers = [_variables(layer) for layer in net.layers]
  stacked = {}
  for path in layers[0]:
    stacked[path] = torch.stack([layer[path] for layer in layers])
  rest = {
    path: value
    for path, value in _variables(net).items()
    if "layers" not in path
  }
  tree = {"params": {}, "batch_stats": {}}
  for path, value in rest.items():
    _put(tree, path, value)
  for (collection, *path), value in stacked.items():
    _put(tree, (collection, "layers", *path), value)
  return {name: values for name, values in tree.items() if values}


def _variables(module):
  """Flax's paths, with the collection first, and values of all parameters."""
  found = {}
  for name, part in module.named_modules():
    path = tuple(name.split(".")) if name else ()
    if isinstance(part, nn.Linear):
      found["params", *path, "kernel"] = part.weight.T
      found["params", *path, "bias"] = part.bias
    elif isinstance(part, nn.LayerNorm | nn.BatchNorm1d):
      found["params", *path, "scale"] = part.weight
      found["params", *path, "bias"] = part.bias
    elif isinstance(part, nn.Conv1d):
      found["params", *path[:-1], "kernel"] = part.weight[:, 0].T
      found["params", *path[:-1], "bias"] = part.bias
    elif isinstance(part, Stack):
      found["params", *path, "positions"] = part.positions
    if isinstance(part, nn.BatchNorm1d):
      found["batch_stats", *path, "mean"] = part.running_mean
      found["batch_stats", *path, "var"] = part.running_var
  return found


def _put(tree, path, value):
  *parents, last = path
  for name in parents:
    tree = tree.setdefault(name, {})
  tree[last] = value.detach().cpu().numpy().copy()
