"""`jaxsep separate | score | info | convert` on a user's own files.

Each command imports what it needs when it runs, so that `--help` is quick.
"""

import argparse
import importlib
import signal
import sys
from collections.abc import Sequence

import jaxsep
from jaxsep.cli._console import UsageError, complain

__all__ = ["main", "run"]

_COMMANDS = {
  "separate": "one file per voice from recordings of any length",
  "score": "how close separated files are to their references",
  "info": "what a model folder holds",
  "convert": "a model folder from a checkpoint of another toolkit",
}


class _Parser(argparse.ArgumentParser):
  """Complains in one line."""

  def error(self, message):
    raise UsageError(f"{message}; see {self.prog} --help")


def _add_allow_truncated(parser):
  parser.add_argument(
    "--allow_truncated",
    action="store_true",
    help="use what is there of files that are cut off",
  )


def _add_separate(parser):
  parser.add_argument(
    "files", nargs="+", help="recordings; with --stream, one of them or -"
  )
  parser.add_argument("--model", required=True, help="folder of the model")
  parser.add_argument(
    "--output_dir",
    required=True,
    help="folder for NAME_1.wav, NAME_2.wav ...; with --stream also -, for the"
    " voices on stdout, interleaved, without a header",
  )
  parser.add_argument(
    "--channel",
    default="mix",
    help="of files with several: mix for their mean (default), or a number"
    " from 1",
  )
  parser.add_argument(
    "--format", choices=["wav", "flac"], default="wav", help="default: wav"
  )
  parser.add_argument(
    "--encoding",
    choices=["float", "pcm16", "pcm24"],
    help="default: float in WAV, which cannot clip, and 24 bits in FLAC",
  )
  parser.add_argument(
    "--overwrite", action="store_true", help="replace files of the same name"
  )
  _add_allow_truncated(parser)
  parser.add_argument(
    "--chunk_s",
    type=float,
    help="seconds that the model hears at a time (default: 8; with --stream 1,"
    " or 0.02 from a pipe)",
  )
  parser.add_argument(
    "--overlap_s",
    type=float,
    help="seconds that neighbouring chunks share (default: a quarter)",
  )
  parser.add_argument("--batch_size", type=int, help="chunks at a time")
  parser.add_argument(
    "--quiet", action="store_true", help="no progress bar and no notes"
  )
  parser.add_argument(
    "--stream",
    action="store_true",
    help="write while reading, with a causal model: a file, or WAV from a pipe"
    " with -",
  )
  parser.add_argument(
    "--raw",
    choices=["int16", "float32"],
    help="what comes from the pipe if it is no WAV; little-endian",
  )
  parser.add_argument("--sample_rate_hz", type=int, help="of --raw")
  parser.add_argument("--num_channels", type=int, help="of --raw (default: 1)")


def _add_score(parser):
  parser.add_argument("--reference", nargs="+", required=True, help="true ones")
  parser.add_argument(
    "--estimate", nargs="+", required=True, help="separated ones, in any order"
  )
  parser.add_argument("--mixture", help="adds the improvements over this file")
  parser.add_argument(
    "--channel", help="of files with several: mix, or a number from 1"
  )
  parser.add_argument(
    "--trim", action="store_true", help="cut all to the shortest length"
  )
  _add_allow_truncated(parser)
  parser.add_argument("--stoi", action="store_true", help="adds STOI")
  parser.add_argument("--pesq", action="store_true", help="adds PESQ")
  parser.add_argument("--json", action="store_true", help="prints JSON")


def _add_info(parser):
  parser.add_argument("--model", required=True, help="folder of the model")


def _add_convert(parser):
  parser.add_argument(
    "checkpoint",
    help="file of Asteroid's ConvTasNet or DPTNet, or folder of SpeechBrain's"
    " ConvTasNet",
  )
  parser.add_argument(
    "--output_dir", required=True, help="folder for the model; a new one"
  )
  parser.add_argument(
    "--from",
    dest="peer",
    choices=["asteroid", "speechbrain"],
    help="default: told by the names of the weights",
  )
  parser.add_argument(
    "--sample_rate_hz", type=int, help="if the checkpoint does not say it"
  )
  parser.add_argument(
    "--set",
    action="append",
    metavar="NAME=VALUE",
    help="an argument of the model, by its name at the other toolkit, if the"
    " checkpoint does not say it; may be given again",
  )


def _make_parser():
  parser = _Parser(prog="jaxsep", description="Separate and score recordings.")
  parser.add_argument(
    "--version", action="version", version=f"jaxsep {jaxsep.__version__}"
  )
  subparsers = parser.add_subparsers(
    dest="command", required=True, metavar="{" + ",".join(_COMMANDS) + "}"
  )
  adders = {
    "separate": _add_separate,
    "score": _add_score,
    "info": _add_info,
    "convert": _add_convert,
  }
  for name, text in _COMMANDS.items():
    adders[name](
      subparsers.add_parser(name, help=text, description=text.capitalize())
    )
  return parser


def main(argv: Sequence[str] | None = None) -> int:
  """Runs one command.

  Args:
    argv: The words after `jaxsep`; None for those of the process.

  Returns:
    The exit code: 0, or 2 after one line on stderr about a mistake.
  """
  try:
    options = _make_parser().parse_args(argv)
    command = importlib.import_module(f"jaxsep.cli._{options.command}")
    return command.run(options)
  except UsageError as error:
    complain(error)
    return 2
  except SystemExit as stop:  # --help and --version
    return stop.code if isinstance(stop.code, int) else 0
  except KeyboardInterrupt:
    complain("interrupted; unfinished files are removed")
    return 130


def run() -> None:
  """The `jaxsep` command."""
  # As an exception, so that unfinished files are removed.
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
  sys.exit(main())
