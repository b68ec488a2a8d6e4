"""`jaxsep separate | transcribe | score | models | info | demo | convert`.

Each command imports what it needs when it runs, so that `--help` is quick.
"""

import argparse
import functools
import importlib
import os
import signal
import sys
import threading
from collections.abc import Sequence

import jaxsep
from jaxsep.cli._console import (
  UsageError,
  complain,
  parse_channel,
  user_mistakes,
)

__all__ = ["main", "run"]


class _Parser(argparse.ArgumentParser):
  """Reports a wrong argument in one line."""

  def error(self, message):
    raise UsageError(f"{message}; see {self.prog} --help")


def _at_most(limit, *, or_zero=False):
  """Parses a positive number of the same type as the limit."""

  def number(text):
    value = type(limit)(text)
    if not 0 <= value <= limit or (value == 0 and not or_zero):
      least = "at least" if or_zero else "above"
      raise argparse.ArgumentTypeError(
        f"must be {least} 0 and at most {limit}, got {text}"
      )
    return value

  return number


def _adders(parser):
  """Functions that add an argument, and a flag."""
  add = parser.add_argument
  return add, functools.partial(add, action="store_true")


def _add_separate(parser):
  add, flag = _adders(parser)
  add("files", nargs="+", help="recordings; with --stream, one of them or -")
  add(
    "--model",
    help="folder of a model or run, or the name of a model that ships"
    " (default: one that fits; `jaxsep models` lists them)",
  )
  add(
    "--num_speakers",
    type=_at_most(99),
    help="chooses a model that ships (default: 2)",
  )
  add(
    "--output_dir",
    help="folder for NAME_1.wav, NAME_2.wav ... (default: that of the input);"
    " with --stream also -, for all sources on stdout, interleaved, without a"
    " header",
  )
  add(
    "--channel",
    type=parse_channel,
    help="mix for the mean of all (default), or a number from 1 (default with"
    " --css: 1)",
  )
  add("--format", choices=["wav", "flac"], default="wav", help="default: wav")
  add(
    "--encoding",
    choices=["float", "pcm16", "pcm24"],
    help="default: float in WAV, which cannot clip; 24 bits in FLAC",
  )
  flag("--overwrite", help="replace files of the same name")
  flag("--allow_truncated", help="use what is there of cut-off files")
  add(
    "--chunk_s",
    type=_at_most(3600.0),
    help="seconds of audio per call of the model (default: 4; with --stream 1"
    " from a file, 0.02 from a pipe)",
  )
  add(
    "--overlap_s",
    type=float,
    help="seconds that neighbouring chunks share (default: a quarter)",
  )
  add("--batch_size", type=_at_most(1 << 20), help="chunks per call")
  add(
    "--upper_band",
    choices=["share", "none"],
    help="what outputs hold of the band that the model does not hear: shares of"
    " it, by their energy just below; or nothing (default)",
  )
  flag("--quiet", help="no progress bar and no notes")
  flag(
    "--css",
    help="continuous separation of a meeting with any number of speakers, who"
    " change places between the outputs; windows of 1.2 + 0.8 + 0.4 s",
  )
  flag(
    "--stream",
    help="write while reading, with a causal model: a file, or WAV from a pipe"
    " (-); a constant offset stays in",
  )


def _add_transcribe(parser):
  add, flag = _adders(parser)
  add("files", nargs="+", help="recordings of any length")
  add(
    "--model",
    required=True,
    help="folder of a recogniser with its tokenizer, or of the run that trained"
    " it. None ships with jaxsep, as a small one knows too few words to be of"
    " use: convert one of SpeechBrain's Conformer recognisers (jaxsep convert),"
    " or train one",
  )
  add(
    "--language_model",
    help="folder of one with the recogniser's tokens; a converted recogniser's"
    " is MODEL/language_model",
  )
  add(
    "--beam_size",
    type=_at_most(1000),
    default=8,
    help="hypotheses of the search (default: 8); 1 takes CTC's most probable"
    " tokens, which is faster and makes more errors",
  )
  add(
    "--ctc_weight",
    type=_at_most(1.0, or_zero=True),
    help="of CTC in the search (default: 0.4); the decoder's is the rest of 1",
  )
  add(
    "--lm_weight",
    type=_at_most(10.0, or_zero=True),
    help="of the language model in the search (default: 0.6)",
  )
  flag("--timestamps", help="begin and end of each word in seconds, one a line")
  flag(
    "--css",
    help="a meeting of any number of speakers: separated into streams, as by"
    " separate --css; their number stands before what is said in each",
  )
  add(
    "--separator",
    help="with --css: folder or name of a separator (default: one that ships)",
  )
  add(
    "--output_dir",
    help="folder for NAME.txt and NAME.ctm (words with times, for NIST's"
    " scorers), in place of printing",
  )
  add(
    "--channel",
    type=parse_channel,
    help="mix for the mean of all (default), or a number from 1 (default with"
    " --css: 1)",
  )
  flag("--overwrite", help="replace files of the same name")
  flag("--allow_truncated", help="use what is there of cut-off files")
  flag("--quiet", help="no progress bar and no notes")


