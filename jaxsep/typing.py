"""Array types and the dimension letters of shapes.

Shapes are written as jaxtyping strings. The letters, the same in every
docstring: `B` batch, `S` sources, `T` time in samples, `N` frames, `F`
frequency bins, `K` features, `C` channels. The tests check the annotations at
run time; a user pays nothing for them.
"""

import jax
import numpy as np
from jaxtyping import Bool, Complex, Float, Inexact, Int, Num, PyTree, Shaped

#: What public functions take: arrays of JAX or of NumPy.
Array = jax.Array | np.ndarray

#: A typed PRNG key as made by `jax.random.key`.
Key = jax.Array

__all__ = [
  "Array",
  "Bool",
  "Complex",
  "Float",
  "Inexact",
  "Int",
  "Key",
  "Num",
  "PyTree",
  "Shaped",
]
