"""What `evaluate` evaluates on: the mixtures that its flags name."""

import pathlib
import re
from typing import Any

from absl import flags

from data_pipelines import mixture_lists
from experiments.command import say
from experiments.harmonic_probes import job
from experiments.harmonic_probes.mixture_flags import (
  BATCH_SIZE,
  CORPUS,
  CROP_S,
  MIXTURE_LIST,
  NUM_EXAMPLES,
  ROOT,
  SPLIT,
  USUAL_CROP_S,
)
from experiments.harmonic_probes.opening import (
  PREMIXED_SPLITS,
  check_num_sources,
  check_set,
  is_premixed,
  layout_of,
)
from experiments.harmonic_probes.run_data import open_noise_and_rirs
from experiments.harmonic_probes.whole_mixtures import (
  Chosen,
  choose_rows,
  finest_multiple,
  samples_of,
)

#: Mixtures where --num_examples does not say.
_USUAL_NUM_EXAMPLES = 300

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a run.")
_MODE = flags.DEFINE_enum(
  "mode", None, ["min", "max"], "Of a --corpus of mixtures; min if not given."
)
_MIXTURE = flags.DEFINE_enum(
  "mixture",
  None,
  ["mix_clean", "mix_both", "mix_single"],
  "Of a --corpus of librimix; mix_clean if not given.",
)
_LENGTH_MULTIPLE_S = flags.DEFINE_float(
  "length_multiple_s",
  None,
  "Mixtures of a list or a corpus of mixtures are cut down to a multiple of "
  "this; 0 takes them whole, however many lengths there are.",
  lower_bound=0.0,
)
_CACHE_DIR = flags.DEFINE_string(
  "cache_dir", None, "Where to remember the scan of a corpus."
)


def set_name() -> str:
  """What the flags evaluate on, as a part of a file's name."""
  if MIXTURE_LIST.value:
    parts = [pathlib.Path(MIXTURE_LIST.value).stem]
  elif CORPUS.value:
    parts = [CORPUS.value, SPLIT.value, _MODE.value, _MIXTURE.value]
  else:
    return "valid"
  for word, flag, usual in (
    ("num", NUM_EXAMPLES, _USUAL_NUM_EXAMPLES if _draws() else None),
    ("crop", CROP_S, USUAL_CROP_S if _draws() else None),
    ("multiple", _LENGTH_MULTIPLE_S, None),
  ):
    if flag.value not in (None, usual):
      parts.append(f"{word}_{flag.value}")
  name = " ".join(part for part in parts if part)
  return re.sub(r"[^\w.-]+", "_", name).strip("_")


def check_flags() -> None:
  """Raises ValueError if a flag would not be heeded."""
  check_set(CORPUS.value, MIXTURE_LIST.value, ROOT.value, SPLIT.value)
  for flag in (_MODE, _MIXTURE, _CACHE_DIR):
    if flag.value and not CORPUS.value:
      raise ValueError(f"--{flag.name} is for a --corpus, and none is given")
  named = MIXTURE_LIST.value or CORPUS.value
  if not named and not WORKDIR.value:
    raise ValueError("name what to evaluate on: --mixture_list or --corpus")
  for flag in (NUM_EXAMPLES, CROP_S):
    if flag.value is not None and not named:
      raise ValueError(
        f"--{flag.name} is for a --corpus or a --mixture_list; the validation "
        "set of a run is evaluated as it is"
      )
  if CROP_S.value is not None and not CROP_S.value > 0:
    raise ValueError(f"--crop_s is {CROP_S.value:g}, expected more than 0")
  if _LENGTH_MULTIPLE_S.value is None:
    return
  if not named or _draws():
    raise ValueError(
      "--length_multiple_s is for a --mixture_list or a --corpus of mixtures"
    )
  if CROP_S.value is not None:
    raise ValueError("give --length_multiple_s or --crop_s, not both")


def open_batches(config: Any) -> tuple[Any, Chosen | None]:
  """The batches that the flags name, and of mixtures that exist, which."""
  if MIXTURE_LIST.value and ROOT.value:
    mixtures = mixture_lists.read_list(MIXTURE_LIST.value)
    check_num_sources(mixtures, config.num_sources)
    opened = mixture_lists.open_list(mixtures, ROOT.value)
    chosen = choose(opened, config.sample_rate_hz)
    return chosen.batches(BATCH_SIZE.value), chosen
  if not CORPUS.value:
    return job.open_data(config, say=say).eval_batches(), None
  corpus = job.open_corpus(
    CORPUS.value,
    sample_rate_hz=config.sample_rate_hz,
    num_sources=config.num_sources,
    split=SPLIT.value or "",
    mode=_MODE.value,
    mixture=_MIXTURE.value,
    cache_dir=_CACHE_DIR.value,
  )
  if is_premixed(corpus):
    check_num_sources(corpus, config.num_sources)
    chosen = choose(corpus, config.sample_rate_hz)
    return chosen.batches(BATCH_SIZE.value), chosen
  config.data.update(
    num_valid_examples=NUM_EXAMPLES.value or _USUAL_NUM_EXAMPLES,
    valid_crop_s=CROP_S.value or USUAL_CROP_S,
    batch_size=BATCH_SIZE.value,
    seed=0,
  )
  extra = open_noise_and_rirs(config)
  return job.Data(config, corpus, corpus, **extra).eval_batches(), None


def choose(mixtures: Any, sample_rate_hz: int) -> Chosen:
  """The mixtures of a list or a corpus that the flags name."""
  samples = samples_of(mixtures, sample_rate_hz)
  crop = round(CROP_S.value * sample_rate_hz) if CROP_S.value else None
  rows = choose_rows(
    samples, num_examples=NUM_EXAMPLES.value, crop=max(crop or 1, 1)
  )
  if not len(rows):
    raise ValueError(
      f"no mixture is {CROP_S.value or 0:g} s long; choose a shorter --crop_s"
    )
  multiple_s = _LENGTH_MULTIPLE_S.value
  multiple = (
    finest_multiple(samples[rows], sample_rate_hz)
    if multiple_s is None
    else max(round(multiple_s * sample_rate_hz), 1)
  )
  return Chosen(mixtures, rows, sample_rate_hz, multiple, crop)


def _draws():
  """Whether mixtures are drawn from utterances."""
  return bool(CORPUS.value) and layout_of(CORPUS.value) not in PREMIXED_SPLITS
