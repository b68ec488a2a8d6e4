"""Opens one corpus of any layout, with the options that its layout has."""

from typing import Any

from data_pipelines import corpora

#: Layouts whose mixtures are files, and their splits to train, validate and
#: test on.
PREMIXED_SPLITS = {
  "wsj0_mix": ("tr", "cv", "tt"),
  "librimix": ("train-100", "dev", "test"),
}


def open_corpus(
  spec: str,
  *,
  sample_rate_hz: int,
  num_sources: int,
  split: str = "",
  mode: str | None = None,
  mixture: str | None = None,
  num_voices: int = 40,
  cache_dir: str | None = None,
) -> Any:
  """Opens a corpus with those of the options that its layout has.

  Args:
    spec: Utterances or mixtures as `layout:where`.
    sample_rate_hz: Rate of the model; mixtures and voices come in several.
    num_sources: Sources of a mixture.
    split: Split; empty takes that to test on, where there are several.
    mode: "min" or "max", for mixtures; None takes "min".
    mixture: Kind of LibriMix's mixtures; None takes "mix_clean".
    num_voices: Number of talkers of the built-in voices.
    cache_dir: Where to remember the scan.

  Returns:
    A `corpora.Corpus`, or a `corpora.PremixedCorpus` of mixtures.

  Raises:
    ValueError: If it cannot be opened, or has no such options.

  Example:
    >>> voices = open_corpus(
    ...   "voices", sample_rate_hz=16000, num_sources=2, num_voices=3
    ... )
    >>> voices.speakers[0], int(voices.rate_hz[0])
    ('voice-test-00000', 16000)
  """
  layout = layout_of(spec)
  options: dict[str, Any] = {}
  if layout in PREMIXED_SPLITS:
    options = {"sample_rate_hz": sample_rate_hz, "num_sources": num_sources}
    options["split"] = split or PREMIXED_SPLITS[layout][-1]
    options |= {"mode": mode} if mode else {}
    options |= {"mixture": mixture} if mixture else {}
    _check_choice("mode", mode, ("min", "max"))
    if mixture:
      kinds = ("mix_clean", "mix_both", "mix_single")
      _check_choice("mixture", mixture, kinds)
      if layout != "librimix":
        raise ValueError(
          f"mixture is {mixture}, but {spec} has one kind of mixtures only"
        )
  elif mode or mixture:
    name, value = ("mode", mode) if mode else ("mixture", mixture)
    raise ValueError(f"{name} is {value}, but {spec} holds no mixtures")
  elif layout == "voices":
    options = {"sample_rate_hz": sample_rate_hz, "num_speakers": num_voices}
    options["split"] = split or "test"
    # Training goes over them again and again.
    options["cache_mb"] = 1024.0 if split == "train" else 128.0
  elif layout == "tfds":
    options["split"] = split or "test"
  elif split:
    raise ValueError(
      f"split is {split}, but {spec} has no splits; name the folder of one"
    )
  if layout != "voices":
    options["cache_dir"] = cache_dir
  return corpora.open_corpus(spec, **options)


def check_set(
  corpus: str | None,
  mixture_list: str | None,
  root: str | None,
  split: str | None,
) -> None:
  """Raises ValueError if flags that name mixtures contradict each other.

  Args:
    corpus: As given by --corpus.
    mixture_list: As given by --mixture_list.
    root: As given by --root, of the list.
    split: As given by --split, of the corpus.
  """
  if mixture_list and corpus:
    raise ValueError("give --mixture_list or --corpus, not both")
  if mixture_list and not root:
    raise ValueError("--mixture_list needs --root, where its files are")
  if root and not mixture_list:
    raise ValueError(
      f"--root is {root}, but it is for a --mixture_list, and none is given"
    )
  if split and not corpus:
    raise ValueError(
      f"--split is {split}, but it is for a --corpus, and none is given"
    )


def is_premixed(corpus: Any) -> bool:
  """Whether a corpus holds mixtures and not utterances."""
  return isinstance(corpus, corpora.PremixedCorpus)


def check_num_sources(mixtures: Any, num_sources: int) -> None:
  """Raises ValueError unless mixtures have so many sources."""
  if mixtures.num_sources != num_sources:
    raise ValueError(
      f"the mixtures have {mixtures.num_sources} sources, but num_sources "
      f"is {num_sources}"
    )


def layout_of(spec: str) -> str:
  """The layout of `layout:where`."""
  return spec.partition(":")[0]


def _check_choice(name, value, choices):
  if value and value not in choices:
    raise ValueError(f"{name} is {value!r}; it is one of {', '.join(choices)}")
