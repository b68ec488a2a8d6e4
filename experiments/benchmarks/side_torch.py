"""PyTorch's side of the benchmark of the Conformer; started by peers.py.

Runs by its path in an environment with PyTorch and NumPy, and imports nothing
of jaxsep.
"""

import contextlib
import itertools
import os
from typing import Any

import conformer_torch  # pyright: ignore[reportMissingImports]
import side  # pyright: ignore[reportMissingImports]
import torch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# What the last forward pass gave.
output: Any = None


def prepare(name, batch, samples, dtype, training, compiled):
  """A function that takes a training step, or separates a batch."""
  del name  # There is but one.
  torch.backends.cuda.matmul.allow_tf32 = True
  torch.backends.cudnn.allow_tf32 = True
  model = conformer_torch.base_model().to(DEVICE).train(training)
  apply = torch.compile(model) if compiled else model
  mixture, reference = (
    torch.from_numpy(x).to(DEVICE) for x in side.signals(batch, samples)
  )
  optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

  def precision():
    if dtype == "bfloat16":
      return torch.autocast(DEVICE, torch.bfloat16)
    return contextlib.nullcontext()

  def step():
    optimizer.zero_grad()
    with precision():
      estimate = apply(mixture)
    neg_si_snr(estimate.float(), reference).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
    optimizer.step()

  def forward():
    global output
    with torch.inference_mode(), precision():
      output = apply(mixture)

  def run():
    step() if training else forward()
    if DEVICE == "cuda":
      torch.cuda.synchronize()

  return run


def neg_si_snr(estimate, reference):
  """The mean over sources and examples under the best permutation."""
  estimate = (estimate - estimate.mean(dim=-1, keepdim=True))[:, :, None]
  reference = (reference - reference.mean(dim=-1, keepdim=True))[:, None]
  energy = reference.square().sum(dim=-1, keepdim=True)
  scale = (estimate * reference).sum(dim=-1, keepdim=True) / energy
  target = scale * reference
  ratio = target.square().sum(dim=-1) / (estimate - target).square().sum(dim=-1)
  pairs = -10 * torch.log10(ratio + 1e-8)  # [B, estimates, references]
  sources = range(pairs.shape[1])
  ordered = [
    pairs[:, list(sources), list(order)].mean(dim=1)
    for order in itertools.permutations(sources)
  ]
  return torch.stack(ordered).min(dim=0).values.mean()


def peak():
  """Peak memory: of the device, or of the process on a CPU."""
  if DEVICE == "cuda":
    return torch.cuda.max_memory_allocated()
  return side.peak_bytes()


if __name__ == "__main__":
  if hasattr(os, "sched_getaffinity"):
    torch.set_num_threads(len(os.sched_getaffinity(0)))
  side.answer(
    prepare,
    peak,
    output=lambda: output.flatten()[:1000].tolist(),
  )
