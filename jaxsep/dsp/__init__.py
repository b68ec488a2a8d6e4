"""Signals in, signals out."""
