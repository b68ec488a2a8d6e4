"""A second paper: its own models, task, examples and optimizer, nothing else.

A model that is told whom to listen to by a recording, learns from a frozen
teacher, starts in part from the teacher's variables, and is judged by a value
of the whole set. No shared code knows of any of it.
"""

import dataclasses
import json
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxsep
from data_pipelines import sampling
from data_pipelines.batches import batches
from data_pipelines.crops import pad_to, read_row
from data_pipelines.voices import make_voices
from experiments import job, options
from experiments.evaluation import Evaluation
from jaxsep import json_values, losses, train

LENGTH = 1600


class Embedding(nn.Module):
  """A teacher, and a part of the model below."""

  width: int = 4

  def example_inputs(self):
    return {"signal": jnp.zeros((1, LENGTH))}

  @nn.compact
  def __call__(self, signal, *, train=False):
    frames = signal.reshape(len(signal), -1, 80)
    x = nn.Dense(self.width, name="inner")(frames)
    norm = nn.BatchNorm(use_running_average=not train, name="norm")
    return norm(x).mean(axis=1)


class Extractor(nn.Module):
  """Pulls the enrolled speaker out; has a place for every known speaker."""

  num_speakers: int
  similarity: Embedding = Embedding()

  def example_inputs(self):
    empty = jnp.zeros((1, LENGTH))
    return {"mixture": empty, "enrollment": empty}

  @nn.compact
  def __call__(self, mixture, *, enrollment, train=False):
    heard = self.similarity(enrollment)
    frames = mixture.reshape(len(mixture), -1, 80)
    x = nn.Dense(8, name="encoder")(frames)
    x = jnp.tanh(x + nn.Dense(8, name="condition")(heard)[:, None])
    mask = nn.sigmoid(nn.Dense(80, name="mask")(x))
    logits = nn.Dense(self.num_speakers, name="speaker")(heard)
    return (mask * frames).reshape(mixture.shape), logits


@dataclasses.dataclass(frozen=True, kw_only=True)
class PersonalTask:
  """Trains an extractor towards what a teacher hears in the reference."""

  model: Any
  teacher: Any
  sample_rate_hz: int

  per_example_loss = True

  def init(self, key, batch):
    empty = jnp.zeros_like(batch["enrollment"])
    return dict(self.model.init(key, empty, enrollment=empty))

  def _heard(self, variables, batch, frozen):
    sources = batch["sources"]
    estimate, logits = self.model.apply(
      variables, sources.sum(axis=1), enrollment=batch["enrollment"]
    )
    both = (
      self.teacher.apply(frozen["teacher"], signal)
      for signal in (estimate, sources[:, 0])
    )
    return losses.neg_si_snr(estimate, sources[:, 0]), logits, both

  def loss(self, variables, batch, *, keys, step, frozen=None):
    loss, logits, (ours, theirs) = self._heard(variables, batch, frozen)
    label = batch["speaker"][:, 0]
    loss += optax.softmax_cross_entropy_with_integer_labels(logits, label)
    return loss + ((ours - theirs) ** 2).mean(axis=-1), ({}, {})

  def evaluate(self, variables, batch, *, keys, frozen=None):
    loss, _, (ours, _) = self._heard(variables, batch, frozen)
    speaker = batch["speaker"][:, 0]
    return {"loss": loss, "heard": ours, "speaker": speaker}

  def summarize(self, rows):
    speakers = {int(row["speaker"]) for row in rows}
    if len(rows) <= len(speakers):
      raise ValueError("an error rate needs two trials of a speaker")
    return {"rate": float(np.std([row["heard"].mean() for row in rows]))}

  def describe(self):
    return {"task": "personal", "model": json_values.encode(self.model)}


class Enrolled:
  """Two speakers, and another recording of the first."""

  def __init__(self, corpus, seed):
    self._corpus, self._rows = corpus, sampling.Rows(corpus, seed=seed)
    self.seed, self.epoch_size = seed, self._rows.epoch_size

  def read(self, index):
    index = np.array([index])
    row = self._rows.walk(index)
    other = self._rows.another_speaker(index, row[:, None], 1)
    same = self._rows.same_speaker(index, row)
    crops = [
      pad_to(
        read_row(self._corpus, int(r[0]), sample_rate_hz=8000, length=LENGTH),
        LENGTH,
      )
      for r in (row, other, same)
    ]
    speaker = self._corpus.speaker[np.concatenate([row, other])]
    return {
      "sources": np.stack(crops[:2]),
      "enrollment": crops[2],
      "speaker": speaker,
    }


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipsConfig:
  clips: str = "here"
  num_speakers: int = 4
  batch_size: int = 8


