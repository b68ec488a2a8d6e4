"""The commands that work on no recordings."""

import jax
from two_bands import draw, small_conv_tasnet

import jaxsep
from jaxsep import cli


def test_info(tmp_path, capsys):
  model = small_conv_tasnet(num_sources=3)
  variables = draw(model)
  (tmp_path / "words").write_text("a b")
  jaxsep.save(tmp_path / "part", model, variables, sample_rate_hz=16_000)
  jaxsep.save(
    tmp_path / "m",
    model,
    variables,
    sample_rate_hz=8000,
    metadata={"trained_on": "nothing"},
    parts={"encoder": tmp_path / "part"},
    files={"tokenizer.model": tmp_path / "words"},
  )
  assert cli.main(["info", f"--model={tmp_path}/m"]) == 0
  lines = capsys.readouterr().out.splitlines()
  count = sum(leaf.size for leaf in jax.tree.leaves(variables))
  for line in [
    "model           ConvTasNet",
    "task            separation",
    "sample rate     8000 Hz",
    f"parameters      {count:,}",
    "  num_sources         3",
    "  masker              TemporalConvNet",
    "    dtype               float32",
    "trained_on      nothing",
    "file            tokenizer.model",
    "part            encoder",
    "  sample rate     16000 Hz",
  ]:
    assert line in lines


def test_version_and_help(capsys):
  assert cli.main(["--version"]) == 0
  assert capsys.readouterr().out == f"jaxsep {jaxsep.__version__}\n"
  assert cli.main(["separate", "--help"]) == 0
  assert "--output_dir" in capsys.readouterr().out
  assert cli.main([]) == 2
  assert len(capsys.readouterr().err.splitlines()) == 1
