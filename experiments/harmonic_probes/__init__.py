"""What ConvTasNet and DPT-Net rely on: training, then probing separators."""

import os

# Before TensorFlow is imported: its notes on instruction sets help nobody.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
