"""Practical single-channel separation for speech recognition."""
