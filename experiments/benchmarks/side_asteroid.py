"""The peer's side of a benchmark of a model; started by peers.py.

Runs in an environment of its own with PyTorch and Asteroid, and imports
nothing of jaxsep. Answers as side_jaxsep.py does.
"""

import contextlib
import functools
import json
import os
import sys
import time

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


def autocast(dtype):
  """The context of a computation type; float32 on a GPU means TF32."""
  torch.backends.cuda.matmul.allow_tf32 = True
  torch.backends.cudnn.allow_tf32 = True
  if dtype == "bfloat16":
    return torch.autocast(DEVICE, torch.bfloat16)
  return contextlib.nullcontext()


def prepare(batch, samples, dtype, training, compiled):
  """Returns a function that takes a training step, or separates a batch."""
  torch.manual_seed(0)
  model = MODELS[sys.argv[1]](n_src=2).to(DEVICE)
  apply = torch.compile(model) if compiled else model
  mixture = torch.randn(batch, samples, device=DEVICE)
  reference = torch.randn(batch, 2, samples, device=DEVICE)
  optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
  criterion = PITLossWrapper(pairwise_neg_sisdr, pit_from="pw_mtx")

  def step():
    optimizer.zero_grad()
    with autocast(dtype):
      estimate = apply(mixture)
    criterion(estimate.float(), reference).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
    optimizer.step()

  def forward():
    with torch.inference_mode(), autocast(dtype):
      apply(mixture)

  model.train(training)
  work = step if training else forward

  def run():
    work()
    if DEVICE == "cuda":
      torch.cuda.synchronize()

  return run


def peak_bytes():
  """Peak memory: of the device, or of the process on a CPU."""
  if DEVICE == "cuda":
    return torch.cuda.max_memory_allocated()
  with open("/proc/self/status") as file:
    status = dict(line.split(":", 1) for line in file)
  return int(status["VmHWM"].split()[0]) * 1024


def main():
  """Answers requests about a model until the input ends."""
  if hasattr(os, "sched_getaffinity"):
    torch.set_num_threads(len(os.sched_getaffinity(0)))
  work = None
  for line in sys.stdin:
    request = json.loads(line)
    do, answer = request.pop("do"), {}
    if do == "prepare":
      work = prepare(**request)
      for _ in range(2):
        work()
      # The peak of the process starts over.
      with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    else:
      start = time.perf_counter()
      work()
      answer = {"seconds": time.perf_counter() - start, "peak": peak_bytes()}
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
  main()
