"""Kinds of examples: what is read for an index.

An example is a dict of arrays and a pure function of `(seed, index)`;
`batches.batches` makes batches of them. A new kind is a class with a `read`,
made from the draws of `sampling` and the reading of `crops`.
"""

from data_pipelines.examples.mixtures import Mixtures
from data_pipelines.examples.premixed import PremixedCrops, PremixedWhole
from data_pipelines.examples.protocols import BucketedExamples, Examples
from data_pipelines.examples.text_lines import TextLines
from data_pipelines.examples.utterance_mixtures import UtteranceMixtures
from data_pipelines.examples.utterances import Utterances

__all__ = [
  "BucketedExamples",
  "Examples",
  "Mixtures",
  "PremixedCrops",
  "PremixedWhole",
  "TextLines",
  "UtteranceMixtures",
  "Utterances",
]
