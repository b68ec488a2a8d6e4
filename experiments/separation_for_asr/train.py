r"""Trains separators for recognition, recognisers, and language models.

  python -m experiments.separation_for_asr.train \
    --config=experiments/separation_for_asr/configs/cfmr_base_lfa.py \
    --workdir=DIR --config.data.corpus=librispeech:LibriSpeech/train-clean-360

What is trained is in the config; the page README.md lists all of them. A second
stage begins with --config.init_from=RUN. A recogniser or a teacher, which is
used but not trained, is named by --config.frozen.recognizer=RUN or
--config.frozen.teacher=RUN. Without a corpus, jobs train on the built-in
voices. --variant=tiny makes any of the jobs one for a core and half an hour:
at 8 kHz, with fewer and narrower layers, without rooms, and words as tokens.
"""

from typing import Any

from experiments import job
from experiments.data import open_data
from experiments.separation_for_asr import recipes
from experiments.separation_for_asr.words import make_words
from experiments.text_data import TextDataConfig, open_text_data
from jaxsep import tasks


def open_any(config: Any, *, say: Any) -> Any:
  """Opens mixtures, or speech and text."""
  if config.data["class"] == TextDataConfig.__name__:
    return open_text_data(config, make_tokenizer=make_words, say=say)
  return open_data(config, say=say)


def make_task(config: Any, *, data: Any = None, frozen: Any = None) -> Any:
  """Makes the task of a config."""
  kind = getattr(tasks, config.task["class"])
  name = recipes.FROZEN.get(kind)
  if name and name not in (frozen or {}):
    raise ValueError(
      f"--config.frozen.{name} is missing: the folder of the {name}"
    )
  if config.model.get("normalization") == "global" and not config.init_from:
    raise ValueError(
      "--config.model.normalization=global needs the statistics of a converted"
      " recogniser: give its folder as --config.init_from, or take utterance"
    )
  words: Any = getattr(data, "tokenizer", None)
  speaks = kind in (tasks.RecognitionTask, tasks.LanguageModelTask)
  sizes = {}
  if speaks:
    sizes["num_tokens"] = words.size
  if kind is tasks.RecognitionTask:
    sizes["sample_rate_hz"] = config.sample_rate_hz
  given = {
    "model": job.build(config.model, where="config.model", **sizes),
    "sample_rate_hz": config.sample_rate_hz,
  }
  if words is not None:
    given["tokenizer"] = words.path
  if config.get("smooth_by_counts"):
    given["unigram"] = tuple(words.counts)
  if "augmentation" in config:
    given["augmentation"] = job.build(
      config.augmentation, where="config.augmentation"
    )
  if "simulation" in config:
    given["simulation"] = job.build(
      config.simulation,
      where="config.simulation",
      sample_rate_hz=config.sample_rate_hz,
    )
    given["loss_function"] = job.build(config.loss, where="config.loss")
  if name:
    given[name] = frozen[name].model
  return job.build(config.task, where="config.task", **given)


if __name__ == "__main__":
  job.main(
    make_task, __doc__, open_data=open_any, variants={"tiny": recipes.tiny}
  )
