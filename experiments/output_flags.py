"""The flag that several commands share: where to put what they make."""

from absl import flags

#: None means a folder named after the command.
OUTPUT_DIR = flags.DEFINE_string(
  "output_dir", None, "Folder for everything that is made."
)
