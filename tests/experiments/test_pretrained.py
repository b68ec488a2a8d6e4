"""The manifest that models ship from, their recipe, and their scores."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_corpora
from safetensors.numpy import load_file
from small_corpora import noise_of

import jaxsep
from data_pipelines import corpora
from experiments import job
from experiments.pretrained import make_manifest, score, speaker_model, widen
from experiments.pretrained.configs import (
  two_speakers_8k,
  two_speakers_8k_causal,
  two_speakers_16k,
)
from jaxsep import dsp, inference, models


def test_a_manifest_of_two_corpora(librispeech, tmp_path, refused):
  (tmp_path / "valid.txt").write_text("12\n")
  (tmp_path / "left_out.txt").write_text("13\n")
  words = [
    f"--corpus={librispeech}",
    f"--corpus={librispeech}",
    f"--valid_speakers={tmp_path}/valid.txt",
    f"--left_out={tmp_path}/left_out.txt",
    f"--output={tmp_path}/speech.csv",
  ]
  make_manifest.main(words)
  train, valid = (
    corpora.open_corpus(f"manifest:{tmp_path}/speech.csv", split=split)
    for split in ("train", "valid")
  )
  # The same name in two corpora is not the same speaker.
  assert train.speakers == ("0_10", "0_11", "1_10", "1_11")
  assert valid.speakers == ("0_12", "1_12") and len(valid) == 4
  assert "speech.csv" in refused(make_manifest.main, words)


@pytest.mark.parametrize(
  "recipe", [two_speakers_8k, two_speakers_8k_causal, two_speakers_16k]
)
def test_the_recipes_fit_into_five_mebibytes(recipe):
  config = recipe.get_config()
  model = job.build(config.model)

  shapes = jax.eval_shape(
    lambda: model.init(jax.random.key(0), **model.example_inputs())
  )
  weights = sum(leaf.size for leaf in jax.tree.leaves(shapes))
  assert 2 * weights < 5 * 2**20 - 40_000


def test_a_wider_model_masks_the_old_frequencies_as_before(tmp_path):
  masker = models.TemporalConvNet(4, 8, 4, num_blocks=1, num_repeats=1)
  stft = dsp.Stft(n_fft=128, hop_length=64)
  narrow = models.SpectrogramTasNet(stft=stft, masker=masker)
  variables = jax.jit(narrow.init)(jax.random.key(0), **narrow.example_inputs())
  jaxsep.save(tmp_path / "narrow", narrow, variables, sample_rate_hz=8000)
  words = [f"--model={tmp_path}/narrow", f"--output={tmp_path}/wide"]
  widen.main([*words, "--hidden_channels=6"])
  wide = jaxsep.load(tmp_path / "wide")
  assert wide.sample_rate_hz == 16000
  assert wide.model.stft == dsp.Stft(n_fft=256, hop_length=128)
  assert wide.model.masker.hidden_channels == 6

  # Twice the same features have the same mean and variance.
  features = jax.random.uniform(jax.random.key(1), (1, 5, 65))
  params = variables["params"]["masker"]
  expected = masker.apply({"params": params}, features, num_sources=2)
  twice = {"params": widen.widened(params, 130, 8)}
  features = jnp.concatenate([features, features], axis=-1)
  masks = masker.apply(twice, features, num_sources=2)
  np.testing.assert_allclose(masks[..., :65], expected, atol=1e-6)
  assert np.ptp(masks[..., 65:], axis=-1).max() == 0


def in_bands(mixture, numpy=np):
  """Separates what is below and above 2 kHz, in the wrong order."""
  spectrum = numpy.fft.rfft(mixture)
  is_high = np.arange(len(spectrum)) >= len(spectrum) // 2
  return numpy.stack(
    [
      numpy.fft.irfft(spectrum * mask, len(mixture))
      for mask in (is_high, ~is_high)
    ]
  )


def test_scores_of_an_ideal_separator():
  noise = noise_of(0, 8000)
  low, high = in_bands(noise)[::-1]
  room = np.stack([np.eye(1, 50, n)[0] for n in (0, 7)])
  examples = [
    ({"folders": name}, np.stack([low, gain * high]).astype(np.float32))
    for name, gain in (("a b", 1.0), ("a c", 2.0), ("a c", 1.0))
  ]
  white = noise_of(1, 5000)[None]
  table = score.score(in_bands, examples, [white], [room])
  found = score.summary(table)
  # Only rounding is left; noise leaves about half of its power in each band.
  assert found["two speakers, SI-SDRi (dB)"] > 80
  assert found["in a room, SI-SDRi (dB)"] > 15
  assert found["in noise of 10 dB, SI-SDRi (dB)"] == pytest.approx(10.4, abs=1)
  assert found["noise alone, outputs below it (median, dB)"] == pytest.approx(
    3.0, abs=0.5
  )
  assert found["one speaker, other output 15 dB below (share)"] == 1
  worst = found["worst of 2 pairs of speakers, SI-SDRi (dB)"]
  means = [
    np.mean([row["si_sdr_improvement"] for row in table if row["folders"] == n])
    for n in ("a b", "a c")
  ]
  assert worst == pytest.approx(min(means), abs=0.01)


def test_a_causal_model_is_scored_as_a_stream():
  model = small_corpora.tiny("ConvTasNet", causal=True)
  variables = jax.jit(model.init)(jax.random.key(0), **model.example_inputs())
  loaded = types.SimpleNamespace(
    model=model, variables=variables, sample_rate_hz=8000
  )
  mixture = noise_of(0, 12_345)
  second = 8000 // model.hop_length * model.hop_length
  usual = inference.stream_blocks(
    model,
    variables,
    np.split(mixture, [5000]),
    sample_rate_hz=8000,
    chunk_length=second,
  )
  np.testing.assert_allclose(
    score.streamed(loaded, mixture), np.concatenate(list(usual), 1), atol=1e-6
  )


def test_outputs_are_told_whose_they_are():
  def apply(_, chunks):
    return jax.vmap(lambda chunk: in_bands(chunk, jnp))(chunks)

  loaded = types.SimpleNamespace(
    model=types.SimpleNamespace(apply=apply), variables={}, sample_rate_hz=8000
  )
  speakers = in_bands(noise_of(0, 64_000))[::-1]
  chunks = list(speaker_model.separated_chunks(loaded, speakers, 8, seed=0))
  assert len(chunks) == 8 * 2 * 3
  heard = [(who, frames) for who, frames in chunks if len(frames) > 8]
  assert {who for who, _ in heard} == {0, 1}
  for who, frames in heard:
    low, high = frames[:, :12].mean(), frames[:, 18:24].mean()
    assert (low > high) == (who == 0)


def test_analysis_finds_what_differs_between_speakers():
  rng = np.random.default_rng(0)
  mix, _ = np.linalg.qr(rng.normal(size=(40, 40)))
  deviation = np.sqrt(np.concatenate([[9.0, 4.0, 1.0], np.zeros(37)]))
  who = np.repeat(np.arange(600), 8)
  speakers = deviation * rng.normal(size=(600, 40))
  counts = rng.integers(20, 100, len(who))
  weights = 1 / (1 / counts + 1 / 120)
  rest = rng.normal(size=(len(who), 40)) / np.sqrt(weights)[:, np.newaxis]
  found = speaker_model.analyse(who, (speakers[who] + rest) @ mix, counts)
  np.testing.assert_allclose(found["between"][:3], [9, 4, 1], rtol=0.25)
  assert found["drift"] == 1 / 120
  assert found["between"][3] < 0.01
  # In its directions, what is within a speaker has variance 1 at weight 1.
  along = (rest @ mix) @ found["projection"] * np.sqrt(weights)[:, np.newaxis]
  np.testing.assert_allclose(along.std(axis=0), 1, rtol=0.1)


def test_the_speaker_model_is_written_by_a_command(
  librispeech, tmp_path, monkeypatch, refused
):
  model = models.ConvTasNet(
    8, masker=models.TemporalConvNet(4, 8, 4, num_blocks=1, num_repeats=1)
  )
  variables = jax.jit(model.init)(jax.random.key(0), **model.example_inputs())
  jaxsep.save(tmp_path / "model", model, variables, sample_rate_hz=8000)
  frames = [(n // 4, noise_of(n, 40 * 111).reshape(40, 111)) for n in range(16)]
  monkeypatch.setattr(
    speaker_model, "separated_chunks", lambda *unused: iter(frames)
  )
  words = [
    f"--model={tmp_path}/model",
    f"--corpus={librispeech}",
    f"--output={tmp_path}/speakers.safetensors",
  ]
  speaker_model.main(words)
  assert load_file(tmp_path / "speakers.safetensors")["between"].shape == (32,)
  assert "speakers.safetensors is there" in refused(speaker_model.main, words)
