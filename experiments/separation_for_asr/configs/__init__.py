"""Separators, recognisers and language models of the second paper."""
