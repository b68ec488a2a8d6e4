"""Flags of commands: what they read, and that mistakes are one line."""

import importlib

import pytest

from experiments.command import Parser


def parser():
  made = Parser("What it does.")
  made.add("count", type=int, least=1, default=4, help="How many.")
  made.add("ratio", type=float, least=0)
  made.add("kind", choices=["a", "b"])
  made.add("file", type=list)
  made.add("loud", type=bool)
  return made


def test_a_required_flag_that_is_missing(refused, capsys):
  made = parser()
  made.add("where", required=True, help="Folder to write.")
  assert "--where is missing: Folder to write." in refused(made.parse, [])
  assert "--where is missing" in refused(made.parse, ["--where="])
  assert made.parse(["--where=x"]).where == "x"
  with pytest.raises(SystemExit) as stopped:
    made.parse(["--help"])
  assert not stopped.value.code and "--where" in capsys.readouterr().out


def test_flags_are_read_also_from_a_file(tmp_path):
  flags = parser().parse([])
  assert (flags.count, flags.ratio, flags.file) == (4, None, [])
  (tmp_path / "flags.txt").write_text("--loud\n--file=a\n--config.x=1\n")
  words = [f"--flagfile={tmp_path}/flags.txt", "--file=b", "--count", "7"]
  flags = parser().parse([*words, "--noloud"], unknown="--config.")
  assert (flags.count, flags.file, flags.loud) == (7, ["a", "b"], False)
  assert flags.words == ["--config.x=1"]


@pytest.mark.parametrize(
  "words",
  [
    ["--count=0"],
    ["--count=x"],
    ["--ratio=-1"],
    ["--kind=c"],
    ["--kid=a"],
    ["--config.x=1"],
    ["rest"],
    ["--flagfile=none.txt"],
  ],
)
def test_mistakes_are_one_line(words, refused):
  line = refused(parser().parse, words)
  assert words[0].strip("-").partition("=")[0] in line


COMMANDS = [f"harmonic_probes.{name}" for name in ("evaluate", "figure")]
COMMANDS += ["harmonic_probes.make_mixture_list", "quickstart"]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_commands_in_one_process(name, capsys):
  command = importlib.import_module(f"experiments.{name}")
  importlib.reload(command)
  with pytest.raises(SystemExit) as stopped:
    command.main(["--help"])
  shown = capsys.readouterr().out
  assert not stopped.value.code and shown.startswith(command.__doc__)
  assert "--[no]debug" in shown
