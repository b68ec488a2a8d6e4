"""The recipes that the configs of this paper are made of."""

from typing import Any

from experiments import job, options
from experiments.data import DataConfig
from experiments.separation_for_asr.words import TokenizerConfig
from experiments.text_data import TextDataConfig
from jaxsep import dsp, losses, models, simulate, tasks, train

#: The model that a task uses but does not train.
FROZEN = {
  tasks.DistillationTask: "teacher",
  tasks.RecognizedSeparationTask: "recognizer",
}
# What a config leaves out of a task.
_GIVEN = (
  "model",
  "sample_rate_hz",
  "simulation",
  "loss_function",
  "conditions",
  "tokenizer",
  "unigram",
  "augmentation",
  *FROZEN.values(),
)
options.register(
  tasks.DistillationTask,
  tasks.FeatureSeparationTask,
  tasks.LanguageModelTask,
  tasks.ObjectiveShift,
  tasks.RecognitionTask,
  tasks.RecognizedSeparationTask,
)

# Overlapping speech in simulated rooms. Directional noise needs a corpus:
# --config.data.noise=folder:MUSAN/noise --config.data.noise_rir=True
# --config.simulation.noise_snr_db=(0,20)
_SIMULATION = simulate.OverlapSimulation(
  16000, room=simulate.RandomRoom(), noise_snr_db=None
)
#: 25 ms windows every 10 ms at 8 kHz.
_STFT_8K = dsp.Stft(n_fft=256, win_length=200, hop_length=80, window="hamming")


def _adamw(learning_rate, weight_decay, **further):
  return job.options(
    job.OptimizerConfig(
      name="adamw",
      learning_rate=learning_rate,
      weight_decay=weight_decay,
      schedule="linear",
      **further,
    )
  )


def separator(
  model: Any, task: Any = None, data: Any = None, **further: Any
) -> Any:
  """Trains a separator from the start: section 3.4, 260,000 steps.

  Crops and batch are not printed; crops of 4 s are those of the toolkit aps.
  """
  task = task or tasks.FeatureSeparationTask(model=None, sample_rate_hz=16000)
  data = data or DataConfig(
    batch_size=16, speed_range=None, min_utterance_s=1.5
  )
  return job.make_config(
    sample_rate_hz=16000,
    model=job.options(model),
    task=job.options(task, without=_GIVEN),
    loss=job.options(losses.feature_l2),
    simulation=job.options(_SIMULATION, without=("sample_rate_hz",)),
    data=job.options(data),
    optimizer=_adamw(1e-4, 0.01, warmup_steps=10_000),
    train=job.options(
      train.TrainConfig(num_steps=260_000, eval_every=2_500, log_every=100)
    ),
    **further,
  )


def recurrent(model: Any) -> Any:
  """Trains a convolutional recurrent network: section 3.4.

  The rate is halved after two evaluations without improvement, where the paper
  has epochs.
  """
  config = separator(model)
  config.optimizer = job.options(
    job.OptimizerConfig(
      name="adamw",
      learning_rate=1e-3,
      weight_decay=1e-5,
      plateau=train.Plateau(patience=2),
    )
  )
  config.train.early_stop_patience = 10
  return config


def distilled(model: Any) -> Any:
  """Trains a small model by a large one: --config.frozen.teacher=RUN."""
  task = tasks.DistillationTask(model=None, teacher=None, sample_rate_hz=16000)
  return separator(model, task)


def more(config: Any) -> Any:
  """Goes on from a trained model, --config.init_from=RUN: 100,000 steps."""
  config.optimizer.update(learning_rate=4e-5, warmup_steps=0, hold_steps=25_000)
  config.train.num_steps = 100_000
  return config


def recognized(model: Any) -> Any:
  """Goes on by a recogniser: --config.frozen.recognizer=RUN, and as `more`."""
  task = tasks.RecognizedSeparationTask(
    model=None, recognizer=None, sample_rate_hz=16000
  )
  config = separator(
    model,
    task,
    TextDataConfig(examples="mixtures", batch_size=16, longest_s=16.0),
    tokenizer=job.options(TokenizerConfig()),
    smooth_by_counts=True,
  )
  # Section 3.4: gradients of 4 parts are added up.
  config.train.num_microbatches = 4
  return more(config)


def recognizer() -> Any:
  """Trains a recogniser: the loss of the paper, else the sizes of SpeechBrain.

  Optimizer, perturbations and masks are those of the toolkit aps.
  """
  return job.make_config(
    sample_rate_hz=16000,
    model=job.options(
      models.Recognizer(0), without=("num_tokens", "sample_rate_hz")
    ),
    task=job.options(
      tasks.RecognitionTask(model=None, sample_rate_hz=16000), without=_GIVEN
    ),
    augmentation=job.options(simulate.SpecAugment()),
    tokenizer=job.options(TokenizerConfig()),
    smooth_by_counts=True,
    data=job.options(
      TextDataConfig(batch_size=32, speeds=(0.9, 1.0, 1.1), longest_s=20.0)
    ),
    optimizer=_adamw(5e-4, 1e-3, warmup_steps=25_000, clip_norm=20.0),
    train=job.options(
      train.TrainConfig(
        num_steps=400_000,
        eval_every=5_000,
        log_every=100,
        ema_decay=0.9999,
        num_microbatches=4,
        monitor="word_error_rate",
        early_stop_patience=10,
      )
    ),
  )


