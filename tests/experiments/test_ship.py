"""Putting a model among those that ship."""

import json

import jax
import numpy as np
import pytest

import jaxsep
from experiments.pretrained import ship
from jaxsep import models

CARD = "# Some model\n\nSeparates two.\n\n## Data\n\nNoise.\n"


@pytest.fixture
def words(tmp_path):
  """Flags for a small causal model; its weights are in `model`."""
  masker = models.TemporalConvNet(num_blocks=1, num_repeats=1, causal=True)
  model = models.ConvTasNet(num_filters=8, masker=masker)
  variables = jax.jit(model.init)(jax.random.key(0), **model.example_inputs())
  jaxsep.save(tmp_path / "model", model, variables, sample_rate_hz=8000)
  (tmp_path / "card.md").write_text(CARD)
  (tmp_path / "scores.json").write_text('{"noise, in dB": 5.1}')
  flags = {"model": "model", "card": "card.md", "scores": "scores.json"}
  words = [f"--{name}={tmp_path}/{value}" for name, value in flags.items()]
  return [*words, "--name=some", f"--output_dir={tmp_path}/pretrained"]


def test_a_model_with_its_card(words, tmp_path):
  ship.main(words)
  loaded = jaxsep.load(tmp_path / "pretrained" / "some")
  card = {
    "summary": "Separates two.",
    "num_sources": 2,
    "causal": True,
    "license": "Apache-2.0",
    "scores": {"noise, in dB": 5.1},
  }
  assert loaded.metadata == {"card": card}
  assert loaded.files["README.md"].read_text() == CARD
  config = json.loads((loaded.folder / "config.json").read_text())
  assert config["widened"]  # Stored as bfloat16.
  before = jaxsep.load(tmp_path / "model").variables
  for new, old in zip(
    *map(jax.tree.leaves, (loaded.variables, before)), strict=True
  ):
    np.testing.assert_allclose(new, old, rtol=2**-8)


def test_what_cannot_ship(words, tmp_path, refused, monkeypatch):
  assert "--scores is missing" in refused(ship.main, words[:2] + words[3:])
  (tmp_path / "card.md").write_text("Separates two.")
  assert "needs a title" in refused(ship.main, words)
  (tmp_path / "card.md").write_text(CARD)
  (tmp_path / "scores.json").write_text("5.1")
  assert "scores.json: must be like" in refused(ship.main, words)
  (tmp_path / "scores.json").write_text('{"noise, in dB": 5.1}')
  monkeypatch.setattr(ship, "MOST_MIB", 0.01)
  assert "a model that ships may take 0.01 MiB" in refused(ship.main, words)
  assert not (tmp_path / "pretrained").exists()
