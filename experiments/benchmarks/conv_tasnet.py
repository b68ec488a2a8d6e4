"""ConvTasNet against Asteroid: time, share of the matmul limit, memory.

python -m experiments.benchmarks.conv_tasnet --cpus=0,1
"""

from experiments.benchmarks import peers

if __name__ == "__main__":
  peers.main(
    "ConvTasNet",
    cpu_target=(0.65, 0.8),
    gpu_target=0.8,
    # Multiplications and additions of the matmuls of one pass of 4 s.
    forward_flop=38.3e9,
  )
