"""ConformerSeparator against PyTorch: time, share of the matmul limit, memory.

The peer is a network of the same equations with the same weights, whose
estimates are compared first. Forward 4 examples of 10 s, training 4 of 4 s, at
16 kHz.

python -m experiments.benchmarks.conformer --peer_python=.venv/bin/python
"""

from experiments.benchmarks import peers

_SECONDS = 10


def _forward_flop() -> float:
  """Operations of the matmuls in the forward pass of 10 s, by second."""
  frames, size = 1 + 100 * _SECONDS, 256
  # Attention: inputs and output; feed-forward pair; convolutions.
  weights = 4 * size**2 + 4 * size * 1024 + 2 * size * 512
  # Scores of content and of position, mixed values.
  attention = 3 * frames * size
  ends = 257 * size + size * 2 * 257
  return 2 * frames * (16 * (weights + attention) + ends) / _SECONDS


if __name__ == "__main__":
  peers.main(
    "ConformerSeparator",
    targets=(0.8, 0.9),
    forward_flop=_forward_flop(),
    cases=((4, _SECONDS), (4, 4)),
    rate_hz=16_000,
    peer="side_torch.py",
  )
