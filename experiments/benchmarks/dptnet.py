"""DPTNet against Asteroid: time and memory.

Both have filters of 16 samples, chunks of 100 frames, 6 dual-path blocks and
LSTMs of 128.

python -m experiments.benchmarks.dptnet --cpus=0,1
"""

from experiments.benchmarks import peers

if __name__ == "__main__":
  peers.main("DPTNet", targets=(1.0, 1.0))
