"""The corpora that training and evaluation can read from."""

from data_pipelines.table import Corpus, CorpusError, read_file, read_names

__all__ = ["Corpus", "CorpusError", "read_file", "read_names"]
