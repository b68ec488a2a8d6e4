"""TF-GridNet in PyTorch as its paper describes it, with its convolutions."""

import torch
from torch import nn
from torch.nn import functional

EPS = 1e-5


class Layer(nn.Module):
  """Sequences `[M, D, P]`: norm, unfold, LSTM, transposed convolution."""

  def __init__(self, features, hidden, unfold, stride):
    super().__init__()
    self.unfold, self.stride = unfold, stride
    self.norm = nn.LayerNorm(features, EPS)
    self.lstm = nn.LSTM(
      features * unfold, hidden, bidirectional=True, batch_first=True
    )
    self.deconv = nn.ConvTranspose1d(2 * hidden, features, unfold, stride)

  def forward(self, x):
    length = x.shape[-1]
    steps = max(0, -(-(length - self.unfold) // self.stride)) + 1
    missing = (steps - 1) * self.stride + self.unfold - length
    y = self.norm(x.transpose(1, 2)).transpose(1, 2)
    y = functional.pad(y, (0, missing)).unfold(-1, self.unfold, self.stride)
    y = y.permute(0, 2, 3, 1).flatten(2)  # A step: bins, then features.
    y = self.deconv(self.lstm(y)[0].transpose(1, 2))
    return x + y[..., :length]


class Head(nn.Module):
  """1 x 1 convolution, PReLU, and a norm of every frame."""

  def __init__(self, inputs, features, bins):
    super().__init__()
    self.conv, self.slope = nn.Conv2d(inputs, features, 1), nn.PReLU()
    self.norm = nn.LayerNorm((bins, features), EPS)

  def forward(self, x):
    y = self.slope(self.conv(x)).permute(0, 2, 3, 1)
    return self.norm(y)  # [B, N, F, E]


class Block(nn.Module):
  """`[B, D, N, F]` to the same shape."""

  def __init__(self, features, hidden, unfold, stride, heads, key, bins):
    super().__init__()
    self.intra = Layer(features, hidden, unfold, stride)
    self.inter = Layer(features, hidden, unfold, stride)
    sizes = {"query": key, "key": key, "value": features // heads}
    self.heads = nn.ModuleDict(
      {
        name: nn.ModuleList(Head(features, size, bins) for _ in range(heads))
        for name, size in sizes.items()
      }
    )
    self.joined = Head(features, features, bins)

  def forward(self, x):
    batch, features, frames, bins = x.shape
    y = self.intra(x.transpose(1, 2).reshape(-1, features, bins))
    x = y.reshape(batch, frames, features, bins).transpose(1, 2)
    y = self.inter(x.permute(0, 3, 1, 2).reshape(-1, features, frames))
    x = y.reshape(batch, bins, features, frames).permute(0, 2, 3, 1)
    mixed = []
    for one in zip(*self.heads.values(), strict=True):
      query, key, value = (head(x).flatten(2) for head in one)
      scores = query @ key.transpose(1, 2) / query.shape[-1] ** 0.5
      value = scores.softmax(dim=-1) @ value
      mixed.append(value.reshape(batch, frames, bins, -1))
    mixed = torch.cat(mixed, dim=-1).permute(0, 3, 1, 2)
    return x + self.joined(mixed).permute(0, 3, 1, 2)


class TFGridNetTorch(nn.Module):
  """Separates `[B, T]` into `[B, S, T]`."""

  def __init__(
    self, sources, n_fft, hop, features, blocks, hidden, unfold, stride, heads,
    key
  ):  # fmt: skip
    super().__init__()
    self.n_fft, self.hop, bins = n_fft, hop, n_fft // 2 + 1
    self.input = nn.Conv2d(2, features, 3, padding=1)
    self.norm = nn.GroupNorm(1, features, EPS)
    self.blocks = nn.ModuleList(
      Block(features, hidden, unfold, stride, heads, key, bins)
      for _ in range(blocks)
    )
    self.output = nn.ConvTranspose2d(features, 2 * sources, 3, padding=1)

  def forward(self, mixture):
    level = mixture.square().mean(dim=1).sqrt()[:, None]
    window = torch.hann_window(self.n_fft).sqrt()
    spectrum = torch.stft(
      mixture / level, self.n_fft, self.hop, window=window,
      pad_mode="constant", return_complex=True,
    )  # fmt: skip
    y = torch.view_as_real(spectrum).permute(0, 3, 2, 1)
    y = self.norm(self.input(y))
    for block in self.blocks:
      y = block(y)
    y = self.output(y).unflatten(1, (-1, 2)).permute(0, 1, 4, 3, 2)
    spectra = torch.view_as_complex(y.contiguous())
    waves = torch.istft(
      spectra.flatten(0, 1), self.n_fft, self.hop, window=window,
      length=mixture.shape[1],
    )  # fmt: skip
    return waves.reshape(len(mixture), -1, mixture.shape[1]) * level[..., None]
