"""Word errors."""

import re
import unicodedata
from collections.abc import Hashable, Sequence

import numpy as np


def normalize(text: str) -> str:
  """Text as it is compared: lower case, words of letters, digits and '.

  All else, such as punctuation, separates words. Accents stay.

  Args:
    text: Any text.

  Returns:
    The words, with one space between them.

  Example:
    >>> print(normalize("DON'T -- stop,  Mr. Noël!"))
    don't stop mr noël
  """
  text = unicodedata.normalize("NFKC", text).lower().replace("’", "'")
  return " ".join(re.sub(r"[^\w']|_", " ", text).split())


def word_errors(
  hypothesis: str | Sequence[Hashable], reference: str | Sequence[Hashable]
) -> tuple[int, int]:
  """Fewest substitutions, insertions and deletions between two texts.

  The word error rate of a corpus is the sum of the errors over the sum of the
  words. Words are compared as they are: see `normalize`.

  Args:
    hypothesis: What was recognised: words in a text, or a sequence of tokens.
    reference: What was said.

  Returns:
    `(errors, num_words)`, the words being those of the reference.

  References:
    Wagner and Fischer, The string-to-string correction problem, 1974.

  Example:
    >>> word_errors("the cat sat", "a cat sat down")
    (2, 4)
  """
  found = hypothesis.split() if isinstance(hypothesis, str) else hypothesis
  said = reference.split() if isinstance(reference, str) else reference
  places = np.arange(len(said) + 1)
  # Row i has the distances of the first i found words from each prefix of said.
  row = places
  number = {word: index for index, word in enumerate(dict.fromkeys(said))}
  words = np.array([number[word] for word in said], int)
  for count, word in enumerate(found, 1):
    differs = words != number.get(word, -1)
    best = np.minimum(row[1:] + 1, row[:-1] + differs)
    # Deletions follow one another: the least of best[k] + (j - k), k <= j.
    best = np.concatenate([[count], best]) - places
    row = np.minimum.accumulate(best) + places
  return int(row[-1]), len(said)
