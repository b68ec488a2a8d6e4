"""Corpora of configs, trained on in this process."""

import json

import jax
import numpy as np
import pytest
from small_corpora import mix, noise_of, tiny_config, write

from experiments.harmonic_probes import job
from experiments.harmonic_probes.configs import conv_tasnet
from jaxsep import train
from jaxsep.train import workdir as workdir_lib

# Training.


def test_run_with_noise_and_rooms(tmp_path, librispeech, folders):
  noise, rirs = folders
  config = tiny_config(
    corpus=librispeech, noise=noise, rirs=rirs, rir_s=0.1, min_utterance_s=0.5
  )
  config.simulate.update(
    noise_snr_db=(5.0, 10.0), early_ms=20.0, overlap="partial", peak=0.5
  )
  config.simulate.overlap_ratio = (0.5, 1.0)
  result = job.fit(config, workdir=tmp_path / "run", say=lambda line: None)
  assert result.reason == "finished" and np.isfinite(result.best_value)
  # Targets are the early sound: mixtures hold the late one and noise besides.
  batch = next(job.open_data(config).train_batches(0))
  task = job.make_task(config)
  mixed = mix(task.simulate, batch, jax.random.key(0))
  total = mixed["reference"].sum(1) + mixed["noise"] + mixed["late"]
  np.testing.assert_allclose(mixed["mixture"], total, atol=1e-6)
  for name in ("noise", "late"):
    assert np.abs(mixed[name]).max() > 1e-3
  assert np.abs(mixed["mixture"]).max() <= 0.5 + 1e-6


def test_run_on_files_of_mixtures(tmp_path, premixed):
  premixed(["tr", "cv"])
  config = tiny_config(corpus=premixed(["tr", "cv"], mode="max"), mode="max")
  for split in ("tr", "cv"):
    # Which mode is read shows in this.
    for part in ("mix", "s1", "s2"):
      (tmp_path / f"2speakers/wav8k/min/{split}/{part}/m0.wav").unlink()
  said = []
  result = job.fit(config, workdir=tmp_path / "run", say=said.append)
  assert result.reason == "finished" and np.isfinite(result.best_value)
  assert said == ["training: 2 mixtures", "valid: 2 mixtures"]


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
  batch = next(job.open_data(config).train_batches(0))
  assert ("noise" in batch) == has_noise


# Options.


def test_options_reach_the_simulator():
  config = conv_tasnet.get_config()
  config.simulate.update(level_db=-40.0, snr_db=(0.0, 0.0), peak=0.011)
  ingredients = {
    "sources": np.float32([noise_of(1, 4000), noise_of(2, 4000)]),
    "length": np.full(2, 4000),
  }
  task = job.make_task(config)
  mixed = jax.jit(task.simulate)(jax.random.key(0), ingredients)
  assert np.abs(mixed["mixture"]).max() == pytest.approx(0.011, rel=1e-4)
  assert task.describe()["simulate"]["peak"] == 0.011
  with config.unlocked():
    config.simulate.peak = None
  mixed = jax.jit(job.make_task(config).simulate)(
    jax.random.key(0), ingredients
  )
  level = 20 * np.log10(np.std(mixed["reference"], -1))
  np.testing.assert_allclose(level, -40.0, atol=0.2)


def test_run_from_before_an_option_goes_on(tmp_path):
  config = tiny_config()
  described = {
    "task": job.make_task(config).describe(),
    "run": job.open_data(config, say=lambda line: None).describe(),
  }
  # As runs were described before there were these.
  earlier = json.loads(json.dumps(described))
  for name in ("overlap_ratio", "level_db", "early_ms", "peak"):
    earlier["task"]["simulate"].pop(name, None)
  for name in ("mode", "mixture"):
    earlier["run"]["data"].pop(name)
  with workdir_lib.open_workdir(tmp_path, earlier):
    pass
  with workdir_lib.open_workdir(tmp_path, described):
    pass
  config.simulate.level_db = -20.0
  described["task"] = job.make_task(config).describe()
  with (
    pytest.raises(train.TrainingError, match=r"level_db is -20\.0"),
    workdir_lib.open_workdir(tmp_path, described),
  ):
    pass


@pytest.mark.parametrize(
  ("data", "settings", "message"),
  [
    ({"noise": "folder:x"}, {}, "without simulate.noise_snr_db"),
    ({}, {"noise_snr_db": (0.0, 5.0)}, "but data.noise names no corpus"),
    ({}, {"early_ms": 50.0}, "but data.rirs names no corpus"),
    ({"mode": "max"}, {}, "data.mode is max, but it is for mixtures"),
    ({"mixture": "mix_both"}, {}, "for mixtures of librimix"),
    ({"corpus": "{}", "mixture": "mix_both"}, {}, "for mixtures of librimix"),
    ({"corpus": "{}", "mode": "mid"}, {}, "mode is 'mid'"),
    ({"corpus": "{}", "rirs": "folder:x"}, {}, "taken as they are"),
    ({"corpus": "{}", "noise": "folder:x"}, {}, "taken as they are"),
  ],
)
def test_options_that_would_not_count(premixed, data, settings, message):
  corpus = premixed(["tr", "cv"])
  config = tiny_config(
    **{name: value.format(corpus) for name, value in data.items()}
  )
  config.simulate.update(settings)
  with pytest.raises(ValueError, match=message):
    job.open_data(config, say=lambda line: None)


def test_layout_without_splits(librispeech):
  config = tiny_config(corpus=librispeech, split="train")
  with pytest.raises(ValueError, match="has no splits; name the folder"):
    job.open_data(config, say=lambda line: None)


def test_training_on_utterances_and_validating_on_mixtures(
  librispeech, premixed
):
  config = tiny_config(
    corpus=librispeech, valid_corpus=premixed(["cv"]), min_utterance_s=0.5
  )
  data = job.open_data(config, say=lambda line: None)
  assert len(data.train.speakers) == 4 and data.valid.num_sources == 2
  assert "mixture" in next(iter(data.eval_batches()))
  config.data.update(valid_corpus="voices")
  data = job.open_data(config, say=lambda line: None)
  assert data.valid.speakers[0].startswith("voice-valid-")
