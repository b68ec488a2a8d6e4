import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxsep import load, models, save, simulate, tasks, text
from jaxsep.train.evaluation import _mean, _rows

RECOGNIZER = models.Recognizer(
  8,
  num_mels=16,
  size=16,
  num_layers=1,
  num_heads=2,
  feedforward_size=32,
  kernel_size=3,
  num_decoder_layers=1,
  dropout=0.0,
)
LM = models.LSTMLanguageModel(8, size=16, num_layers=1, dropout=0.0)


@pytest.fixture(scope="module")
def batch():
  """The second row says nothing, the labels of the third do not fit."""
  rng = np.random.default_rng(0)
  return {
    "signal": 0.1 * rng.standard_normal((4, 4800)).astype(np.float32),
    "signal_length": np.array([4800, 4800, 160, 3000], np.int32),
    "tokens": np.array([[3, 4, 5], [0, 0, 0], [6, 6, 3], [7, 0, 0]], np.int32),
    "tokens_length": np.array([3, 0, 3, 1], np.int32),
    "index": np.arange(4),
    "mask": np.ones(4, bool),
  }


def keys(step=0):
  return tasks.Keys.of(jax.random.key(0), jnp.arange(4), step=step)


def trained(task, batch, steps):
  """Variables, and the losses and scalars of each step."""
  variables = jax.jit(task.init)(jax.random.key(1), batch)
  optimizer = optax.adam(1e-2)

  @jax.jit
  def update(variables, state, step):
    def total(params):
      value, (_, scalars) = task.loss(
        variables | {"params": params}, batch, keys=keys(step), step=step
      )
      return jnp.sum(value), (value, scalars)

    slope, values = jax.grad(total, has_aux=True)(variables["params"])
    change, state = optimizer.update(slope, state)
    params = optax.apply_updates(variables["params"], change)
    return variables | {"params": params}, state, values

  state, values = optimizer.init(variables["params"]), []
  for step in range(steps):
    variables, state, value = update(variables, state, step)
    values.append(value)
  return variables, values


@pytest.fixture(scope="module")
def recognition(batch, tmp_path_factory):
  path = tmp_path_factory.mktemp("text") / "letters"
  text.CharacterTokenizer("abc d").save(path)
  task = tasks.RecognitionTask(
    model=RECOGNIZER,
    sample_rate_hz=16000,
    tokenizer=str(path),
    augmentation=simulate.SpecAugment(max_bands=1, max_frames=1),
    unigram=[0, 0, 1, 2, 1, 1, 1, 1],
  )
  return task, *trained(task, batch, 60), evaluation(task)


def test_recognition_learns_its_batch(recognition, batch):
  task, variables, values, evaluate = recognition
  first, last = (np.asarray(value) for value, _ in (values[0], values[-1]))
  assert np.all(last[[0, 3]] < 0.3 * first[[0, 3]])
  assert last[1] == 0 and last[2] < first[2]
  assert values[0][1]["unfit"].tolist() == [0, 0, 1, 0]
  found = evaluate(variables, batch)
  assert found["found"].dtype == jnp.int32
  assert found["found"][0, :3].tolist() == [3, 4, 5]
  rows = _rows([found | {"index": batch["index"], "mask": batch["mask"]}])
  learnt = task.summarize([rows[0], rows[3]])
  assert learnt == {"token_error_rate": 0.0, "word_error_rate": 0.0}
  # The mean is per token, ends included; the silent row has none.
  loss = found["loss"]
  assert loss.weight.tolist() == [4, 0, 4, 2] and loss.total[1] == 0
  assert _mean([row["loss"] for row in rows]) == pytest.approx(
    float(np.sum(loss.total)) / 10
  )


def evaluation(task):
  return jax.jit(lambda v, b: dict(task.evaluate(v, b, keys=keys())))


def test_padding_changes_no_score(recognition, batch):
  _, variables, _, evaluate = recognition
  other = {name: np.array(value) for name, value in batch.items()}
  other["signal"][3, 3000:] = 5.0
  other["tokens"][3, 1:] = 6
  one, two = (evaluate(variables, x)["loss"].total for x in (batch, other))
  np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)


def test_model_folder_has_the_tokenizer(recognition, tmp_path):
  task, variables, *_ = recognition
  save(
    tmp_path / "model",
    task.model,
    variables,
    sample_rate_hz=16000,
    task=task.describe()["task"],
    **task.save_options,
  )
  loaded = load(tmp_path / "model")
  assert loaded.model == RECOGNIZER and loaded.task == "recognition"
  tokenizer = text.load_tokenizer(loaded.files["tokenizer"])
  assert tokenizer.decode([3, 4, 5]) == "abc"


def test_rates_over_all_rows():
  task = tasks.RecognitionTask(model=RECOGNIZER, sample_rate_hz=16000)
  rows = [
    {
      "found": np.array([*found, 0, 0, 0, 0]),
      "found_length": len(found),
      "tokens": np.array([*said, 0]),
      "tokens_length": len(said),
    }
    for found, said in [([3, 4], [3, 4, 5]), ([], []), ([6], [7])]
  ]
  assert task.summarize(rows) == {"token_error_rate": 0.5}
  assert np.isnan(task.summarize(rows[1:2])["token_error_rate"])
  assert task.save_options == {}


def test_language_model_learns_its_batch(batch):
  task = tasks.LanguageModelTask(model=LM, sample_rate_hz=16000)
  variables, values = trained(task, batch, 60)
  first, last = (np.asarray(value) for value, _ in (values[0], values[-1]))
  assert np.sum(last) < 0.6 * np.sum(first)
  found = evaluation(task)(variables, batch)
  rows = _rows([found | {"index": batch["index"], "mask": batch["mask"]}])
  mean = _mean([row["loss"] for row in rows])
  assert task.summarize(rows)["perplexity"] == pytest.approx(np.exp(mean))
  np.testing.assert_allclose(found["loss"].weight, [4, 1, 4, 2])
  # Of a sentence: the log probability of its tokens and its end.
  logits = jax.jit(LM.apply)(variables, np.array([[1, 7]]))
  logs = jax.nn.log_softmax(logits[0])
  expected = -(logs[0, 7] + logs[1, 2])
  np.testing.assert_allclose(found["loss"].total[3], expected, rtol=1e-4)


def test_tasks_keep_the_protocol():
  task = tasks.LanguageModelTask(model=LM, sample_rate_hz=16000)
  assert isinstance(task, tasks.Task)
  task = tasks.RecognitionTask(model=RECOGNIZER, sample_rate_hz=16000)
  assert isinstance(task, tasks.Task)
  assert task.describe()["unigram"] is None
