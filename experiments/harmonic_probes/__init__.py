"""Harmonic probes of ConvTasNet and DPT-Net (Parikh et al., 2022)."""
