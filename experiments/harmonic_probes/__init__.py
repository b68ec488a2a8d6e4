"""What ConvTasNet and DPT-Net rely on: training, then probing separators."""
