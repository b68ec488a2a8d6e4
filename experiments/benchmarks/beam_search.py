"""Beam search: time, against a loop over hypotheses in PyTorch.

  python -m experiments.benchmarks.beam_search

Decoder and CTC, no language model, for a recogniser with random weights, which
both sides have. CTC's frames favour one random token per 0.25 s, as of speech.
Then the real-time factors of recognising noise, encoder included: greedily and
with the search, whose hypotheses have at most four tokens a second.
"""

import statistics

import numpy as np

from experiments.benchmarks import measuring
from experiments.command import Parser, run_or_exit

_CTC_WEIGHT, _TOKENS_PER_S, _HEAD_SIZE = 0.4, 4, 64


def _ctc_frames(rng, frames_shape, num_tokens, num_labels):
  """Log probabilities with a peak for each label, and noise."""
  logits = rng.standard_normal((*frames_shape, num_tokens)).astype(np.float32)
  logits[..., 0] += 8
  places = np.linspace(1, frames_shape[1] - 2, num_labels).astype(int)
  for row in logits:
    row[places, rng.integers(3, num_tokens, num_labels)] += 12
  total = np.log(np.exp(logits).sum(axis=-1, keepdims=True))
  return logits - total


def run(options):
  """Prints both times, what they found, and the real-time factors."""
  measuring.keep_to(options.num_cores)
  import jax

  from experiments.cores import allowed_cores
  from jaxsep import models

  num_cores = options.num_cores or len(allowed_cores())
  model = models.Recognizer(
    options.num_tokens,
    size=options.size,
    num_layers=options.num_layers,
    num_heads=options.size // _HEAD_SIZE,
    feedforward_size=4 * options.size,
    num_decoder_layers=options.num_decoder_layers,
  )
  variables = measuring.random_variables(model)
  parameters = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
  print(
    f"{jax.devices()[0]}, {num_cores} cores, {parameters / 1e6:.1f} M"
    f" parameters, {options.batch} utterances of {options.seconds} s, beam"
    f" {options.beam_size}, {options.num_tokens} tokens"
  )
  rng = np.random.default_rng(0)
  shape = options.batch, options.seconds * model.sample_rate_hz
  signal = rng.standard_normal(shape).astype(np.float32)
  search = {
    "beam_size": options.beam_size,
    "max_length": _TOKENS_PER_S * options.seconds,
    "ctc_weight": _CTC_WEIGHT,
  }
  _print_search(model, variables, signal, rng, search, options, num_cores)
  _print_real_time(model, variables, signal, search, options)


def _print_search(model, variables, signal, rng, search, options, num_cores):
  """The search alone, of frames that are encoded before."""
  import jax
  import torch

  from experiments.benchmarks import beam_search_torch
  from jaxsep import inference

  torch.set_num_threads(num_cores)

  @jax.jit
  def ours(variables, encoded, length, log_probs):
    shared, start = model.apply(
      variables,
      encoded,
      length,
      search["max_length"] + 1,
      method="search_start",
    )
    return inference.beam_search(
      start,
      lambda state, tokens: model.apply(
        variables, shared, state, tokens, method="search_step"
      ),
      ctc_log_probs=log_probs,
      input_length=length,
      **search,
    )

  encoded, length = jax.jit(_encoded, static_argnums=0)(
    model, variables, signal
  )
  scores = _ctc_frames(
    rng, encoded.shape[:2], options.num_tokens, search["max_length"]
  )
  twin = beam_search_torch.Decoder(variables["params"], model.num_heads)
  found, expected = [], []

  def run_ours():
    args = variables, encoded, length, scores
    found[:] = [np.asarray(x)[:, 0] for x in ours(*args)]

  def run_peer():
    pairs = zip(np.array(encoded), scores, strict=True)
    expected[:] = [
      beam_search_torch.search(twin, *pair, **search) for pair in pairs
    ]

  ours_s, peer_s = map(
    statistics.median, measuring.in_turns(options.rounds, run_ours, run_peer)
  )
  # Of nearly equal hypotheses, rounding decides which stay in the beam.
  same = np.array(
    [
      tuple(row[:count].tolist()) == tokens
      for row, count, (_, tokens) in zip(*found[:2], expected, strict=True)
    ]
  )
  apart = np.abs(found[2] - [score for score, _ in expected])
  print(
    f"{same.sum()} of {len(signal)} best hypotheses are the same, with scores"
    f" that differ by at most {apart[same].max(initial=0):.1e}, the others by"
    f" {apart[~same].max(initial=0):.1e}; {np.mean(found[1]):.0f} tokens each"
  )
  target = measuring.verdict(peer_s >= 5 * ours_s, "at least 5 times")
  print(
    f"search: jaxsep {ours_s:.2f} s, loop in PyTorch {peer_s:.2f} s,"
    f" {peer_s / ours_s:.1f} times faster; {target}"
  )


def _print_real_time(model, variables, signal, search, options):
  """Recognition from the waveform on."""
  import jax

  from jaxsep import inference

  @jax.jit
  def greedy(variables, signal):
    encoded, length = _encoded(model, variables, signal)
    logits = model.apply(variables, encoded, method="ctc")
    return inference.greedy_ctc(logits, length)

  @jax.jit
  def beam(variables, signal):
    return inference.recognize(model, variables, signal, **search)

  times = measuring.in_turns(
    options.rounds,
    lambda: jax.block_until_ready(greedy(variables, signal)),
    lambda: jax.block_until_ready(beam(variables, signal)),
  )
  names = "greedy CTC", f"beam {options.beam_size}"
  for name, values in zip(names, times, strict=True):
    factor = statistics.median(values) / (len(signal) * options.seconds)
    target = measuring.verdict(factor < 1, "below 1")
    print(f"{name}: real-time factor {factor:.3f}; {target}")


def _encoded(model, variables, signal):
  values = model.apply(variables, signal, method="features")
  return model.apply(variables, *values, method="encode")


def main():
  """Runs; an error is one line."""
  parser = Parser(__doc__)
  add = parser.add
  add("num_cores", type=int, least=0, default=2, help="Of both; 0 for all.")
  add("rounds", type=int, least=1, default=3, help="Runs of each.")
  add("batch", type=int, least=1, default=8, help="Utterances.")
  add("seconds", type=int, least=1, default=10, help="Of each.")
  add("beam_size", type=int, least=2, default=8, help="Hypotheses.")
  add("num_tokens", type=int, least=100, default=1000, help="Vocabulary.")
  add("size", type=int, least=64, default=256, help="Multiple of 64.")
  add("num_layers", type=int, least=1, default=12, help="Of the encoder.")
  add("num_decoder_layers", type=int, least=1, default=6, help="Its layers.")
  options = parser.parse()
  run_or_exit(lambda: run(options), debug=options.debug)


if __name__ == "__main__":
  main()
