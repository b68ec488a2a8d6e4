"""ConvTasNet against Asteroid: time, share of the matmul limit, memory.

python -m experiments.benchmarks.conv_tasnet --cpus=0,1
"""

from experiments.benchmarks import peers

if __name__ == "__main__":
  # 38.3e9 multiplications and additions in the matmuls of 4 s.
  peers.main("ConvTasNet", targets=(0.65, 0.8), forward_flop=38.3e9 / 4)
