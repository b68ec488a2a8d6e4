"""Models applied to recordings of any length."""

from jaxsep.inference._separate import separate, separate_blocks

__all__ = ["separate", "separate_blocks"]
