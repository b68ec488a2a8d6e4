"""SpeechBrain's Conformer recogniser, tokenizer and language model."""

import jax
import numpy as np
import pytest
import speechbrain_torch as peer
import torch

import jaxsep
from jaxsep import cli, conversion, text

WORDS = ["one two three four", "five six seven eight", "nine zero oh ten"]
# In the manner of the description of a released model.
DESCRIPTION = """
sample_rate: 16000
n_fft: 64
n_mels: 8
d_model: 16
nhead: 4
activation: !name:torch.nn.GELU
output_neurons: {num_tokens}
blank_index: 0
bos_index: 1
eos_index: 2
lm_weight: 0.6

normalizer: !new:speechbrain.processing.features.InputNormalization
    norm_type: global

CNN: !new:{lobes}.convolution.ConvolutionFrontEnd
    input_shape: (8, 10, 8)
    num_blocks: 2
    num_layers_per_block: 1
    out_channels: (6, 4)
    kernel_sizes: (3, 3)
    strides: (2, 2)
    residuals: (False, False)

Transformer: !new:{lobes}.transformer.TransformerASR.TransformerASR
    input_size: 8
    tgt_vocab: !ref <output_neurons>
    d_model: !ref <d_model>
    nhead: !ref <nhead>
    num_encoder_layers: 2
    num_decoder_layers: 2
    d_ffn: 24
    dropout: 0.1
    activation: !ref <activation>
    encoder_module: conformer
    attention_type: RelPosMHAXL
    kernel_size: 5
    normalize_before: True
    causal: False

ctc_lin: !new:speechbrain.nnet.linear.Linear
    input_size: !ref <d_model>
    n_neurons: !ref <output_neurons>

seq_lin: !new:speechbrain.nnet.linear.Linear
    input_size: !ref <d_model>
    n_neurons: !ref <output_neurons>

lm_model: !new:{lobes}.transformer.TransformerLM.TransformerLM
    vocab: !ref <output_neurons>
    d_model: 16
    nhead: 4
    num_encoder_layers: 2
    num_decoder_layers: 0
    d_ffn: 24
    dropout: 0.0
    activation: !name:torch.nn.GELU
    normalize_before: False

compute_features: !new:speechbrain.lobes.features.Fbank
    sample_rate: !ref <sample_rate>
    n_fft: !ref <n_fft>
    n_mels: !ref <n_mels>
    win_length: 4
    hop_length: 2

asr_model: !new:torch.nn.ModuleList
    - [!ref <CNN>, !ref <Transformer>, !ref <seq_lin>, !ref <ctc_lin>]

modules:
    normalizer: !ref <normalizer>
    decoder: !new:speechbrain.decoders.S2STransformerBeamSearcher
        modules: [!ref <Transformer>, !ref <seq_lin>]

tokenizer: !new:sentencepiece.SentencePieceProcessor
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  """The files of a model, by name, and the networks in them."""
  folder = tmp_path_factory.mktemp("peer")
  tokenizer = text.train_pieces(WORDS, 24, folder / "tokenizer.ckpt")
  recognizer = peer.make_recognizer(tokenizer.size)
  language_model = peer.make_language_model(tokenizer.size)
  statistics = torch.linspace(-40, -20, 8), torch.linspace(8, 15, 8)
  torch.save(recognizer.state_dict(), folder / "asr.ckpt")
  torch.save(language_model.state_dict(), folder / "lm.ckpt")
  mean, deviation = statistics
  content = {"count": 3, "glob_mean": mean, "glob_std": deviation}
  torch.save(content | {"spk_dict_mean": {}}, folder / "normalizer.ckpt")
  files = {path.name: path.read_bytes() for path in folder.iterdir()}
  described = DESCRIPTION.format(
    num_tokens=tokenizer.size, lobes="speechbrain.lobes.models"
  )
  files["hyperparams.yaml"] = described.encode()
  return files, recognizer, language_model, statistics


@pytest.fixture
def folder(made, tmp_path):
  path = tmp_path / "asr-conformer"
  path.mkdir()
  for name, content in made[0].items():
    (path / name).write_bytes(content)
  return path


def fails(path, message, **options):
  with pytest.raises(conversion.ConversionError, match=message) as error:
    conversion.convert(path, **options)
  return error.value.lines


def near(found, expected):
  expected = expected.numpy()
  assert found.shape == expected.shape
  return np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


def test_logits_equal_the_peers(made, folder, tmp_path, capsys):
  _, recognizer, language_model, statistics = made
  out = tmp_path / "out"
  assert cli.main(["convert", str(folder), f"--output_dir={out}"]) == 0
  assert f"in {out / 'language_model'}" in capsys.readouterr().out
  loaded = jaxsep.load(out)
  assert loaded.task == "recognition"
  rng = np.random.default_rng(0)
  # Loud, then silent: bands below the limit of 80 dB.
  signal = 0.1 * rng.standard_normal((1, 1507)).astype(np.float32)
  signal[:, 700:1200] = 0
  tokens = np.array([[1, 5, 9, 3, 7]], np.int32)
  ctc, decoder, _ = jax.jit(loaded.model.apply)(
    loaded.variables, signal, tokens
  )
  expected = peer.run_recognizer(
    recognizer, statistics, torch.tensor(signal), torch.tensor(tokens)
  )
  assert near(ctc, expected[0])
  assert near(decoder, expected[1])

  tokenizer = text.load_tokenizer(loaded.files["tokenizer"])
  assert tokenizer.decode(tokenizer.encode("two ten")) == "two ten"
  part = jaxsep.load(out / "language_model")
  assert part.task == "language_model"
  assert text.load_tokenizer(part.files["tokenizer"]).size == tokenizer.size
  logits = jax.jit(part.model.apply)(part.variables, tokens)
  expected = peer.run_language_model(language_model, torch.tensor(tokens))
  assert near(logits, expected)


def test_checkpoint_of_training_and_another_order(folder, tmp_path):
  expected = conversion.convert(folder)
  inner = tmp_path / "save" / "CKPT+2026-01-01"
  inner.mkdir(parents=True)
  (folder / "normalizer.ckpt").rename(inner / "normalizer.ckpt")
  (folder / "tokenizer.ckpt").rename(tmp_path / "save" / "tokenizer.ckpt")
  described = (folder / "hyperparams.yaml").read_text()
  described = described.replace("asr_model:", "model:").replace(
    "<CNN>, !ref <Transformer>", "<Transformer>, !ref <CNN>"
  )
  (tmp_path / "hyperparams.yaml").write_text(described)
  weights = torch.load(folder / "asr.ckpt", weights_only=True)
  places = {"0": "1", "1": "0"}
  torch.save(
    {
      f"{places.get(name[0], name[0])}{name[1:]}".replace("mutih", "multih"): w
      for name, w in weights.items()
    },
    inner / "model.ckpt",
  )
  found = conversion.convert(inner)
  assert found.model == expected.model
  assert set(expected.parts) == {"language_model"}
  assert not found.parts
  jax.tree.map(
    np.testing.assert_array_equal, found.variables, expected.variables
  )


def test_lists_missing_and_other_weights(folder):
  weights = torch.load(folder / "asr.ckpt", weights_only=True)
  del weights["1.encoder.layers.1.mha_layer.linear_pos.weight"]
  weights["0.convblock_0.convs.norm_0.norm.running_mean"] = torch.ones(6)
  weights["1.decoder.layers.0.mutihead_attn.att.in_proj_bias"] = torch.ones(7)
  torch.save(weights, folder / "asr.ckpt")
  first, missing, left_over, shape = fails(folder, "do not fit SpeechBrain's")
  assert "TransformerASR" in first
  assert missing == (
    "missing: Transformer.encoder.layers.1.mha_layer.linear_pos.weight"
  )
  assert left_over.endswith("CNN.convblock_0.convs.norm_0.norm.running_mean")
  assert "att.query_bias is [2], not [16]" in shape


@pytest.mark.parametrize(
  ("old", "new", "message"),
  [
    ("encoder_module: conformer", "", "encoder_module='transformer' has no"),
    ("attention_type: RelPosMHAXL", "", "attention_type='regularMHA'"),
    ("causal: False", "causal: True", "causal=True has no"),
    ("norm_type: global", "norm_type: sentence", "norm_type='sentence'"),
    ("<activation>", "<bos_index>", "activation=1 has no .* only GELU"),
    ("strides: (2, 2)", "strides: (2, 1)", r"cnn_strides=\(2, 1\) has no"),
    ("strides: (2, 2)", "strides: (2, x)", r"\(2, x\) is no tuple"),
    ("bos_index: 1", "bos_index: 0", "bos_index=0 has no .* only 1"),
    ("win_length: 4", "win_length: 8", "win_length 128 must not exceed"),
    ("win_length: 4", "win_length: x", "have no counterpart here"),
    ("hop_length: 2", "f_max: 4000", "f_max=4000 has no .* only 8000"),
    ("causal: False", "use_rope: True", "use_rope has no counterpart"),
    ("asr_model:", "parts:", "does not list the modules of its asr_model"),
    ("<seq_lin>, !ref <ctc", "<CNN>, !ref <ctc", "missing: seq_lin.w.weight"),
    ("TransformerLM.TransformerLM", "RNNLM.RNNLM", "RNNLM.RNNLM has no"),
    ("ConvolutionFrontEnd", "CRDNN", "convolution.CRDNN has no counterpart"),
  ],
)
def test_descriptions_of_other_models(folder, old, new, message):
  path = folder / "hyperparams.yaml"
  described = path.read_text()
  assert old in described
  path.write_text(described.replace(old, new))
  fails(folder, message)


def test_files_that_are_missing_or_do_not_belong(folder):
  fails(folder, "only ConvTasNet, DPTNet", peer="asteroid")
  (folder / "tokenizer.ckpt").unlink()
  text.train_pieces(["one two", "three"], 12, folder / "tokenizer.ckpt")
  fails(folder, "has 12 tokens, but the Recognizer has 24")
  (folder / "tokenizer.ckpt").write_bytes(b"something else")
  fails(folder, "tokenizer.ckpt is no tokenizer")
  torch.save({"count": 0}, folder / "normalizer.ckpt")
  fails(folder, "normalizer.ckpt holds no weights")
  (folder / "tokenizer.ckpt").unlink()
  (folder / "hyperparams.yaml").unlink()
  fails(folder, "has no hyperparams.yaml, tokenizer.ckpt, which a recogniser")
