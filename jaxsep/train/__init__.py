"""The training loop and its side effects."""
