r"""Makes the model by which long recordings keep speakers apart.

  python -m experiments.pretrained.speaker_model --model=FOLDER \
    --corpus=librispeech:DIR --output=jaxsep/inference/speakers.safetensors

Speakers of the corpus, at their own speed and, as further speakers, slower and
faster, are mixed in pairs, a part of each silent at times, and separated by the
model. From frames of the outputs, as `inference.speaker_features` finds them,
it estimates the covariance between speakers and that within them, over chunks
of different mixtures, and projects to the directions in which they differ most:
a probabilistic linear discriminant analysis. It takes minutes on two cores.

The file that ships was made with the model and the manifest of
`experiments/pretrained/README.md`:

  --model=two_speakers_8k --corpus=manifest:speech.csv --split=train --rounds=4
"""

import pathlib
from collections.abc import Sequence

import jax
import numpy as np
import scipy.linalg
import soxr
from safetensors.numpy import save_file

import jaxsep
from data_pipelines import corpora
from experiments import rows
from experiments.command import Parser, say
from jaxsep import inference

_SPEEDS = (0.88, 1.0, 1.13)
_CHUNK_S, _NUM_CHUNKS = 4, 3
_MOST_S = 16
_SIZE = 32
# Chunks with fewer frames are left out; the mean of more than this many is no
# surer, because a speaker changes slowly.
_LEAST, _DRIFT = 16, 120.0
# Frames are not as independent as the analysis takes them to be: a quarter of
# the ratios has the least cross-entropy on speakers of the validation set.
_SCALE = 0.25


def read_speakers(corpus, rate_hz: int) -> list[np.ndarray]:
  """Some seconds of each speaker at each speed, RMS 1."""
  speakers = []
  for code in range(len(corpus.speakers)):
    parts: list[np.ndarray] = []
    rows_of = np.flatnonzero(corpus.speaker == code)
    for row in rows_of:
      if corpus.rate_hz[row] != corpus.rate_hz[rows_of[0]]:
        name = corpus.speakers[code]
        raise ValueError(f"speaker {name} has recordings of several rates")
      if sum(map(len, parts)) < _MOST_S * corpus.rate_hz[row]:
        part = corpus.read(int(row))
        parts.append(part / max(part.std(), 1e-9))
    speech, own_hz = np.concatenate(parts), int(corpus.rate_hz[rows_of[0]])
    for speed in _SPEEDS:
      speakers.append(soxr.resample(speech, own_hz * speed, rate_hz))
  return speakers


def draw(speech: np.ndarray, length: int, rng: np.random.Generator):
  """A part of some length, of random level, with a silent stretch at times."""
  clip = np.resize(np.roll(speech, -rng.integers(len(speech))), length)
  clip = clip * 10 ** (rng.uniform(-5, 5) / 20)
  if rng.random() < 0.25:
    begin, end = np.sort(rng.integers(0, length, 2))
    clip[begin:end] = 0
  return clip


def separated_chunks(loaded, speakers, num_rounds: int, seed: int):
  """Yields speakers, and the frames of their outputs, by chunk."""
  rng = np.random.default_rng(seed)
  rate = loaded.sample_rate_hz
  size = _CHUNK_S * rate
  apply = jax.jit(loaded.model.apply)
  for turn in range(num_rounds):
    order = rng.permutation(len(speakers))
    for pair in order[: len(order) // 2 * 2].reshape(-1, 2):
      references = np.stack(
        [draw(speakers[who], size * _NUM_CHUNKS, rng) for who in pair]
      )
      mixture = references.sum(axis=0)
      if rng.random() < 0.3:
        noise_db = -rng.uniform(10, 25)
        mixture += rng.normal(0, 10 ** (noise_db / 20), len(mixture))
      level = inference.EvenLevel(rate)
      (mixture,) = level.even([mixture.astype(np.float32)])
      chunks = mixture.reshape(_NUM_CHUNKS, size)
      estimates = np.asarray(apply(loaded.variables, chunks))
      parts = references.reshape(2, _NUM_CHUNKS, size).swapaxes(0, 1)
      for estimate, reference in zip(estimates, parts, strict=True):
        match = estimate @ reference.T
        if match[0, 1] + match[1, 0] > match.trace():
          estimate = estimate[::-1]
        yield from zip(
          pair, inference.speaker_features(estimate, rate), strict=True
        )
    say(f"{turn + 1} of {num_rounds} rounds")


def analyse(who, means, counts) -> dict[str, np.ndarray]:
  """The discriminant analysis of means of frames `[n, F]`."""
  weight = 1 / (1 / counts + 1 / _DRIFT)
  _, who = np.unique(who, return_inverse=True)
  total = np.bincount(who, weight)
  if len(means) == len(total):
    raise ValueError("each speaker was heard once only: give more --rounds")
  sums = np.zeros((len(total), means.shape[1]))
  np.add.at(sums, who, weight[:, np.newaxis] * means)
  of_speaker = sums / total[:, np.newaxis]
  rest = means - of_speaker[who]
  # Within a speaker, of a mean with weight 1.
  within = (rest.T * weight) @ rest / (len(means) - len(total))
  between = np.cov(of_speaker.T) - within * np.mean(1 / total)
  within += 1e-3 * np.trace(within) / len(within) * np.eye(len(within))
  values, vectors = scipy.linalg.eigh(between, within)
  return {
    "between": np.maximum(values[: -_SIZE - 1 : -1], 1e-6),
    "projection": np.ascontiguousarray(vectors[:, : -_SIZE - 1 : -1]),
    "mean": of_speaker.mean(axis=0),
    "drift": np.array(1 / _DRIFT),
    "scale": np.array(_SCALE),
  }


def run(options):
  """Makes the file."""
  for name in ("model", "corpus", "output"):
    if getattr(options, name) is None:
      raise ValueError(f"give --{name}")
  output = pathlib.Path(options.output)
  rows.refuse_existing([output], overwrite=options.overwrite)
  loaded = jaxsep.load(options.model)
  corpus = corpora.open_corpus(options.corpus, split=options.split)
  speakers = read_speakers(corpus, loaded.sample_rate_hz)
  chunks = [
    (who, frames.mean(axis=0), len(frames))
    for who, frames in separated_chunks(
      loaded, speakers, options.rounds, options.seed
    )
    if len(frames) >= _LEAST
  ]
  who, means, counts = map(np.array, zip(*chunks, strict=True))
  save_file(analyse(who, means, counts), output)
  print(f"{output}: {len(chunks)} outputs of {len(speakers)} speakers")


def main(argv: Sequence[str] | None = None) -> None:
  """Runs; an error is one line."""
  parser = Parser(__doc__)
  parser.add(
    "model", help="Two speakers; its outputs have the level of the mixture."
  )
  parser.add("corpus", help="Utterances to train on, as layout:where.")
  parser.add("split", help="Split of the corpus.")
  parser.add("output", help="File to write.")
  parser.add("rounds", type=int, default=2, least=1, help="Times per speaker.")
  parser.add("seed", type=int, default=0)
  parser.add("overwrite", type=bool, help="Replace the file.")
  parser.run(run, argv)


if __name__ == "__main__":
  main()
