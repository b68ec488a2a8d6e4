"""The peer's side of the ConvTasNet benchmark; started by conv_tasnet.py.

Runs in an environment of its own with PyTorch and Asteroid, and imports
nothing of jaxsep. Speaks as conv_tasnet_jaxsep.py does.
"""

import contextlib
import json
import os
import sys
import time

import torch
from asteroid.losses import PITLossWrapper, pairwise_neg_sisdr
from asteroid.models import ConvTasNet

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def synchronize():
  """Waits for the device."""
  if DEVICE == "cuda":
    torch.cuda.synchronize()


def autocast(dtype):
  """The context of a computation type; float32 on a GPU means TF32."""
  torch.backends.cuda.matmul.allow_tf32 = True
  torch.backends.cudnn.allow_tf32 = True
  if dtype == "bfloat16":
    return torch.autocast(DEVICE, torch.bfloat16)
  return contextlib.nullcontext()


def make_model(model_class, compiled):
  """The paper's sizes, which are Asteroid's defaults too."""
  torch.manual_seed(0)
  model = model_class(n_src=2).to(DEVICE)
  return model, torch.compile(model) if compiled else model


def make_forward(model_class, batch, samples, dtype, compiled):
  """Returns a function that separates a random batch once."""
  model, apply = make_model(model_class, compiled)
  model.eval()
  mixture = torch.randn(batch, samples, device=DEVICE)

  def run():
    with torch.inference_mode(), autocast(dtype):
      apply(mixture)
    synchronize()

  return run


def make_training(model_class, batch, samples, dtype, compiled):
  """Returns a function that takes one training step."""
  model, apply = make_model(model_class, compiled)
  mixture = torch.randn(batch, samples, device=DEVICE)
  reference = torch.randn(batch, 2, samples, device=DEVICE)
  optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
  criterion = PITLossWrapper(pairwise_neg_sisdr, pit_from="pw_mtx")

  def run():
    optimizer.zero_grad()
    with autocast(dtype):
      estimate = apply(mixture)
    criterion(estimate.float(), reference).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
    optimizer.step()
    synchronize()

  return run


def peak_bytes():
  """Peak memory: of the device, or of the process on a CPU."""
  if DEVICE == "cuda":
    return torch.cuda.max_memory_allocated()
  with open("/proc/self/status") as file:
    status = dict(line.split(":", 1) for line in file)
  return int(status["VmHWM"].split()[0]) * 1024


def forget_peak():
  """Lets the peak of the process start over."""
  with open("/proc/self/clear_refs", "w") as file:
    file.write("5")


def main(model_class=ConvTasNet):
  """Answers requests about a model until the input ends."""
  if hasattr(os, "sched_getaffinity"):
    torch.set_num_threads(len(os.sched_getaffinity(0)))
  work = {}
  for line in sys.stdin:
    request = json.loads(line)
    if request["do"] == "device":
      answer = {"backend": DEVICE, "name": torch.__version__}
    elif request["do"] == "prepare":
      make = make_training if request["training"] else make_forward
      work["run"] = make(
        model_class,
        request["batch"],
        request["samples"],
        request["dtype"],
        request["compiled"],
      )
      for _ in range(2):
        work["run"]()
      forget_peak()
      answer = {}
    else:
      start = time.perf_counter()
      work["run"]()
      answer = {"seconds": time.perf_counter() - start, "peak": peak_bytes()}
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
  main()
