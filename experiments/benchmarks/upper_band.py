"""What `jaxsep separate --upper_band=share` gains above a model's band.

  python -m experiments.benchmarks.upper_band \
    --corpus=librispeech:LibriSpeech/train-clean-100 \
    --speakers=LibriSpeech/cv_speakers.txt

Mixes the first utterance of each speaker with that of the next, at equal
energy and the corpus's rate, separates the mixture with `--model`, and scores
three ways to fill the band above the model's: with nothing, with equal shares
of the mixture, and with `inference.with_upper_band`. With `--snr_db`, the
mixture also has white noise. Means over all speakers, at the full rate:

  SI-SDR, SDR   over all frequencies, dB
  error         error above the model's band relative to the reference there,
                dB; of silence it is 0
  better, worse the same, of each pair the speaker with the lower error, and the
                other one
  LSD           log-spectral distance above the model's band, dB, between
                levels down to 50 dB below the mean level of the mixture
"""

import numpy as np

import jaxsep
from data_pipelines.corpora import open_corpus
from experiments import rows
from experiments.command import Parser
from jaxsep import audio, dsp, inference, metrics

_RMS = 0.05
_FLOOR = 1e-5


def _resampled(signal, rate, other):
  """A signal `[C, T]` at another rate."""
  changed = audio.resample_blocks(
    [signal], orig_rate_hz=rate, target_rate_hz=other
  )
  return np.concatenate(list(changed), axis=1)


def _upper(signal, rate, model_rate):
  """What a signal `[C, T]` has above a model's band."""
  lower = _resampled(signal, rate, model_rate)
  lower = _resampled(lower, model_rate, rate)
  return signal - lower[:, : signal.shape[1]]


def _outputs(loaded, mixture, rate):
  """Sources `[S, T]` by how the upper band is filled."""
  model_rate = loaded.sample_rate_hz
  heard = _resampled(mixture[np.newaxis], rate, model_rate)
  estimate = inference.separate(
    loaded.model, loaded.variables, heard[0], sample_rate_hz=model_rate
  )

  def separate(blocks):
    list(blocks)
    yield estimate

  shared = inference.with_upper_band(
    [mixture[np.newaxis]],
    separate,
    sample_rate_hz=rate,
    model_rate_hz=model_rate,
  )
  lower = _resampled(estimate, model_rate, rate)[:, : len(mixture)]
  upper = _upper(mixture[np.newaxis], rate, model_rate)
  return {
    "nothing": lower,
    "equal shares": lower + upper / len(lower),
    "with_upper_band": np.concatenate(list(shared), axis=1),
  }


def _scores(estimate, reference, mixture, rate, model_rate):
  """A row of the table for one pair of speakers."""
  sdr = metrics.bss_eval(estimate, reference)[0]
  high, wanted = (_upper(x, rate, model_rate) for x in (estimate, reference))
  error = np.sum((high - wanted) ** 2, -1) / np.sum(wanted**2, -1)
  error = 10 * np.log10(error)
  stft = dsp.Stft(n_fft=512, hop_length=128)
  above = np.arange(stft.num_bins) > 512 * model_rate / 2 / rate
  floor = _FLOOR * np.mean(np.abs(stft(mixture)) ** 2)
  level, expected = (
    10 * np.log10(np.abs(np.asarray(stft(x)))[..., above] ** 2 + floor)
    for x in (estimate, reference)
  )
  return {
    "SI-SDR": float(np.mean(metrics.si_sdr(estimate, reference))),
    "SDR": float(np.mean(sdr)),
    "error": float(error.mean()),
    "better": float(error.min()),
    "worse": float(error.max()),
    "LSD": float(np.sqrt(((level - expected) ** 2).mean(-1)).mean()),
  }


def run(options):
  """Prints the table."""
  corpus = open_corpus(options.corpus, speakers=options.speakers)
  loaded = jaxsep.load(options.model)
  rate, model_rate = int(corpus.rate_hz[0]), loaded.sample_rate_hz
  if (corpus.rate_hz != rate).any() or rate <= model_rate:
    raise ValueError(f"the corpus must have one rate above {model_rate} Hz")
  length = round(options.seconds * rate)
  long = [row for row in range(len(corpus)) if corpus.length[row] >= length]
  _, first = np.unique(corpus.speaker[long], return_index=True)
  voices = [corpus.read(long[row], 0, length) for row in first]
  voices = np.stack([_RMS * voice / dsp.rms(voice) for voice in voices])
  table, rng = {}, np.random.default_rng(0)
  for reference in np.stack([voices, np.roll(voices, -1, axis=0)], axis=1):
    mixture = reference.sum(axis=0)
    if options.snr_db is not None:
      noise = rng.normal(size=length) * 10 ** (-options.snr_db / 20)
      mixture = np.float32(mixture + dsp.rms(mixture) * noise)
    for name, estimate in _outputs(loaded, mixture, rate).items():
      order = dsp.best_permutation(
        -np.stack(
          [
            metrics.si_sdr(np.broadcast_to(row, reference.shape), reference)
            for row in estimate
          ]
        )
      )
      scores = _scores(
        estimate[np.asarray(order)], reference, mixture, rate, model_rate
      )
      table.setdefault(name, []).append(scores)
  print(
    f"{len(voices)} pairs, {options.seconds:g} s, {rate} Hz, {options.model}"
  )
  print(
    rows.markdown(
      [
        {f"above {model_rate // 2} Hz": name}
        | {key: np.mean([row[key] for row in found]) for key in found[0]}
        for name, found in table.items()
      ]
    )
  )


def main():
  """Runs; an error is one line."""
  parser = Parser(__doc__)
  corpus_help = "As --config.data.corpus of training."
  parser.add("corpus", required=True, help=corpus_help)
  parser.add("speakers", help="File of the speakers to mix; all without it.")
  parser.add("model", default="two_speakers_8k", help="Folder or name.")
  parser.add("snr_db", type=float, help="Adds white noise to the mixtures.")
  parser.add("seconds", type=float, default=8.0, help="Length of a mixture.")
  parser.run(run)


if __name__ == "__main__":
  main()
