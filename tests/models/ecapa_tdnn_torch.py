"""ECAPA-TDNN in PyTorch, features too, for signals without padding."""

import torch
from torch import nn
from torch.nn import functional


class Layer(nn.Module):
  """Convolution, rectifier, batch norm."""

  def __init__(self, inputs, outputs, kernel=1, dilation=1):
    super().__init__()
    self.conv = nn.Conv1d(
      inputs, outputs, kernel, dilation=dilation, padding="same"
    )
    self.norm = nn.BatchNorm1d(outputs)

  def forward(self, x):
    return self.norm(functional.relu(self.conv(x)))


class Block(nn.Module):
  """`[B, C, N]` to the same shape."""

  def __init__(self, channels, dilation):
    super().__init__()
    width = channels // 8
    self.input = Layer(channels, channels)
    self.parts = nn.ModuleList(
      Layer(width, width, 3, dilation) for _ in range(7)
    )
    self.output = Layer(channels, channels)
    self.squeeze = nn.Conv1d(channels, 128, 1)
    self.excite = nn.Conv1d(128, channels, 1)

  def forward(self, x):
    chunks = list(self.input(x).chunk(8, dim=1))
    for i, layer in enumerate(self.parts):
      chunks[i] = layer(chunks[i] if i == 0 else chunks[i - 1] + chunks[i])
    y = self.output(torch.cat(chunks, dim=1))
    gate = functional.relu(self.squeeze(y.mean(2, keepdim=True)))
    return x + y * torch.sigmoid(self.excite(gate))


class EcapaTdnnTorch(nn.Module):
  """`[B, T]` to `[B, E]`."""

  def __init__(self, channels, pooled, embedding, rate):
    super().__init__()
    self.rate = rate
    self.stem = Layer(80, channels, 5)
    self.blocks = nn.ModuleList(Block(channels, i) for i in (2, 3, 4))
    self.joined = nn.Conv1d(3 * channels, pooled, 1)
    self.attention = Layer(3 * pooled, 256)
    self.scores = nn.Conv1d(256, pooled, 1)
    self.pooled_norm = nn.BatchNorm1d(2 * pooled)
    self.embedding = nn.Linear(2 * pooled, embedding)
    self.embedding_norm = nn.BatchNorm1d(embedding)

  def forward(self, signal):
    x = self.stem(log_mel(signal, self.rate))
    x1 = self.blocks[0](x)
    x2 = self.blocks[1](x + x1)
    x3 = self.blocks[2](x + x1 + x2)
    x = functional.relu(self.joined(torch.cat([x1, x2, x3], dim=1)))
    mean = x.mean(2, keepdim=True).expand_as(x)
    std = torch.sqrt(x.var(2, keepdim=True).clamp(1e-4)).expand_as(x)
    w = torch.tanh(self.attention(torch.cat([x, mean, std], dim=1)))
    w = torch.softmax(self.scores(w), dim=2)
    mean = (w * x).sum(2)
    std = torch.sqrt(((w * x**2).sum(2) - mean**2).clamp(1e-4))
    pooled = self.pooled_norm(torch.cat([mean, std], dim=1))
    return self.embedding_norm(self.embedding(pooled))


def log_mel(signal, rate):
  """Features `[B, 80, N]` of 8 or 16 kHz."""
  padded = functional.pad(signal, (1, 0), mode="reflect")
  signal = padded[:, 1:] - 0.97 * padded[:, :-1]
  size, length, hop = rate * 32 // 1000, rate // 40, rate // 100
  spectrum = torch.stft(
    signal,
    size,
    hop,
    length,
    torch.hamming_window(length),
    center=True,
    pad_mode="reflect",
    return_complex=True,
  )
  bands = filters(size // 2 + 1, rate) @ spectrum.abs() ** 2
  features = torch.log(bands + 1e-6)
  return features - features.mean(2, keepdim=True)


def filters(bins, rate):
  """Mel bands `[80, F]`: each a linear interpolation of 0, 1, 0."""
  ends = torch.tensor([20.0, min(7600.0, rate / 2)], dtype=torch.float64)
  low, high = 2595 * torch.log10(1 + ends / 700)
  edges = 700 * (10 ** (torch.linspace(low, high, 82).double() / 2595) - 1)
  bands = torch.zeros(80, bins)
  for band in range(80):
    left, middle, right = edges[band : band + 3].tolist()
    for k in range(bins):
      hz = k * rate / 2 / (bins - 1)
      if left < hz <= middle:
        bands[band, k] = (hz - left) / (middle - left)
      elif middle < hz < right:
        bands[band, k] = (right - hz) / (right - middle)
  return bands
