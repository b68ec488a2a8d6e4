"""ConvTasNet in the paper's size, trained by the paper's recipe.

Adam at 1e-3, gradients clipped at 5, crops of 4 s, the learning rate halved
after 3 evaluations without improvement; an evaluation every 20,000 mixtures,
the size of WSJ0-2mix's training set, and 100 of them.
"""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  return config_dict.create(
    sample_rate_hz=8000,
    num_sources=2,
    model=config_dict.create(
      name="ConvTasNet",
      causal=False,
      num_filters=512,
      filter_length=16,
      bottleneck_channels=128,
      hidden_channels=512,
      skip_channels=128,
      kernel_size=3,
      num_blocks=8,
      num_repeats=3,
      mask_activation="sigmoid",
      # Of the encoder: None as in the paper, or "relu".
      encoder_activation=config_dict.placeholder(str),
      # The dtype of the arithmetic; parameters are always float32.
      dtype="float32",
    ),
    data=config_dict.create(
      # layout:where, such as librispeech:DIR; voices need no files.
      corpus="voices",
      split="",
      # Speakers to keep for validation: a file with one name a line.
      valid_speakers="",
      # Or another corpus for validation, for layouts that come with one.
      valid_corpus="",
      valid_split="",
      # Of corpora of mixtures: "min" (if not given) or "max"; and of LibriMix
      # "mix_clean" (if not given), "mix_both" or "mix_single".
      mode=config_dict.placeholder(str),
      mixture=config_dict.placeholder(str),
      cache_dir="",
      # Of the voices: how many talkers, for training and for validation.
      num_voices=400,
      num_valid_voices=40,
      # Examples of a step, over all processes.
      batch_size=8,
      crop_s=4.0,
      valid_crop_s=4.0,
      num_valid_examples=400,
      # Shorter utterances are left out.
      min_utterance_s=1.0,
      weighting="utterance",
      # Slowest and fastest speed of a source; 1, 1 leaves it.
      speed_range=(0.95, 1.05),
      # Corpora of noises and rooms, as layout:where; noise needs
      # simulate.noise_snr_db.
      noise="",
      rirs="",
      rir_s=0.5,
      seed=0,
      num_threads=config_dict.placeholder(int),
    ),
    simulate=config_dict.create(
      overlap="min",
      # Shared part of two neighbours where overlap is "partial".
      overlap_ratio=(0.0, 1.0),
      # Active level of each talker before the random part; None, which only a
      # file can say, keeps those of the recordings.
      level_db=-25.0,
      snr_db=(-5.0, 5.0),
      gain_db=(0.0, 0.0),
      mixture_gain_db=(0.0, 0.0),
      noise_snr_db=config_dict.placeholder(tuple),
      flip_polarity=False,
      # With data.rirs: the target ends so long after the direct sound.
      early_ms=config_dict.placeholder(float),
      # Filters all talkers, and so mixtures and references alike, also those
      # of a corpus of mixtures: band="lowpass" or "highpass" with
      # cutoff_hz=300, "bandstop" or "bandpass" with cutoff_hz="(350,400)".
      source_filter=config_dict.create(
        band=config_dict.placeholder(str),
        cutoff_hz=config_dict.placeholder(object),
        # Or "fir", of linear phase.
        method="butterworth",
        order=8,
      ),
      # Largest sample; None, which only a file can say, allows any.
      peak=0.9,
    ),
    optimizer=config_dict.create(
      name="adam",
      learning_rate=1e-3,
      schedule="plateau",
      warmup_steps=0,
      decay_steps=config_dict.placeholder(int),
      end_learning_rate=0.0,
      decay_rate=0.98,
      decay_every=config_dict.placeholder(int),
      plateau_factor=0.5,
      plateau_patience=3,
      plateau_min_learning_rate=1e-6,
      clip_norm=5.0,
      b1=0.9,
      b2=0.999,
      eps=1e-8,
      weight_decay=0.0,
      num_microbatches=1,
    ),
    train=config_dict.create(
      num_steps=250_000,
      seed=0,
      ema_decay=config_dict.placeholder(float),
      log_every=100,
      eval_every=2_500,
      checkpoint_every=1_000,
      demo_every=5,
      keep_checkpoints=2,
      monitor="loss",
      monitor_mode="min",
      early_stop_patience=config_dict.placeholder(int),
      max_skipped_in_row=20,
      tensorboard=True,
    ),
  )
