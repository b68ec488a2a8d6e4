"""Models applied to recordings of any length."""
