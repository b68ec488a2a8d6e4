"""Asteroid's side of a benchmark of a model; started by peers.py.

Runs by its path in an environment of its own with PyTorch and Asteroid, and
imports nothing of jaxsep.
"""

import contextlib
import functools
import os

import side  # pyright: ignore[reportMissingImports]
import torch
from asteroid import models
from asteroid.losses import PITLossWrapper, pairwise_neg_sisdr

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
MODELS = {
  # The paper's sizes, which are Asteroid's defaults too.
  "ConvTasNet": models.ConvTasNet,
  # The defaults but for the width of the LSTM: 256 there, 128 by the authors.
  "DPTNet": functools.partial(
    models.DPTNet,
    n_filters=64,
    kernel_size=16,
    stride=8,
    chunk_size=100,
    n_repeats=6,
    n_heads=4,
    ff_hid=128,
    norm_type="gLN",
  ),
}


def prepare(name, batch, samples, dtype, training, compiled):
  """A function that takes a training step, or separates a batch."""
  torch.manual_seed(0)
  # float32 on a GPU means TF32, as on our side.
  torch.backends.cuda.matmul.allow_tf32 = True
  torch.backends.cudnn.allow_tf32 = True
  model = MODELS[name](n_src=2).to(DEVICE).train(training)
  apply = torch.compile(model) if compiled else model
  mixture, reference = (
    torch.from_numpy(x).to(DEVICE) for x in side.signals(batch, samples)
  )
  optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
  criterion = PITLossWrapper(pairwise_neg_sisdr, pit_from="pw_mtx")

  def precision():
    if dtype == "bfloat16":
      return torch.autocast(DEVICE, torch.bfloat16)
    return contextlib.nullcontext()

  def step():
    optimizer.zero_grad()
    with precision():
      estimate = apply(mixture)
    criterion(estimate.float(), reference).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
    optimizer.step()

  def forward():
    with torch.inference_mode(), precision():
      apply(mixture)

  def run():
    step() if training else forward()
    if DEVICE == "cuda":
      torch.cuda.synchronize()

  return run


def peak():
  """Peak memory: of the device, or of the process on a CPU."""
  if DEVICE == "cuda":
    return torch.cuda.max_memory_allocated()
  return side.peak_bytes()


if __name__ == "__main__":
  if hasattr(os, "sched_getaffinity"):
    torch.set_num_threads(len(os.sched_getaffinity(0)))
  side.answer(prepare, peak)
