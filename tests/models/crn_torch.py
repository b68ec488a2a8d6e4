"""CRN and Dense-CRN in PyTorch; modules have the names of those in Flax."""

import torch
from torch import nn
from torch.nn import functional


class Recurrent(nn.Module):
  """Images `[B, C, N, F]` to the same, each frame as bins, then channels."""

  def __init__(self, features, hidden, layers):
    super().__init__()
    self.lstm = nn.LSTM(
      features, hidden, layers, bidirectional=True, batch_first=True
    )
    self.out = nn.Linear(2 * hidden, features, bias=False)

  def forward(self, x):
    y = self.out(self.lstm(x.permute(0, 2, 3, 1).flatten(2))[0])
    return y.unflatten(2, (x.shape[3], x.shape[1])).permute(0, 3, 1, 2)


class CrnTorch(nn.ModuleDict):
  """Features `[B, N, F]` to masks before their sigmoid, `[B, S, N, F]`."""

  def __init__(self, bins, sources, channels, hidden, layers):
    super().__init__()
    self.depth, self.sources = len(channels), sources
    for index, pair in enumerate(
      zip([1, *channels[:-1]], channels, strict=True)
    ):
      self[f"encoder_{index}"] = nn.Conv2d(*pair, 3, (1, 2), 1)
      self[f"encoder_norm_{index}"] = nn.BatchNorm2d(pair[1])
    last = (bins - 1) // 2**self.depth + 1
    self["recurrent"] = Recurrent(last * channels[-1], hidden, layers)
    outputs = [*channels[-2::-1], 1]
    for source in range(sources):
      for index, pair in enumerate(zip(channels[::-1], outputs, strict=True)):
        name = f"decoder_{source}"
        self[f"{name}_{index}"] = nn.ConvTranspose2d(*pair, 3, (1, 2), 1)
        if index < self.depth - 1:
          self[f"{name}_norm_{index}"] = nn.BatchNorm2d(pair[1])

  def forward(self, features):
    x, skips, masks = features[:, None], [], []
    for index in range(self.depth):
      x = self[f"encoder_norm_{index}"](self[f"encoder_{index}"](x))
      x = functional.leaky_relu(x, 0.01)
      skips.append(x)
    bottleneck = self["recurrent"](x)
    for source in range(self.sources):
      x = bottleneck
      for index in range(self.depth):
        x = self[f"decoder_{source}_{index}"](x + skips[-1 - index])
        if index < self.depth - 1:
          x = self[f"decoder_{source}_norm_{index}"](x)
          x = functional.leaky_relu(x, 0.01)
      masks.append(x[:, 0])
    return torch.stack(masks, dim=1)


def activated(x):
  return functional.instance_norm(functional.elu(x))


class Dense(nn.ModuleDict):
  def __init__(self, inputs, growth, outputs):
    super().__init__()
    widths = [growth] * 4 + [outputs]
    for index, width in enumerate(widths):
      conv = nn.Conv2d(inputs + index * growth, width, 3, padding=1)
      self[f"layer_{index}"] = conv

  def forward(self, x):
    seen = [x]
    for layer in self.values():
      seen.append(activated(layer(torch.cat(seen, dim=1))))
    return seen[-1]


class DenseCrnTorch(nn.ModuleDict):
  """As `CrnTorch`."""

  def __init__(self, bins, sources, channels, hidden, layers, dense):
    super().__init__()
    depth = len(channels)
    for index, (inputs, outputs) in enumerate(
      zip([1, *channels[:-1]], channels, strict=True)
    ):
      stride = (1, 2 if index else 1)
      self[f"encoder_{index}"] = nn.Conv2d(
        inputs, outputs, 3, stride, padding=(1, 0)
      )
      if index < dense:
        self[f"encoder_dense_{index}"] = Dense(outputs, outputs, outputs)
    last = (bins - 1) // 2 ** (depth - 1) - 1
    self["recurrent"] = Recurrent(last * channels[-1], hidden, layers)
    outputs = [*channels[-2::-1], sources]
    for index, (growth, wanted) in enumerate(
      zip(channels[::-1], outputs, strict=True)
    ):
      if index >= depth - dense:
        block = Dense(2 * growth, growth, 2 * growth)
        self[f"decoder_dense_{index}"] = block
      stride = (1, 2 if index < depth - 1 else 1)
      self[f"decoder_{index}"] = nn.ConvTranspose2d(
        2 * growth, wanted, 3, stride, padding=(1, 0)
      )
    self.depth = depth

  def forward(self, features):
    x, skips = features[:, None], []
    for index in range(self.depth):
      x = self[f"encoder_{index}"](x)
      x = activated(x) if index else x
      if f"encoder_dense_{index}" in self:
        x = self[f"encoder_dense_{index}"](x)
      skips.append(x)
    x = self["recurrent"](x)
    for index in range(self.depth):
      x = torch.cat([x, skips.pop()], dim=1)
      if f"decoder_dense_{index}" in self:
        x = self[f"decoder_dense_{index}"](x)
      x = self[f"decoder_{index}"](x)
      x = activated(x) if index < self.depth - 1 else x
    return x


def crn_variables(net):
  """The variables of the model in Flax, as NumPy arrays."""
  tree = {}
  for name, part in net.named_modules():
    path, params, statistics = name.split("."), {}, {}
    if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
      # Both to [frames, bins, inputs, outputs]; a transpose runs backwards.
      kernel = part.weight.permute(2, 3, 1, 0)
      if isinstance(part, nn.ConvTranspose2d):
        kernel = part.weight.flip(2, 3).permute(2, 3, 0, 1)
      params = {"conv": {"kernel": kernel, "bias": part.bias}}
    elif isinstance(part, nn.BatchNorm2d):
      params = {"scale": part.weight, "bias": part.bias}
      statistics = {"mean": part.running_mean, "var": part.running_var}
    elif isinstance(part, nn.Linear):
      params = {"kernel": part.weight.T}
    elif isinstance(part, nn.LSTM):
      path = path[:-1]
      params = {
        f"lstm_{index}": _lstm(part, index) for index in range(part.num_layers)
      }
    for collection, values in (("params", params), ("batch_stats", statistics)):
      if values:
        place = tree.setdefault(collection, {})
        for key in path:
          place = place.setdefault(key, {})
        place.update(values)
  return tree


def _lstm(lstm, index):
  kernels, biases = [], []
  for end in ("", "_reverse"):
    weights = [getattr(lstm, f"weight_{x}_l{index}{end}") for x in ("ih", "hh")]
    kernels.append(torch.cat(weights, dim=1).T)
    biases.append(
      sum(getattr(lstm, f"bias_{x}_l{index}{end}") for x in ("ih", "hh"))
    )
  return {"kernel": torch.stack(kernels), "bias": torch.stack(biases)}
