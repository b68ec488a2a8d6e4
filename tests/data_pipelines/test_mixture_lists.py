"""Fixed lists of mixtures: made, written, read back."""

import dataclasses
import itertools
import pathlib

import numpy as np
import pytest
import soundfile

from data_pipelines import corpora, mixture_lists
from data_pipelines.batches import batches
from data_pipelines.corpora import CorpusError
from data_pipelines.examples import PremixedWhole

LISTS = pathlib.Path(__file__).parents[2] / "experiments/harmonic_probes/lists"


@pytest.fixture
def mixtures(corpus):
  """All pairs of different speakers of `corpus`."""
  return mixture_lists.make_pair_list(corpus, seed=3)


@pytest.fixture
def opened(corpus, mixtures):
  """`mixtures` as a corpus."""
  return mixture_lists.open_list(mixtures, corpus.root)


def same_lists(one, other):
  return all(
    np.array_equal(value, getattr(other, name))
    for name, value in vars(one).items()
    if name != "gain_db"
  ) and np.allclose(one.gain_db, other.gain_db, atol=6e-4)


def test_all_pairs_of_different_speakers(corpus, mixtures):
  # 4 speakers of 3 utterances: 6 pairs of speakers, 9 of utterances each.
  assert len(mixtures) == 54
  speakers = [[path.split("/")[0] for path in row] for row in mixtures.path]
  assert all(a != b for a, b in speakers)
  assert len({frozenset(row) for row in mixtures.path.tolist()}) == 54
  assert mixtures.id[0] == "_".join(
    pathlib.PurePath(path).stem for path in mixtures.path[0]
  )
  # Which one comes first is drawn.
  assert 10 < sum(a < b for a, b in speakers) < 44
  assert same_lists(mixtures, mixture_lists.make_pair_list(corpus, seed=3))
  assert not same_lists(mixtures, mixture_lists.make_pair_list(corpus, seed=4))


def test_levels(corpus, mixtures, opened):
  row_of = {path: row for row, path in enumerate(corpus.path)}
  snrs = []
  for m in range(len(mixtures)):
    mixture, *sources = opened.read(m)
    gains = 10 ** (mixtures.gain_db[m] / 20)
    whole = [corpus.read(row_of[path]) for path in mixtures.path[m]]
    # The levels are those of the whole utterances, the peaks of the part.
    levels = [
      gain * np.sqrt(np.mean(signal**2))
      for gain, signal in zip(gains, whole, strict=True)
    ]
    snrs.append(20 * np.log10(levels[0] / levels[1]))
    assert len(mixture) == min(map(len, whole)) == mixtures.length[m]
    np.testing.assert_allclose(mixture, sum(sources), atol=1e-6)
    peak = max(np.abs(part).max() for part in (mixture, *sources))
    assert peak == pytest.approx(0.9, rel=1e-5)
    for gain, signal, source in zip(gains, whole, sources, strict=True):
      expected = gain * signal[: len(source)]
      np.testing.assert_allclose(source, expected, rtol=1e-5)
  # White noise has no pauses, so its active level is its level.
  assert 0 <= min(snrs) + 0.05 and max(snrs) <= 5.05
  assert np.mean(snrs) == pytest.approx(2.5, abs=0.6)


def test_the_level_of_the_files_does_not_matter(tmp_path):
  for name in ("ann", "bea"):
    (tmp_path / name).mkdir()
    samples = np.sign(np.sin(np.arange(4000) * (0.1 + len(name)))) * 0.01
    soundfile.write(tmp_path / name / "x.wav", samples, 8000, subtype="FLOAT")
  corpus = corpora.scan_speaker_folders(tmp_path)
  mixtures = mixture_lists.make_pair_list(corpus, snr_range_db=(-20, -20))
  parts = mixture_lists.open_list(mixtures, tmp_path).read(0)
  assert np.abs(parts).max() == pytest.approx(0.9, rel=1e-5)
  ratio = np.abs(parts[1]).max() / np.abs(parts[2]).max()
  assert 20 * np.log10(ratio) == pytest.approx(-40, abs=0.01)


def test_rms_within_40_db():
  speech = np.sin(np.arange(8000) * 0.3)
  signal = np.concatenate([speech, 1e-4 * np.ones(24000)])
  level = mixture_lists.rms_within_40_db(signal, 8000)
  assert level == pytest.approx(np.sqrt(0.5), rel=0.01)
  assert mixture_lists.rms_within_40_db(np.zeros(100), 8000) == 0
  assert mixture_lists.rms_within_40_db(np.array([0.5]), 8000) == 0.5


