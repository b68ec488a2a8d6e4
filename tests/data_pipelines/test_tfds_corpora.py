"""A tfds dataset as a corpus.

The dataset is made in the test, in the format that tfds reads at random; no
published dataset is downloaded.
"""

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_pipelines import batches, corpora, tfds_corpora
from data_pipelines.corpora import CorpusError

# array_record and tfds call what newer versions of their own dependencies
# deprecate; nothing here can be written differently.
pytestmark = [
  pytest.mark.filterwarnings("ignore::DeprecationWarning"),
  pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def samples_of(number):
  rng = np.random.default_rng(number)
  return rng.integers(-9000, 9000, 2000 + 100 * number)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  """A dataset of 9 records of 3 speakers, prepared on disk."""
  pytest.importorskip(
    "array_record",
    reason="needs array_record, which tfds installs on Linux only",
  )

  class TinySpeech(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
      return tfds.core.DatasetInfo(
        builder=self,
        features=tfds.features.FeaturesDict(
          {
            "speech": tfds.features.Audio(sample_rate=16000),
            "text": tfds.features.Text(),
            "speaker_id": np.int64,
            "id": np.str_,
          }
        ),
      )

    def _split_generators(self, dl_manager):
      return {"train": self._generate_examples()}

    def _generate_examples(self):
      for number in range(9):
        yield (
          str(number),
          {
            "speech": samples_of(number),
            "text": f"words {number}",
            "speaker_id": 100 + number % 3,
            "id": str(number),
          },
        )

  folder = tmp_path_factory.mktemp("tfds")
  builder = TinySpeech(data_dir=folder, file_format="array_record")
  builder.download_and_prepare()
  return folder


def test_every_record_is_a_row(data_dir, tmp_path):
  corpus = corpora.open_corpus("tfds:tiny_speech", data_dir=data_dir)
  assert len(corpus) == 9
  assert corpus.speakers == ("100", "101", "102")
  assert set(corpus.rate_hz.tolist()) == {16000}
  assert corpus.path[4] == "tiny_speech/1.0.0/train/4"
  for row, text in enumerate(corpus.text):
    number = int(text.split()[1])
    expected = samples_of(number) / 2**15
    assert corpus.length[row] == len(expected)
    assert corpus.speakers[corpus.speaker[row]] == str(100 + number % 3)
    np.testing.assert_allclose(corpus.read(row), expected, atol=1e-7)
    np.testing.assert_allclose(
      corpus.read(row, 30, 40), expected[30:70], atol=1e-7
    )


def test_batches(data_dir):
  corpus = tfds_corpora.from_tfds("tiny_speech", data_dir=data_dir)
  batch = next(
    batches.train_batches(
      corpus,
      batch_size=4,
      num_sources=3,
      crop_length=700,
      sample_rate_hz=8000,
      seed=0,
    )
  )
  assert batch["sources"].shape == (4, 3, 700)
  assert (np.sort(batch["speaker"], axis=1) == np.arange(3)).all()


def test_table_is_remembered(data_dir, tmp_path, monkeypatch):
  options = {"data_dir": data_dir, "cache_dir": tmp_path}
  first = tfds_corpora.from_tfds("tiny_speech", **options)
  monkeypatch.setattr(tfds_corpora, "_scan", None)
  again = tfds_corpora.from_tfds("tiny_speech", **options)
  assert again.length.tolist() == first.length.tolist()
  assert again.text.tolist() == first.text.tolist()
  monkeypatch.undo()
  (table,) = tmp_path.glob("*.json")
  table.write_text("{")
  again = tfds_corpora.from_tfds("tiny_speech", **options)
  assert again.length.tolist() == first.length.tolist()


class Broken(list):
  def __getitem__(self, number):
    if number == 1:
      raise OSError("checksum")
    return super().__getitem__(number)


def records():
  audio = np.linspace(-0.5, 0.5, 300, dtype=np.float32)
  return [
    {"audio": audio, "who": b"ann"},
    {"audio": audio, "who": b"ann"},
    {"audio": np.stack([audio, -audio / 2], axis=1), "who": b"bea"},
    {"audio": audio[:0], "who": b"bea"},
    {"audio": np.full(10, np.nan, np.float32), "who": b"cid"},
  ]


def test_any_sequence_of_records():
  corpus = tfds_corpora.from_records(
    Broken(records()), name="mine", audio="audio", speaker="who", rate_hz=8000
  )
  assert corpus.path.tolist() == ["mine/0", "mine/2", "mine/4"]
  assert corpus.speakers == ("ann", "bea", "cid")
  audio = records()[0]["audio"]
  np.testing.assert_array_equal(corpus.read(0, 10, 20), audio[10:30])
  np.testing.assert_allclose(corpus.read(1), audio / 4, atol=1e-7)
  with pytest.raises(CorpusError, match="mine/4: holds NaN"):
    corpus.read(2)
  part = corpus.subset(exclude=["ann"])
  np.testing.assert_array_equal(part.read(0), corpus.read(1))


def test_no_usable_record():
  with pytest.raises(CorpusError, match="none of its 1 records can be used"):
    tfds_corpora.from_records(
      records()[3:4], name="mine", audio="audio", speaker="who", rate_hz=8000
    )


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"name": "no_such_dataset_here"}, "cannot be opened"),
    ({"split": "dev"}, "split dev: cannot be opened"),
    ({"audio": "sound"}, "has no feature sound, only"),
    ({"speaker": "talker"}, "has no feature talker, only"),
  ],
)
def test_bad_options(data_dir, options, message):
  options = {"name": "tiny_speech", "data_dir": data_dir} | options
  with pytest.raises(CorpusError, match=message) as caught:
    tfds_corpora.from_tfds(**options)
  assert "\n" not in str(caught.value)
