"""DPTNet in PyTorch as its authors publish it: slow, plain, with loops."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional


class Transformer(nn.Module):
  """One layer on sequences `[M, L, F]`."""

  def __init__(self, features, heads, hidden):
    super().__init__()
    self.mha = nn.MultiheadAttention(features, heads, batch_first=True)
    self.recurrent = nn.LSTM(
      features, hidden, bidirectional=True, batch_first=True
    )
    self.linear = nn.Linear(2 * hidden, features)
    self.norm_mha = nn.LayerNorm(features)
    self.norm_ff = nn.LayerNorm(features)

  def forward(self, x):
    x = self.norm_mha(x + self.mha(x, x, x)[0])
    y = self.linear(functional.relu(self.recurrent(x)[0]))
    return self.norm_ff(x + y)


class DPTNetTorch(nn.Module):
  """Separates `[B, T]` into `[B, C, T]`."""

  def __init__(
    self,
    sources=2,
    filters=256,
    filter_length=2,
    features=64,
    chunk=250,
    blocks=6,
    heads=4,
    hidden=128,
  ):
    super().__init__()
    self.sources, self.chunk, self.features = sources, chunk, features
    self.hop = filter_length // 2
    self.encoder = nn.Conv1d(1, filters, filter_length, self.hop, bias=False)
    self.norm = nn.GroupNorm(1, filters, eps=1e-8)
    self.bottleneck = nn.Conv1d(filters, features, 1, bias=False)
    self.rows, self.columns = (
      nn.ModuleList(Transformer(features, heads, hidden) for _ in range(blocks))
      for _ in range(2)
    )
    self.slope = nn.PReLU()
    self.split = nn.Conv2d(features, features * sources, 1)
    self.value = nn.Conv1d(features, features, 1)
    self.gate = nn.Conv1d(features, features, 1)
    self.mask = nn.Conv1d(features, filters, 1, bias=False)
    self.decoder = nn.Linear(filters, filter_length, bias=False)

  def forward(self, mixture):
    w = torch.relu(self.encoder(mixture[:, None]))
    chunks, rest = self.cut(self.bottleneck(self.norm(w)))
    batch, _, length, number = chunks.shape
    for row, column in zip(self.rows, self.columns, strict=True):
      x = chunks.permute(0, 3, 2, 1).reshape(batch * number, length, -1)
      x = row(x).reshape(batch, number, length, -1).transpose(1, 2)
      x = column(x.reshape(batch * length, number, -1))
      chunks = x.reshape(batch, length, number, -1).permute(0, 3, 1, 2)
    chunks = self.split(self.slope(chunks))
    chunks = chunks.reshape(batch * self.sources, -1, length, number)
    y = self.merge(chunks, rest)
    y = torch.tanh(self.value(y)) * torch.sigmoid(self.gate(y))
    masks = torch.relu(self.mask(y)).reshape(batch, self.sources, *w.shape[1:])
    frames = self.decoder((masks * w[:, None]).transpose(2, 3))
    length = (w.shape[-1] - 1) * self.hop + frames.shape[-1]
    signal = torch.zeros(batch, self.sources, length)
    for index in range(w.shape[-1]):
      start = index * self.hop
      signal[..., start : start + frames.shape[-1]] += frames[:, :, index]
    return signal

  def cut(self, x):
    """Chunks `[B, F, K, S]` and the zeros that complete the last one."""
    hop = self.chunk // 2
    rest = self.chunk - (hop + x.shape[-1] % self.chunk) % self.chunk
    x = functional.pad(x, (hop, rest + hop))
    starts = range(0, x.shape[-1] - self.chunk + 1, hop)
    chunks = [x[..., start : start + self.chunk] for start in starts]
    return torch.stack(chunks, dim=-1), rest

  def merge(self, chunks, rest):
    """The sum of the chunks, `[B, F, N]`."""
    batch, features, length, number = chunks.shape
    hop = self.chunk // 2
    x = torch.zeros(batch, features, (number + 1) * hop)
    for index in range(number):
      x[..., index * hop : index * hop + length] += chunks[..., index]
    return x[..., hop : -(rest + hop)]

  def as_params(self):
    """The parameters of ours by dotted name."""
    weights = {k: v.detach().numpy() for k, v in self.state_dict().items()}
    gated = {
      kind: np.concatenate([weights[f"value.{kind}"], weights[f"gate.{kind}"]])
      for kind in ("weight", "bias")
    }
    params = {
      "encoder.kernel": weights["encoder.weight"][:, 0].T,
      "decoder.kernel": weights["decoder.weight"].T,
      "input_norm.scale": weights["norm.weight"],
      "input_norm.bias": weights["norm.bias"],
      "bottleneck.kernel": weights["bottleneck.weight"][:, :, 0].T,
      "mask.kernel": weights["mask.weight"][:, :, 0].T,
      "slope": weights["slope.weight"].reshape(()),
      "sources.kernel": weights["split.weight"][:, :, 0, 0].T,
      "sources.bias": weights["split.bias"],
      "gated.kernel": gated["weight"][:, :, 0].T,
      "gated.bias": gated["bias"],
    }
    for index in range(len(self.rows)):
      for ours, theirs in (("intra", "rows"), ("inter", "columns")):
        layer = _layer_params(weights, f"{theirs}.{index}")
        for name, value in layer.items():
          params[f"block_{index}.{ours}.{name}"] = value
    return params


def _layer_params(weights, prefix):
  """The parameters of one layer: attention, LSTM, linear layer, norms."""
  weights = {
    name.removeprefix(f"{prefix}."): value for name, value in weights.items()
  }
  lstm = {
    name: [weights[f"recurrent.{name}_l0{end}"] for end in ("", "_reverse")]
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
  }
  # Inputs over states; PyTorch has two biases that are always added.
  kernels = np.concatenate([lstm["weight_ih"], lstm["weight_hh"]], axis=2)
  return {
    "attention.query_key_value.kernel": weights["mha.in_proj_weight"].T,
    "attention.query_key_value.bias": weights["mha.in_proj_bias"],
    "attention.out.kernel": weights["mha.out_proj.weight"].T,
    "attention.out.bias": weights["mha.out_proj.bias"],
    "attention_norm.scale": weights["norm_mha.weight"],
    "attention_norm.bias": weights["norm_mha.bias"],
    "lstm.kernel": kernels.swapaxes(1, 2),
    "lstm.bias": np.add(lstm["bias_ih"], lstm["bias_hh"]),
    "linear.kernel": weights["linear.weight"].T,
    "linear.bias": weights["linear.bias"],
    "linear_norm.scale": weights["norm_ff.weight"],
    "linear_norm.bias": weights["norm_ff.bias"],
  }
