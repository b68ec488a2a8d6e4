"""`jaxsep models`."""

import argparse

from jaxsep import model_io


def run(unused_options: argparse.Namespace) -> int:
  """Prints what ships: a line of the table, its summary, and its scores."""
  row = "{:<26}{:>8}{:>10}{:>8}{:>10}  {}"
  print(row.format("model", "speakers", "rate", "causal", "size", "licence"))
  for name, card in model_io.pretrained().items():
    size = sum(path.stat().length for path in card["folder"].iterdir())
    print(
      row.format(
        name,
        card["num_sources"],
        f"{card['sample_rate_hz']} Hz",
        "yes" if card["causal"] else "no",
        f"{size / 2**20:.1f} MiB",
        card["license"],
      )
    )
    print(f"  {card['summary']}")
    for what, value in card["scores"].items():
      print(f"  {value:>6}  {what}")
  print("\n`jaxsep info --model=NAME` says more about one.")
  return 0
