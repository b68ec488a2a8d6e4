"""Ingredients in, mixtures out."""