@dataclasses.dataclass(frozen=True)
class Clips:
  config: ClipsConfig
  corpus: Any

  may_change = ("clips",)

  def train_batches(self, start_step, **here):
    return self._batches(0, start_step=start_step, **here)

  def eval_batches(self, **here):
    return self._batches(1, num_examples=16, **here)

  def describe(self):
    return {"speakers": list(self.corpus.speakers)}

  def _batches(self, seed, **which):
    examples = Enrolled(self.corpus, seed)
    return batches(examples, batch_size=self.config.batch_size, **which)


def open_clips(config, *, say):
  clips = options.build(config.data)
  corpus = make_voices(
    num_speakers=clips.num_speakers, utterances_per_speaker=2, utterance_s=1.5
  )
  say(f"{len(corpus)} clips")
  return Clips(clips, corpus)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CoupledAdam:
  """Adam with L2, which `OptimizerConfig` does not have."""

  learning_rate: float = 1e-3
  l2: float = 2e-5

  def make(self, num_steps):
    decay = optax.add_decayed_weights(self.l2)
    return optax.chain(decay, optax.adam(self.learning_rate)), None, None


options.register(Embedding, Extractor, ClipsConfig, CoupledAdam)


def make_task(config, *, data=None, frozen=None):
  model = job.build(config.model, num_speakers=len(data.corpus.speakers))
  teacher = frozen["teacher"].model
  return PersonalTask(model=model, teacher=teacher, sample_rate_hz=8000)


CONFIG = """
import dataclasses
from experiments import job, options
from jaxsep import train

known = {kind.__name__: kind for kind in options.known_classes()}

def get_config():
  return job.make_config(
    sample_rate_hz=8000,
    model=job.options(known["Extractor"](9), without=("num_speakers",)),
    data=job.options(known["ClipsConfig"]()),
    optimizer=job.options(known["CoupledAdam"]()),
    train=job.options(train.TrainConfig(
      num_steps=2, eval_every=1, checkpoint_every=1, log_every=1,
      tensorboard=False, monitor="rate", fixed=("similarity",),
    )),
  )
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """A run through the shared job: its folder, its flags, the teacher."""
  folder = tmp_path_factory.mktemp("paper")
  (folder / "config.py").write_text(CONFIG)
  teacher = Embedding()
  variables = teacher.init(jax.random.key(3), **teacher.example_inputs())
  place = folder / "teacher"
  jaxsep.save(place, teacher, variables, sample_rate_hz=8000, task="embedding")
  words = [
    f"--config={folder / 'config.py'}",
    f"--workdir={folder / 'run'}",
    f"--config.frozen.teacher={place}",
    f"--config.init_from.similarity={place}",
  ]
  with pytest.raises(SystemExit) as ended:
    job.main(make_task, open_data=open_clips, argv=[*words, "--debug"])
  assert ended.value.code == 0
  return folder / "run", words, variables


def test_parts_come_from_the_teacher_and_stay(run):
  workdir, _, teacher = run
  with pytest.raises(jaxsep.ModelFolderError, match="Extractor"):
    jaxsep.load(workdir)
  loaded = jaxsep.load(workdir, model_class=[Extractor, Embedding])
  assert loaded.model.num_speakers == 4
  for collection in ("params", "batch_stats"):
    found = loaded.variables[collection]["similarity"]
    same = jax.tree.map(np.array_equal, dict(found), teacher[collection])
    assert all(jax.tree.leaves(same))


def test_run_goes_on_with_its_data_elsewhere_and_nothing_else(run, capsys):
  workdir, words, _ = run
  goes_on = ["--config.train.num_steps=3", "--config.data.clips=there"]
  with pytest.raises(SystemExit) as ended:
    job.main(make_task, open_data=open_clips, argv=[*words, *goes_on])
  assert ended.value.code == 0
  assert train.read_config(workdir)["run"]["config"]["data"]["clips"] == "there"
  with pytest.raises(SystemExit) as ended:
    words = [*words, "--config.optimizer.l2=1"]
    job.main(make_task, open_data=open_clips, argv=words)
  assert ended.value.code == 1 and "optimizer.l2" in capsys.readouterr().err


def test_shared_evaluation_has_rows_and_the_summary(run, capsys):
  workdir, _, _ = run
  Evaluation(make_task, open_data=open_clips).main([f"--workdir={workdir}"])
  shown = capsys.readouterr().out
  assert "| loss |" in shown and "| rate |" in shown
  output = workdir.parent / "rows.jsonl"
  words = [f"--workdir={workdir}", f"--output={output}"]
  Evaluation(make_task, open_data=open_clips).main(words)
  rows = [json.loads(line) for line in output.read_text().splitlines()]
  assert [row["index"] for row in rows] == list(range(16))
  assert set(rows[0]) == {"index", "loss", "speaker"}
  best = jaxsep.load(workdir, model_class=[Extractor, Embedding])
  mean = np.mean([row["loss"] for row in rows])
  assert mean == pytest.approx(best.metadata["metrics"]["loss"], rel=1e-4)