def test_every_mixture_has_an_id_of_its_own(tmp_path, write_audio):
  # Of files with the same names in the folders of all speakers.
  for speaker in ("ann", "bea", "cid"):
    for name in ("one.wav", "two.wav", "two.flac"):
      write_audio(f"{speaker}/{name}")
  write_audio("cid/three.wav")
  corpus = corpora.scan_speaker_folders(tmp_path)
  mixtures = mixture_lists.make_pair_list(corpus)
  assert len(mixtures) == 33 == len(set(mixtures.id))
  paths = [set(row) for row in mixtures.path.tolist()]
  whole = mixtures.id[paths.index({"ann/one.wav", "bea/one.wav"})]
  assert whole in ("ann-one_bea-one", "bea-one_ann-one")
  path = tmp_path / "list.csv"
  mixture_lists.write_list(mixtures, path)
  assert same_lists(mixtures, mixture_lists.read_list(path))


def test_drawn_mixtures(corpus):
  options = {"num_sources": 3, "num_examples": 40}
  mixtures = mixture_lists.make_pair_list(corpus, **options)
  assert mixtures.path.shape == (40, 3)
  for row in mixtures.path:
    assert len({path.split("/")[0] for path in row}) == 3
  assert len({frozenset(row) for row in mixtures.path.tolist()}) == 40
  # 6 pairs of speakers times 9: that many, and no more.
  mixture_lists.make_pair_list(corpus, num_examples=54)
  with pytest.raises(CorpusError, match="found 54 different mixtures"):
    mixture_lists.make_pair_list(corpus, num_examples=55)


def test_written_and_read_back(corpus, tmp_path):
  mixtures = mixture_lists.make_pair_list(corpus, mode="max")
  path = tmp_path / "list.csv"
  mixture_lists.write_list(mixtures, path)
  back = mixture_lists.read_list(path)
  assert same_lists(mixtures, back)
  mixture_lists.write_list(back, tmp_path / "again.csv")
  assert path.read_bytes() == (tmp_path / "again.csv").read_bytes()
  opened = mixture_lists.open_list(mixtures, corpus.root)
  other = mixture_lists.open_list(back, corpus.root)
  np.testing.assert_allclose(opened.read(5), other.read(5), atol=2e-4)
  # Of mode "max", the shorter is followed by zeros.
  length = dict(zip(corpus.path, corpus.length, strict=True))
  for m in range(0, 54, 7):
    parts = opened.read(m)
    for path, source in zip(mixtures.path[m], parts[1:], strict=True):
      assert len(source) == mixtures.length[m] >= length[path]
      assert np.all(source[length[path] :] == 0)
      assert np.any(source[length[path] - 5 : length[path]] != 0)
    part = opened.read(m, 2900, 250)
    np.testing.assert_array_equal(part, parts[:, 2900:3150])


def test_batches(mixtures, opened):
  assert opened.parts == ("mixture", "s1", "s2")
  assert opened["path_2"][3] == mixtures.path[3, 1]
  whole = PremixedWhole(opened, sample_rate_hz=4000, pad_s=0.125)
  seen = []
  fixed = {"num_examples": 54, "buckets": whole.buckets}
  for batch in batches(whole, batch_size=4, **fixed):
    num_samples = batch["mixture"].shape[1]
    assert batch["reference"].shape == (4, 2, num_samples)
    assert num_samples in whole.buckets
    np.testing.assert_allclose(
      batch["mixture"], batch["reference"].sum(1), atol=1e-5
    )
    for row in batch["index"][batch["mask"]].tolist():
      seen.append(row)
      assert 0 <= num_samples - opened.length[row] // 2 < 500
  assert sorted(seen) == list(range(54))
  assert len(whole.buckets) <= 3


def test_list_and_files_must_fit(corpus, mixtures, tmp_path, write_audio):
  path = tmp_path / "small/10/100/10-100-0000.flac"
  path.rename(tmp_path / "kept.flac")
  with pytest.raises(CorpusError, match=r"10-100-0000\.flac: .*No such file"):
    mixture_lists.open_list(mixtures, corpus.root)
  write_audio("small/10/100/10-100-0000.flac", num_samples=2000)
  with pytest.raises(CorpusError, match=r"100-0000\.flac under .* is shorter"):
    mixture_lists.open_list(mixtures, corpus.root)
  write_audio("small/10/100/10-100-0000.flac", 3000, rate_hz=16000)
  with pytest.raises(CorpusError, match="of another rate"):
    mixture_lists.open_list(mixtures, corpus.root)
  with pytest.raises(CorpusError, match="no such folder; expected the corpus"):
    mixture_lists.open_list(mixtures, tmp_path / "none")


