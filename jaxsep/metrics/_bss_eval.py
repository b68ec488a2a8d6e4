"""BSS-eval version 3."""


def bss_eval(estimate, reference, *, filter_length=512):
  """BSS-eval of sources in the order given."""
  raise NotImplementedError


def bss_eval_permuted(estimate, reference, *, filter_length=512):
  """BSS-eval under the permutation with the best SIR."""
  raise NotImplementedError
