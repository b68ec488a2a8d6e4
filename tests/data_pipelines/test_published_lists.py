"""The mixing lists of LibriMix and WSJ0-2mix, mixed while they are read."""

import numpy as np
import pytest

from data_pipelines import corpora, mixture_lists
from data_pipelines.corpora import CorpusError


@pytest.fixture
def root(tmp_path, write_audio):
  for name, seed in (("ann/a", 1), ("bea/b", 2), ("cid/c", 3)):
    write_audio(f"wsj/{name}.wav", num_samples=3000 + 500 * seed, seed=seed)
  return tmp_path / "wsj"


@pytest.mark.parametrize(("mode", "length"), [("min", 3500), ("max", 4000)])
def test_wsj0_mix(root, mode, length):
  path = root / "mix_2_spk_tt.txt"
  path.write_text("ann/a.wav 1.7 bea/b.wav -1.7\ncid/c.wav 0 ann/a.wav 0\n\n")
  mixtures = mixture_lists.read_wsj0_mix(path, root, mode=mode)
  assert mixtures.id.tolist() == ["a_1.7_b_-1.7", "c_0_a_0"]
  mixture, *sources = mixture_lists.open_list(mixtures, root).read(0)
  assert len(mixture) == length
  np.testing.assert_allclose(mixture, sources[0] + sources[1], atol=1e-6)
  assert np.abs([mixture, *sources]).max() == pytest.approx(0.9, rel=1e-4)
  # White noise has no pauses, so its active level is its level.
  level = [source[:3500].std() for source in sources]
  assert 20 * np.log10(level[0] / level[1]) == pytest.approx(3.4, abs=0.15)


@pytest.mark.parametrize(("mode", "length"), [("min", 3500), ("max", 4000)])
def test_librimix(root, mode, length):
  path = root / "libri2mix_test-clean.csv"
  path.write_text(
    "mixture_ID,source_1_path,source_1_gain,source_2_path,source_2_gain,"
    "noise_path,noise_gain\n"
    "a_b,ann/a.wav,0.5,bea/b.wav,1.25,tt/n.wav,0.7\n"
  )
  mixtures = mixture_lists.read_librimix(path, root, mode=mode)
  opened = mixture_lists.open_list(mixtures, root)
  assert opened["name"].tolist() == ["a_b"]
  corpus = corpora.scan_speaker_folders(root)
  expected = np.zeros((2, length), np.float32)
  for row, gain in enumerate((0.5, 1.25)):
    samples = gain * corpus.read(row)[:length]
    expected[row, : len(samples)] = samples
  mixture, *sources = opened.read(0)
  np.testing.assert_allclose(sources, expected, rtol=1e-5)
  np.testing.assert_allclose(mixture, expected.sum(0), atol=1e-6)


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("", "lists no mixture"),
    ("ann/a.wav 1 bea/b.wav\n", "line 1: expected a path and a level"),
    ("ann/a.wav x\n", "line 1: expected a path and a level"),
    ("ann/a.wav 1\nann/a.wav 1 bea/b.wav 1\n", "line 2: 2 sources"),
    ("ann/none.wav 1\n", "none.wav: .*the list needs it"),
  ],
)
def test_bad_lists(root, text, message):
  (root / "list.txt").write_text(text)
  with pytest.raises(CorpusError, match=message):
    mixture_lists.read_wsj0_mix(root / "list.txt", root)


def test_bad_metadata(root):
  path = root / "list.csv"
  path.write_text("mixture_ID,source_1_path,source_1_gain\nx,ann/a.wav,y\n")
  with pytest.raises(CorpusError, match="line 2: the gains of x"):
    mixture_lists.read_librimix(path, root)
  path.write_text("id\nx\n")
  with pytest.raises(CorpusError, match="has no columns mixture_ID"):
    mixture_lists.read_librimix(path, root)