def language_model(model: Any) -> Any:
  """Trains a language model on lines of text, with a recogniser's tokens.

  --config.data.corpus=text:FILE and --config.tokenizer.path=RUN of the
  recogniser.
  """
  return job.make_config(
    sample_rate_hz=16000,
    model=job.options(model, without=("num_tokens",)),
    task=job.options(
      tasks.LanguageModelTask(model=None, sample_rate_hz=16000), without=_GIVEN
    ),
    tokenizer=job.options(TokenizerConfig()),
    data=job.options(TextDataConfig(examples="lines", batch_size=64)),
    optimizer=_adamw(5e-4, 1e-3, warmup_steps=25_000),
    train=job.options(
      train.TrainConfig(
        num_steps=400_000,
        eval_every=5_000,
        log_every=100,
        monitor="perplexity",
      )
    ),
  )


# Narrow layers of each class.
_TINY = {
  "ConformerSeparator": {
    "size": 96,
    "num_heads": 2,
    "feedforward_size": 384,
    "kernel_size": 17,
    "conv_channels": 192,
    "max_distance": 256,
  },
  "TransformerSeparator": {
    "size": 128,
    "num_heads": 2,
    "feedforward_size": 512,
    "max_distance": 256,
  },
  "CRN": {
    "channels": (8, 16, 16, 32, 32, 64, 64),
    "hidden_size": 128,
    "num_recurrent": 2,
  },
  "DenseCRN": {
    "channels": (8, 16, 16, 16, 32, 64, 128),
    "hidden_size": 128,
    "num_dense": 2,
  },
  "Recognizer": {
    "num_mels": 40,
    "conv_channels": (16, 16),
    "size": 96,
    "num_heads": 4,
    "feedforward_size": 384,
    "kernel_size": 15,
    "num_decoder_layers": 1,
    "dropout": 0.0,
  },
  "LSTMLanguageModel": {"size": 128},
  "TransformerLanguageModel": {
    "size": 96,
    "num_heads": 4,
    "feedforward_size": 384,
  },
}
# By the layers that the paper has: large, small, recogniser, language model.
_TINY_LAYERS = {16: 6, 6: 2, 12: 4, 3: 1}


def tiny(config: Any) -> Any:
  """Makes a recipe one for a core and half an hour: at 8 kHz, without rooms.

  Separators have at most 2 million weights.
  """
  model = config.model
  model.update(_TINY[model["class"]])
  if "num_layers" in model:
    model.num_layers = _TINY_LAYERS[model.num_layers]
  if "stft" in model:
    model.stft = job.options(_STFT_8K)
  if "layer_map" in config.task:
    config.task.layer_map = (2, 5)
  if config.task.get("shift"):
    config.task.shift.update(slope=0.006, middle=1_500)
  if "num_mels" in config.task and config.task.num_mels:
    config.task.num_mels = 40
  if "tokenizer" in config:
    config.tokenizer.kind = "words"
  if "augmentation" in config:
    # No mask may hide a word: those around it do not tell what it was.
    config.augmentation.update(max_bands=6, num_band_masks=1, max_frames=8)
    config.task.ctc_weight = 0.5
  if "simulation" in config:
    # A short training must see more of one speaker alone.
    config.simulation.one_speaker_probability = 0.3
    config.simulation.room = None
    # It takes half as many steps as AdamW.
    config.optimizer.name = "muon"
  config.sample_rate_hz = 8000
  is_speech = "augmentation" in config
  config.data.batch_size = 16 if is_speech else 8
  if "crop_s" in config.data:
    config.data.update(crop_s=2.4, valid_crop_s=2.4)
  if "num_buckets" in config.data:
    config.data.num_buckets = 2
  is_second = bool(config.optimizer.hold_steps)
  by_words = config.task["class"] == tasks.RecognizedSeparationTask.__name__
  # Steps through a recogniser take three times as long.
  num_steps = 500 if by_words else 1_500 if is_second or is_speech else 3_000
  rate = 6e-3 if config.optimizer.name == "muon" else 1e-3
  config.optimizer.update(
    learning_rate=rate, warmup_steps=200, schedule="linear"
  )
  config.optimizer.plateau = None
  if is_second:
    config.optimizer.update(
      learning_rate=0.4 * rate, warmup_steps=0, hold_steps=num_steps // 4
    )
  config.train.update(
    num_steps=num_steps,
    eval_every=num_steps // 3,
    log_every=50,
    num_microbatches=1,
  )
  if config.train.ema_decay:
    config.train.ema_decay = 0.998
  return config
