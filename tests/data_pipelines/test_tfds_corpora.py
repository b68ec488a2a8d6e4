"""A tfds dataset as a corpus.

The dataset is made in the test, in the format that tfds reads at random; no
published dataset is downloaded.
"""

import concurrent.futures
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from small_batches import mixtures

from data_pipelines import build_tfds, corpora, tfds_corpora
from data_pipelines.corpora import CorpusError

# array_record and tfds call what newer versions of their own dependencies
# deprecate; nothing here can be written differently.
pytestmark = [
  pytest.mark.filterwarnings("ignore::DeprecationWarning"),
  pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def samples_of(number):
  if number == 9:
    return np.zeros(0, np.int64)  # Left out.
  rng = np.random.default_rng(number)
  return rng.integers(-9000, 9000, 2000 + 100 * number)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  """A dataset of 10 records of 3 speakers, prepared on disk."""
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
      for number in range(10):
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


def test_every_record_is_a_row(data_dir, caplog):
  corpus = corpora.open_corpus(f"tfds:tiny_speech@{data_dir}")
  assert len(corpus) == 9
  assert "1 of 10 records left out" in caplog.text
  assert corpus.speakers == ("100", "101", "102")
  assert set(corpus.rate_hz.tolist()) == {16000}
  assert corpus.path[4] == "tiny_speech/1.0.0/train/4"
  assert sorted(corpus["id"]) == [str(number) for number in range(9)]
  for row, text in enumerate(corpus["text"]):
    number = int(text.split()[1])
    expected = samples_of(number) / 2**15
    assert corpus.length[row] == len(expected)
    assert corpus["speaker"][row] == str(100 + number % 3)
    np.testing.assert_allclose(
      corpus.read(row, 30, 40), expected[30:70], atol=1e-7
    )
  batch = mixtures(corpus, 1, num_sources=3, crop_length=700)[0]
  assert batch["sources"].shape == (4, 3, 700)
  assert (np.sort(batch["speaker"], axis=1) == np.arange(3)).all()


def test_table_is_remembered(data_dir, tmp_path, monkeypatch):
  options = {"data_dir": data_dir, "cache_dir": tmp_path}
  first = tfds_corpora.from_tfds("tiny_speech", **options)
  monkeypatch.setattr(tfds_corpora, "_scan", None)
  again = tfds_corpora.from_tfds("tiny_speech", **options)
  assert again.length.tolist() == first.length.tolist()
  assert again["text"].tolist() == first["text"].tolist()
  monkeypatch.undo()
  (table,) = tmp_path.glob("*/*.json")
  table.write_text("{")
  again = tfds_corpora.from_tfds("tiny_speech", **options)
  assert again.length.tolist() == first.length.tolist()


def test_any_corpus_is_packed_and_read_back(data_dir, librispeech, tmp_path):
  corpus = corpora.scan_librispeech(librispeech)
  splits = {"train": corpus, "one": corpus.rows([3])}
  build_tfds.build(splits, name="libri", data_dir=tmp_path / "t")
  spec = f"tfds:libri@{tmp_path}/t"
  assert corpora.splits_of(spec) == ("train", None, "test")
  one = corpora.open_corpus(spec, split="one")
  assert one["file"].tolist() == [corpus.path[3]]
  packed = corpora.open_corpus(spec)
  assert list(packed.columns) == ["file", "speaker", "text"]
  for name in ("speaker", "text", "length", "rate_hz"):
    assert packed[name].tolist() == corpus[name].tolist()
  assert packed["file"].tolist() == corpus.path.tolist()
  with concurrent.futures.ThreadPoolExecutor(4) as pool:
    read = list(pool.map(lambda row: packed.read(row, 7, 900), range(12)))
  for row, samples in enumerate(read):
    np.testing.assert_array_equal(samples, corpus.read(row, 7, 900))
  with pytest.raises(CorpusError, match="is there already"):
    build_tfds.build(splits, name="libri", data_dir=tmp_path / "t")


def test_stacked_parts_and_odd_samples_are_packed_exactly(data_dir, tmp_path):
  def read(path, start, length):
    samples = np.random.default_rng(int(path)).standard_normal((3, 500))
    return samples.astype(np.float32)[:, start : start + length]

  corpus = corpora.Corpus(
    path=["0", "1"],
    start=[0, 0],
    length=[500, 500],
    rate_hz=[200, 200],
    columns={"age": [3.5, 4.5]},
    reader=read,
    parts=("mixture", "s1", "s2"),
  )
  build_tfds.build({"x": corpus}, name="mixes", data_dir=tmp_path)
  # The only split is taken, whatever its name.
  assert corpora.splits_of(f"tfds:mixes@{tmp_path}") is None
  packed = corpora.open_corpus(f"tfds:mixes@{tmp_path}")
  assert packed.is_premixed and packed.num_sources == 2
  assert packed["age"].tolist() == [3.5, 4.5]
  np.testing.assert_array_equal(packed.read(1, 30, 60), corpus.read(1, 30, 60))


def test_the_command(data_dir, librispeech, tmp_path, capsys, monkeypatch):
  monkeypatch.setitem(sys.modules, "apache_beam", None)
  flags = [f"--corpus=librispeech:{librispeech}", "--name=x"]
  flags += [f"--data_dir={tmp_path}/t"]
  assert build_tfds.main(flags) == 0
  assert capsys.readouterr().out.endswith("x/1.0.0\n")
  for wrong, message in (
    ([], "is there already"),
    (["--split=none"], "has no subset none"),
    (["--name=Bad-Name", "--corpus=none"], "name is 'Bad-Name'; tfds takes"),
    ([f"--data_dir={__file__}"], "Not a directory"),
    (["--beam"], "pip install 'jaxsep[beam]'"),
  ):
    assert build_tfds.main(flags + wrong) == 1
    errors = capsys.readouterr().err.splitlines()
    errors = [line for line in errors if line.startswith("error: ")]
    assert len(errors) == 1 and message in errors[0]


def test_beam_writes_the_same(data_dir, librispeech, tmp_path):
  pytest.importorskip("apache_beam", reason="needs the extra beam")
  spec = f"librispeech:{librispeech}"
  build_tfds.build_with_beam(spec, {}, name="x", data_dir=tmp_path / "t")
  packed = corpora.open_corpus(f"tfds:x@{tmp_path}/t")
  corpus = corpora.open_corpus(spec)
  assert packed["file"].tolist() == corpus.path.tolist()
  np.testing.assert_array_equal(packed.read(5), corpus.read(5))


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"where": "no_such_dataset"}, "no_such_dataset: is not in /"),
    ({"where": "tiny_speech@/nope"}, "/nope: no such folder"),
    ({"where": "mnist"}, "mnist: is not prepared in /"),
    ({"split": "dev"}, r"\(Unknown split 'dev'. Should be one of \['train'\]"),
    ({"audio": "sound"}, "has no feature sound, only"),
    ({"speaker": "singer"}, "has no feature singer, only"),
  ],
)
def test_bad_options(data_dir, options, message):
  options = {"where": "tiny_speech", "data_dir": data_dir} | options
  with pytest.raises(CorpusError, match=message) as caught:
    tfds_corpora.from_tfds(**options)
  assert "\n" not in str(caught.value)
