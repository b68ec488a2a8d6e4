"""Corpora of configs: which there are, what is in them, and who is kept."""

import pathlib
import shutil

import jax
import numpy as np
import pytest
from small_corpora import noise_of, tiny_config, write

from data_pipelines.corpora import CorpusError
from experiments import data as data_lib
from experiments import job
from experiments.harmonic_probes.train import make_task
from jaxsep import simulate, tasks


def opened(config):
  return data_lib.open_data(config, say=lambda line: None)


def test_run_with_noise_and_rooms(tmp_path, librispeech, folders):
  noise, rirs = folders
  config = tiny_config(corpus=librispeech, noise=noise, rirs=rirs, rir_s=0.1)
  config.simulation.update(
    noise_snr_db=(5.0, 10.0), early_ms=20.0, overlap="partial", peak=0.5
  )
  config.simulation.overlap_ratio = (0.5, 1.0)
  result = job.fit(
    config, make_task, workdir=tmp_path / "run", say=lambda line: None
  )
  assert result.reason == "finished" and np.isfinite(result.best_value)
  # Targets are the early sound: mixtures hold the late one and noise besides.
  batch = next(opened(config).train_batches(0))
  keys = tasks.Keys.evaluation(batch["index"])
  mixed = jax.jit(simulate.simulate_batch, static_argnums=0)(
    make_task(config).simulation, batch, keys=keys.examples
  )
  total = mixed["reference"].sum(1) + mixed["noise"] + mixed["late"]
  np.testing.assert_allclose(mixed["mixture"], total, atol=1e-6)
  for name in ("noise", "late"):
    assert np.abs(mixed[name]).max() > 1e-3
  assert np.abs(mixed["mixture"]).max() <= 0.5 + 1e-6


def test_validation_has_noises_and_rooms_of_its_own(folders, librispeech):
  noise, rirs = folders
  config = tiny_config(corpus=librispeech, noise=noise, rirs=rirs, rir_s=0.1)
  config.simulation.noise_snr_db = (5.0, 10.0)
  data = opened(config)
  for name in ("noise", "rirs"):
    heard = set(data.background[name].path)
    kept = set(data.valid_background[name].path)
    assert heard and kept and not heard & kept
    # Validation reads no other.
    for path in heard:
      pathlib.Path(data.background[name].root, path).unlink()
  assert next(iter(data.eval_batches()))["mask"].any()
  # Nor may its set change unnoticed.
  pathlib.Path(data.valid.full_path(0)).unlink()
  with pytest.raises(CorpusError, match="cannot be read"):
    list(data.eval_batches())


def test_run_on_files_of_mixtures(tmp_path, premixed):
  premixed(["tr", "cv"])
  config = tiny_config(corpus=premixed(["tr", "cv"], mode="max"), mode="max")
  for split in ("tr", "cv"):
    # Which mode is read shows in this.
    for part in ("mix", "s1", "s2"):
      (tmp_path / f"2speakers/wav8k/min/{split}/{part}/m0.wav").unlink()
  said = []
  result = job.fit(config, make_task, workdir=tmp_path / "run", say=said.append)
  assert result.reason == "finished" and np.isfinite(result.best_value)
  assert said[:2] == ["training: 2 mixtures", "validation: 2 mixtures"]
  # What mixtures that exist have no use for.
  assert "data.speed_range" in said[2]


@pytest.mark.parametrize("has_noise", [False, True])
def test_librimix_of_either_kind(tmp_path, has_noise):
  kind = "mix_both" if has_noise else "mix_clean"
  for split in ("train-100", "dev"):
    for part in (kind, "s1", "s2", *(["noise"] * has_noise)):
      folder = tmp_path / f"Libri2Mix/wav8k/min/{split}/{part}"
      write(folder / "a.wav", noise_of(len(part), 8000))
  config = tiny_config(corpus=f"librimix:{tmp_path}")
  if has_noise:
    config.data.mixture = kind
  batch = next(opened(config).train_batches(0))
  assert ("noise" in batch) == has_noise
  # Mixtures are padded to the crop unless short ones are to be left out.
  config.data.min_utterance_s = 2.0
  with pytest.raises(ValueError, match="is 2 s long"):
    opened(config)


def test_librispeech_trains_on_no_dev_and_no_test(tmp_path):
  for i, subset in enumerate(("train-a", "train-b", "dev-clean", "test-clean")):
    for speaker in (f"{i}0", f"{i}1"):
      write(
        tmp_path / subset / speaker / "1" / f"{speaker}-1-0000.flac",
        noise_of(i, 9000),
      )
  data = opened(tiny_config(corpus=f"librispeech:{tmp_path}"))
  assert data.train.speakers == ("00", "01", "10", "11")
  assert data.valid.speakers == ("20", "21")
  corpus = data_lib.open_corpus(f"librispeech:{tmp_path}", sample_rate_hz=8000)
  assert corpus.speakers == ("30", "31")
  data = opened(
    tiny_config(
      corpus=f"librispeech:{tmp_path}", split="train-a", valid_split="train-b"
    )
  )
  assert data.train.speakers == ("00", "01")
  assert data.valid.speakers == ("10", "11")
  again = tiny_config(corpus=f"librispeech:{tmp_path}", valid_split="train-b")
  with pytest.raises(ValueError, match="2 speakers are in both training and"):
    opened(again)
  # Without `dev-*`, speakers of `train-*` are held out.
  shutil.rmtree(tmp_path / "dev-clean")
  data = opened(tiny_config(corpus=f"librispeech:{tmp_path}"))
  speakers = data.train.speakers + data.valid.speakers
  assert sorted(speakers) == ["00", "01", "10", "11"]