def test_bad_csv(tmp_path):
  path = tmp_path / "list.csv"
  header = "id,rate_hz,length,path_1,start_1,length_1,gain_db_1\n"
  for text, message in (
    ("", "has no column id, rate_hz, length, path_1"),
    (header, "lists no mixture"),
    (header + "a,8000,x,p,0,5,0\n", "line 2: invalid literal"),
    (header + "a,8000,5,p,0,5\n", "line 2: expected 7 values"),
    (header + "a,8000,5,p,0,5,nan\n", "mixture a: a gain_db is no finite"),
    (header + "a,8000,5,p,0,5,-inf\n", "mixture a: a gain_db is no finite"),
    (header + "a,8000,5,p,-1,5,0\n", "mixture a: the start .* negative"),
    (header + "a,8000,5,p,0,-5,0\n", "mixture a: the length .* negative"),
    (header + "a,8000,-5,p,0,5,0\n", "mixture a: length is below 1"),
    (header + "a,0,5,p,0,5,0\n", "mixture a: rate_hz is below 1"),
    (header + "a,8000,5,p,0,5,0\n" * 2, "mixture a: .* earlier mixture"),
    (header + f"a,{2**40},5,p,0,5,0\n", "line 2: .*out of bounds"),
    (header.replace("start_1", "begin"), "has no column start_1"),
  ):
    path.write_text(text)
    with pytest.raises(CorpusError, match=message):
      mixture_lists.read_list(path)
  with pytest.raises(CorpusError, match="cannot be read"):
    mixture_lists.read_list(tmp_path / "none.csv")


def test_list_made_by_hand_is_checked(mixtures):
  gain_db = mixtures.gain_db.copy()
  gain_db[7, 1] = np.nan
  with pytest.raises(CorpusError, match=f"mixture {mixtures.id[7]}: a gain_db"):
    dataclasses.replace(mixtures, gain_db=gain_db)


def test_bad_corpora(corpus, tmp_path, write_audio):
  with pytest.raises(CorpusError, match="has 4 speakers, too few"):
    mixture_lists.make_pair_list(corpus, num_sources=5)
  with pytest.raises(ValueError, match="mode is 'mean'"):
    mixture_lists.make_pair_list(corpus, mode="mean")
  write_audio("two/ann/a.wav")
  path = write_audio("two/bea/b.wav", rate_hz=16000)
  with pytest.raises(CorpusError, match="several rates"):
    mixture_lists.make_pair_list(corpora.scan_speaker_folders(tmp_path / "two"))
  soundfile.write(path, np.zeros(500), 8000)
  with pytest.raises(CorpusError, match=r"b\.wav: is silent"):
    mixture_lists.make_pair_list(corpora.scan_speaker_folders(tmp_path / "two"))


def test_committed_list_is_whole():
  mixtures = mixture_lists.read_list(LISTS / "libri_test_other_2mix.csv")
  assert len(mixtures) == 1000
  files = {path for row in mixtures.path for path in row}
  assert len(files) == 50
  speakers = {path: path.split("/")[0] for path in files}
  expected = sum(
    speakers[a] != speakers[b] for a, b in itertools.combinations(files, 2)
  )
  assert expected == 1000 == len({frozenset(row) for row in mixtures.path})
  assert not any(path.startswith("/") for path in files)


@pytest.mark.data
def test_committed_list_is_what_the_script_writes(jaxsep_data, tmp_path):
  corpus = corpora.scan_librispeech(
    jaxsep_data / "LibriSpeech/test-other", cache_dir=tmp_path
  )
  mixtures = mixture_lists.make_pair_list(corpus)
  mixture_lists.write_list(mixtures, tmp_path / "list.csv")
  committed = LISTS / "libri_test_other_2mix.csv"
  assert (tmp_path / "list.csv").read_bytes() == committed.read_bytes()


# The lists of WSJ0-2mix and LibriMix.


@pytest.fixture
def root(tmp_path, write_audio):
  for name, seed in (("ann/a", 1), ("bea/b", 2), ("cid/c", 3)):
    write_audio(f"wsj/{name}.wav", num_samples=3000 + 500 * seed, seed=seed)
  return tmp_path / "wsj"


MODES = pytest.mark.parametrize(
  ("mode", "length"), [("min", 3500), ("max", 4000)]
)


@MODES
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


@MODES
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
    ("ann/a.wav 1\nann/a.wav 1 bea/b.wav 1\n", "line 2: .* each of 1 sources"),
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
