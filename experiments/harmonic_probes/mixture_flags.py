"""Flags that several commands share: a model, and mixtures to try it on."""

from absl import flags

MODEL = flags.DEFINE_string(
  "model",
  None,
  "Model folder, or the folder of a run, whose best or else last model is "
  "meant.",
)
MIXTURE_LIST = flags.DEFINE_string(
  "mixture_list", None, "CSV of fixed mixtures; their files are in --root."
)
ROOT = flags.DEFINE_string("root", None, "Folder of the list's paths.")
CORPUS = flags.DEFINE_string(
  "corpus", None, "Utterances or mixtures as layout:where, such as voices."
)
SPLIT = flags.DEFINE_string(
  "split", None, "Split, for layouts that have some; that to test on if none."
)
#: None means 4 s of what is drawn, and what suits the command otherwise.
CROP_S = flags.DEFINE_float(
  "crop_s",
  None,
  "Seconds of each mixture; of a list or a corpus of mixtures, shorter ones "
  "are left out.",
)
USUAL_CROP_S = 4.0
BATCH_SIZE = flags.DEFINE_integer(
  "batch_size", 4, "Mixtures at a time.", lower_bound=1
)
#: None means a number that suits the command.
NUM_EXAMPLES = flags.DEFINE_integer(
  "num_examples", None, "Mixtures to draw, or to take of a list.", lower_bound=1
)
OVERWRITE = flags.DEFINE_bool(
  "overwrite", False, "Replace files that are there."
)
