"""Batches of mixtures that were made before."""

import numpy as np
from small_batches import assert_same, take

from data_pipelines import batches, corpora


def test_premixed_training(tmp_path, write_audio):
  for part, seed in (("mix", 0), ("s1", 1), ("s2", 2)):
    for number in range(6):
      write_audio(
        f"2speakers/wav8k/min/tr/{part}/m{number}.wav",
        num_samples=1000 + 300 * number,
        seed=10 * number + seed,
      )
  corpus = corpora.scan_wsj0_mix(tmp_path, "tr")
  options = {
    "batch_size": 4,
    "crop_length": 1500,
    "sample_rate_hz": 8000,
    "seed": 1,
  }
  taken = take(batches.premixed_train_batches(corpus, **options), 6)
  assert {k: (v.shape, v.dtype.name) for k, v in taken[0].items()} == {
    "index": ((4,), "uint32"),
    "mixture": ((4, 1500), "float32"),
    "reference": ((4, 2, 1500), "float32"),
    "length": ((4,), "int32"),
    "mask": ((4,), "bool"),
  }
  whole = [corpus.read(row) for row in range(6)]
  for batch in taken:
    for mixture, reference, length in zip(
      batch["mixture"], batch["reference"], batch["length"], strict=True
    ):
      parts = np.stack([mixture, *reference])
      assert np.all(parts[:, length:] == 0)
      # One file and one place for all parts.
      assert any(
        np.array_equal(parts[:, :length], w[:, start : start + length])
        for w in whole
        for start in range(w.shape[1] - length + 1)
      )
  resumed = take(
    batches.premixed_train_batches(corpus, **options, start_step=4), 2
  )
  for one, other in zip(taken[4:], resumed, strict=True):
    assert_same(one, other)
  hosts = [
    take(
      batches.premixed_train_batches(
        corpus, **options, process_index=p, process_count=2
      ),
      1,
    )[0]
    for p in range(2)
  ]
  assert_same(
    {k: np.concatenate([h[k] for h in hosts]) for k in hosts[0]}, taken[0]
  )
  (tmp_path / "2speakers/wav8k/min/tr/s2/m3.wav").write_bytes(b"")
  assert len(take(batches.premixed_train_batches(corpus, **options), 4)) == 4


def test_premixed_evaluation(tmp_path, write_audio):
  lengths = [450, 1000, 1400, 1499, 2000, 2700, 2100]
  for part, seed in (("mix_both", 0), ("s1", 1), ("s2", 2), ("noise", 3)):
    for number, length in enumerate(lengths):
      write_audio(
        f"Libri2Mix/wav8k/min/dev/{part}/m{number}.wav",
        num_samples=length,
        seed=10 * number + seed,
      )
  corpus = corpora.scan_librimix(tmp_path, "dev", mixture="mix_both")
  options = {
    "batch_size": 2,
    "sample_rate_hz": 8000,
    "length_multiple": 500,
  }
  evaluation = batches.premixed_eval_batches(corpus, **options)
  seen = {}
  for batch in evaluation:
    assert batch["noise"].shape == batch["mixture"].shape
    for i in np.flatnonzero(batch["mask"]):
      row = int(batch["index"][i])
      assert row not in seen
      length = seen[row] = int(batch["length"][i])
      assert batch["mixture"].shape[1] == length
      parts = [batch["mixture"][i], *batch["reference"][i], batch["noise"][i]]
      np.testing.assert_array_equal(
        np.stack(parts), corpus.read(row, 0, length)
      )
  assert [seen[row] for row in range(7)] == [
    450,
    1000,
    1000,
    1000,
    2000,
    2500,
    2000,
  ]
  assert len(evaluation) == 5
  cut = batches.premixed_eval_batches(corpus, **options, max_length=1200)
  assert {batch["mixture"].shape[1] for batch in cut} == {450, 1000}
  whole = list(evaluation)
  hosts = [
    list(
      batches.premixed_eval_batches(
        corpus, **options, process_index=p, process_count=2
      )
    )
    for p in range(2)
  ]
  for step, expected in enumerate(whole):
    joined = {
      k: np.concatenate([host[step][k] for host in hosts]) for k in expected
    }
    assert_same(joined, expected)