def _add_info(parser):
  parser.add_argument(
    "--model",
    required=True,
    help="folder of a model or run, or the name of a model that ships",
  )


def _add_demo(parser):
  add, flag = _adders(parser)
  add(
    "--output_dir",
    default="jaxsep_demo",
    help="new folder for the signals (default: jaxsep_demo)",
  )
  flag("--overwrite", help="replace what is in the folder")


def _add_score(parser):
  add, flag = _adders(parser)
  add("--reference", nargs="+", required=True, help="files of true sources")
  add("--estimate", nargs="+", required=True, help="separated, in any order")
  add("--mixture", help="adds the improvements over this file")
  add(
    "--channel",
    type=parse_channel,
    help="of files with several: mix, or a number from 1",
  )
  flag("--trim", help="cut all to the shortest length")
  flag("--allow_truncated", help="use what is there of cut-off files")
  flag("--stoi", help="adds STOI")
  flag("--pesq", help="adds PESQ")
  flag("--json", help="prints JSON")


def _add_convert(parser):
  add = parser.add_argument
  add(
    "checkpoint",
    help="file of Asteroid's ConvTasNet or DPTNet, or folder of SpeechBrain's"
    " ConvTasNet or Conformer recogniser",
  )
  add("--output_dir", required=True, help="new folder for the model")
  add(
    "--from",
    dest="peer",
    choices=["asteroid", "speechbrain"],
    help="default: by the names of the weights",
  )
  add("--sample_rate_hz", type=int, help="if the checkpoint does not say it")
  add(
    "--set",
    action="append",
    metavar="NAME=VALUE",
    help="an argument of the model at the other toolkit, if the checkpoint"
    " does not say it; can be repeated",
  )


# Each command: what it does, and its arguments.
_COMMANDS = {
  "separate": ("one file per source from recordings", _add_separate),
  "transcribe": ("words of recordings, by your recogniser", _add_transcribe),
  "score": ("how close separated files are to their references", _add_score),
  "models": ("the models that ship with jaxsep", lambda parser: None),
  "info": ("what a model folder holds", _add_info),
  "demo": ("mixes two speakers and separates them again", _add_demo),
  "convert": ("a model folder from another toolkit's checkpoint", _add_convert),
}


def _make_parser():
  parser = _Parser(prog="jaxsep", description="Separate and score recordings.")
  parser.add_argument(
    "--version", action="version", version=f"jaxsep {jaxsep.__version__}"
  )
  subparsers = parser.add_subparsers(
    dest="command", required=True, metavar="{" + ",".join(_COMMANDS) + "}"
  )
  for name, (text, add) in _COMMANDS.items():
    add(subparsers.add_parser(name, help=text, description=text.capitalize()))
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
    with user_mistakes():
      return command.run(options)
  except UsageError as error:
    complain(error)
    return 2
  except SystemExit as stop:  # --help and --version
    return stop.code if isinstance(stop.code, int) else 0
  except KeyboardInterrupt:
    complain("interrupted; unfinished files are removed")
    return 130


def _send_again(ignored, usual=sys.unraisablehook):
  """Sends a signal again that came in a callback, where Python ignores it."""
  numbers = {KeyboardInterrupt: signal.SIGINT, SystemExit: signal.SIGTERM}
  number = numbers.get(ignored.exc_type)
  if number is None:
    usual(ignored)
  else:
    threading.Timer(0.05, os.kill, (os.getpid(), number)).start()


def run() -> None:
  """The `jaxsep` command."""
  # As an exception, so that unfinished files are removed.
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
  sys.unraisablehook = _send_again
  try:
    code = main()
    sys.stdout.flush()
  except BrokenPipeError:  # What reads has read enough: `jaxsep models | head`.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    code = 141
  sys.exit(code)