def test_corpus_without_list_keeps_speakers_for_validation(tmp_path):
  for speaker in range(8):
    for i, seconds in enumerate((2.0, 1.0)):
      place = tmp_path / f"speaker{speaker}" / f"{i}.wav"
      write(place, noise_of(speaker, int(8000 * seconds)))
  config = tiny_config(
    corpus=f"speaker_folders:{tmp_path}", crop_s=1.0, valid_crop_s=0.5
  )
  data = opened(config)
  assert not set(data.train.speakers) & set(data.valid.speakers)
  assert len(data.train.speakers) + len(data.valid.speakers) == 8
  # One second does not fill a crop of one second at a speed of 1.05.
  assert (data.train.length == 16000).all() and len(data.valid) == 4
  batch = next(data.train_batches(0))
  assert (batch["length"] == batch["sources"].shape[-1]).all()
  config.data.min_utterance_s = 0.5
  assert len(opened(config).train) == 12
  names = tmp_path / "names.txt"
  names.write_text("speaker3\nspeaker5\n")
  config.data.valid_speakers = str(names)
  assert opened(config).valid.speakers == ("speaker3", "speaker5")
  config.data.crop_s = 9.0
  config.data.min_utterance_s = None
  with pytest.raises(ValueError, match=r"is 9\.45 s long; choose a shorter"):
    opened(config)


def test_training_on_utterances_and_validating_on_mixtures(
  librispeech, premixed
):
  config = tiny_config(corpus=librispeech, valid_corpus=premixed(["cv"]))
  data = opened(config)
  assert len(data.train.speakers) == 4 and data.valid.num_sources == 2
  assert "mixture" in next(iter(data.eval_batches()))
  config.data.update(valid_corpus="voices")
  data = opened(config)
  assert data.valid.speakers[0].startswith("voice-valid-")


@pytest.mark.parametrize(
  ("data", "settings", "message"),
  [
    ({"noise": "folder:x"}, {}, "without simulation.noise_snr_db"),
    ({}, {"noise_snr_db": (0.0, 5.0)}, "but data.noise names no corpus"),
    ({}, {"early_ms": 50.0}, "but data.rirs names no corpus"),
    ({"mode": "max"}, {}, "data.mode is max, but it is for mixtures"),
    ({"mixture": "mix_both"}, {}, "for mixtures of librimix"),
    ({"corpus": "{}", "mixture": "mix_both"}, {}, "for mixtures of librimix"),
    ({"corpus": "{}", "mode": "mid"}, {}, "mid"),
    ({"corpus": "{}", "rirs": "folder:x"}, {}, "taken as they are"),
    ({"corpus": "{}", "noise": "folder:x"}, {}, "taken as they are"),
    ({"corpus": "{}", "valid_speakers": "x"}, {}, "valid_speakers is x, but"),
    ({"valid_speakers": "x"}, {}, "valid_speakers is x, but voices has"),
    ({"valid_corpus": "voices", "valid_speakers": "x"}, {}, "leave it empty"),
    ({"valid_split": "x"}, {}, "'x'"),
    ({"corpus": "{}", "valid_split": "tr"}, {}, "the same mixtures"),
    ({"crop_s": -1.0}, {}, "config.data: crop_s is -1"),
    ({"num_threads": 0}, {}, "num_threads is 0"),
    ({"min_utterance_s": -1.0}, {}, "min_utterance_s is -1"),
  ],
)
def test_options_that_would_not_count(premixed, data, settings, message):
  corpus = premixed(["tr", "cv"])
  config = tiny_config(
    **{
      name: value.format(corpus) if isinstance(value, str) else value
      for name, value in data.items()
    }
  )
  config.simulation.update(settings)
  with pytest.raises(ValueError, match=message):
    opened(config)


def test_corpus_is_known_by_its_rows(tmp_path):
  place = f"speaker_folders:{tmp_path}"
  for root in ("a", "b", "c"):
    for speaker in "1234":
      level = noise_of(int(speaker), 8000 if root != "c" else 9000)
      write(tmp_path / root / speaker / "x.wav", level)
  found = [
    opened(tiny_config(corpus=f"{place}/{root}")).describe() for root in "abc"
  ]
  assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("name", ["split", "valid_split"])
def test_layout_without_splits(librispeech, name):
  with pytest.raises(ValueError, match="train"):
    opened(tiny_config(corpus=librispeech, **{name: "train"}))
