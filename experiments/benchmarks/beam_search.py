"""Beam search: time, against a loop over hypotheses in PyTorch.

  python -m experiments.benchmarks.beam_search

Decoder and CTC, no language model, for a recogniser with random weights, which
both sides have. CTC's frames favour one random token per 0.25 s, as of speech.
Then the real-time factors of recognising noise, encoder included: greedily and
with the search, whose hypotheses have at most four tokens a second.
"""

import functools
import statistics

import numpy as np

from experiments.benchmarks import measuring
from experiments.command import Parser, run_or_exit

_CTC_WEIGHT, _TOKENS_PER_S = 0.4, 4


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
  import torch

  from experiments.benchmarks import beam_search_torch
  from experiments.cores import allowed_cores
  from jaxsep import inference, models

  num_cores = options.num_cores or len(allowed_cores())
  torch.set_num_threads(num_cores)
  model = models.Recognizer(
    options.num_tokens,
    size=options.size,
    num_layers=options.num_layers,
    num_heads=options.size // 64,
    feedforward_size=4 * options.size,
    num_decoder_layers=options.num_decoder_layers,
  )
  variables = jax.jit(model.init)(jax.random.key(0), **model.example_inputs())
  rng = np.random.default_rng(0)
  batch, seconds = options.batch, options.seconds
  rate, most = model.sample_rate_hz, _TOKENS_PER_S * seconds
  signal = rng.standard_normal((batch, seconds * rate)).astype(np.float32)

  @jax.jit
  def encode(variables, signal):
    values = model.apply(variables, signal, method="features")
    return model.apply(variables, *values, method="encode")

  @jax.jit
  def search(variables, encoded, length, log_probs):
    shared, start = model.apply(
      variables, encoded, length, most + 1, method="search_start"
    )
    return inference.beam_search(
      start,
      lambda state, tokens: model.apply(
        variables, shared, state, tokens, method="search_step"
      ),
      max_length=most,
      ctc_log_probs=log_probs,
      input_length=length,
      ctc_weight=_CTC_WEIGHT,
      beam_size=options.beam_size,
    )

  encoded, length = encode(variables, signal)
  frames = _ctc_frames(rng, encoded.shape[:2], options.num_tokens, most)
  twin = beam_search_torch.Decoder(variables["params"], options.size // 64)

  def ours():
    return jax.block_until_ready(search(variables, encoded, length, frames))

  def peer():
    return [
      beam_search_torch.search(
        twin,
        np.array(rows),
        scores,
        beam_size=options.beam_size,
        max_length=most,
        ctc_weight=_CTC_WEIGHT,
      )
      for rows, scores in zip(encoded, frames, strict=True)
    ]

  parameters = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
  print(
    f"{jax.devices()[0]}, {num_cores} cores, {parameters / 1e6:.1f} M"
    f" parameters, {batch} utterances of {seconds} s, beam"
    f" {options.beam_size}, {options.num_tokens} tokens"
  )
  found, expected = ours(), peer()
  same = sum(
    tuple(row[:count].tolist()) == tokens
    for row, count, (_, tokens) in zip(
      np.asarray(found.tokens[:, 0]), found.length[:, 0], expected, strict=True
    )
  )
  apart = np.abs(np.asarray(found.score[:, 0]) - [s for s, _ in expected])
  print(
    f"{same} of {batch} best hypotheses are the same, scores differ by at most"
    f" {apart.max():.1e}; {np.mean(found.length[:, 0]):.0f} tokens each"
  )
  ours_s, peer_s = map(
    statistics.median, measuring.in_turns(options.rounds, ours, peer)
  )
  target = measuring.verdict(peer_s >= 5 * ours_s, "at least 5 times")
  print(
    f"search: jaxsep {ours_s:.2f} s, loop in PyTorch {peer_s:.2f} s,"
    f" {peer_s / ours_s:.1f} times faster; {target}"
  )

  @jax.jit
  def greedy(variables, signal):
    encoded, length = encode(variables, signal)
    logits = model.apply(variables, encoded, method="ctc")
    return inference.greedy_ctc(logits, length)

  @jax.jit
  def full(variables, signal):
    return inference.recognize(
      model,
      variables,
      signal,
      max_length=most,
      ctc_weight=_CTC_WEIGHT,
      beam_size=options.beam_size,
    )

  names = ("greedy CTC", f"beam {options.beam_size}")
  works = [
    functools.partial(lambda f: jax.block_until_ready(f(variables, signal)), f)
    for f in (greedy, full)
  ]
  times = measuring.in_turns(options.rounds, *works)
  for name, values in zip(names, times, strict=True):
    factor = statistics.median(values) / (batch * seconds)
    target = measuring.verdict(factor < 1, "below 1")
    print(f"{name}: real-time factor {factor:.3f}; {target}")


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
