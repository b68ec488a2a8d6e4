"""SpeechBrain's Conformer recogniser and language model in plain PyTorch.

The names and shapes of the weights are those of its checkpoints. The attention
over relative positions is written out pair by pair.
"""

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional

RATE, FFT, HOP, MELS = 16000, 64, 32, 8
SIZE, HEADS, HIDDEN, KERNEL, CHANNELS = 16, 4, 24, 5, (6, 4)


def box(**children) -> Any:
  """A module that only holds others by name."""
  holder = nn.Module()
  for name, child in children.items():
    holder.add_module(name, child)
  return holder


def table(name, num_positions=50):
  """The buffer that its positions leave in a checkpoint."""
  holder = nn.Module()
  holder.register_buffer(name, waves(torch.arange(num_positions)))
  return holder


def waves(distance):
  """Sine and cosine of positions `[...]`, in turns: `[..., SIZE]`."""
  rates = 10_000 ** (-torch.arange(0, SIZE, 2) / SIZE)
  angles = distance[..., None] * rates
  return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)


def linear(inputs, outputs):
  return box(w=nn.Linear(inputs, outputs))


def norm(*shape, eps=1e-5):
  return box(norm=nn.LayerNorm(list(shape), eps=eps))


def feedforward():
  layers = [nn.Linear(SIZE, HIDDEN), nn.Identity(), nn.Identity()]
  return box(ffn=nn.Sequential(*layers, nn.Linear(HIDDEN, SIZE)))


def attention():
  return box(att=nn.MultiheadAttention(SIZE, HEADS, batch_first=True))


def front_end():
  blocks, inputs, bands = {}, 1, MELS
  for index, outputs in enumerate(CHANNELS):
    bands //= 2
    convs = box(
      conv_0=box(conv=nn.Conv2d(inputs, outputs, 3, 2)),
      norm_0=norm(bands, outputs),
    )
    blocks[f"convblock_{index}"], inputs = box(convs=convs), outputs
  return box(**blocks)


def conformer_layer():
  mha = box(
    out_proj=nn.Linear(SIZE, SIZE), linear_pos=nn.Linear(SIZE, SIZE, bias=False)
  )
  mha.in_proj_weight = nn.Parameter(torch.empty(3 * SIZE, SIZE))
  mha.pos_bias_u = nn.Parameter(torch.empty(SIZE // HEADS, HEADS))
  mha.pos_bias_v = nn.Parameter(torch.empty(SIZE // HEADS, HEADS))
  conv = box(
    layer_norm=nn.LayerNorm(SIZE),
    bottleneck=nn.Sequential(nn.Conv1d(SIZE, 2 * SIZE, 1)),
    conv=nn.Conv1d(SIZE, SIZE, KERNEL, padding=KERNEL // 2, groups=SIZE),
    after_conv=nn.Sequential(
      nn.LayerNorm(SIZE), nn.SiLU(), nn.Linear(SIZE, SIZE)
    ),
  )
  return box(
    mha_layer=mha,
    convolution_module=conv,
    ffn_module1=nn.Sequential(nn.LayerNorm(SIZE), feedforward()),
    ffn_module2=nn.Sequential(nn.LayerNorm(SIZE), feedforward()),
    norm1=norm(SIZE),
    norm2=norm(SIZE),
  )


def decoder_layer():
  return box(
    self_attn=attention(),
    mutihead_attn=attention(),
    pos_ffn=feedforward(),
    **{f"norm{i}": norm(SIZE, eps=1e-6) for i in (1, 2, 3)},
  )


def stack(layers):
  return box(layers=nn.ModuleList(layers), norm=norm(SIZE, eps=1e-6))


def embedding(num_tokens):
  return box(emb=box(Embedding=nn.Embedding(num_tokens, SIZE)))


def scrambled(module):
  """The module with weights that are neither zero nor one anywhere."""
  generator = torch.Generator().manual_seed(0)
  for weight in module.parameters():
    weight.data = 0.4 * torch.randn(weight.shape, generator=generator)
  return module.eval()


def make_recognizer(num_tokens):
  """Its list of modules, as in `asr.ckpt`."""
  transformer = box(
    positional_encoding=table("inv_freq"),
    positional_encoding_decoder=table("pe"),
    custom_src_module=box(
      layers=nn.ModuleList([linear(MELS // 4 * CHANNELS[-1], SIZE)])
    ),
    encoder=stack([conformer_layer() for _ in range(2)]),
    custom_tgt_module=box(layers=nn.ModuleList([embedding(num_tokens)])),
    decoder=stack([decoder_layer() for _ in range(2)]),
  )
  heads = linear(SIZE, num_tokens), linear(SIZE, num_tokens)
  return scrambled(nn.ModuleList([front_end(), transformer, *heads]))


def make_language_model(num_tokens):
  """What is in `lm.ckpt`."""
  layers = [
    box(
      self_att=attention(),
      pos_ffn=feedforward(),
      norm1=norm(SIZE, eps=1e-6),
      norm2=norm(SIZE, eps=1e-6),
    )
    for _ in range(2)
  ]
  out = [linear(SIZE, SIZE), norm(SIZE, eps=1e-6), linear(SIZE, num_tokens)]
  return scrambled(
    box(
      positional_encoding=table("pe"),
      encoder=stack(layers),
      custom_src_module=embedding(num_tokens),
      output_proj=box(layers=nn.ModuleList(out)),
    )
  )


def features(signal, mean, deviation):
  """Normalised decibels `[B, N, MELS]` of a signal `[B, T]`."""
  spectrum = torch.stft(
    signal, FFT, HOP, FFT, torch.hamming_window(FFT), center=True,
    pad_mode="constant", return_complex=True,
  )  # fmt: skip
  top = 2595 * math.log10(1 + RATE / 2 / 700)
  hertz = 700 * (10 ** (torch.linspace(0, top, MELS + 2) / 2595) - 1)
  width = (hertz[1:] - hertz[:-1])[:-1]
  bins = torch.linspace(0, RATE // 2, FFT // 2 + 1)
  slope = (bins[:, None] - hertz[1:-1]) / width
  bands = (spectrum.abs() ** 2).transpose(1, 2) @ (1 - slope.abs()).clamp(min=0)
  decibels = 10 * torch.log10(bands.clamp(min=1e-10))
  decibels = torch.maximum(decibels, decibels.amax((1, 2), True) - 80)
  return (decibels - mean) / deviation


def run_front_end(cnn, x):
  x = x[..., None]
  for block in cnn.children():
    # Bands before frames.
    x = functional.pad(x.transpose(1, -1), (1, 1, 1, 1), mode="reflect")
    x = block.convs.conv_0.conv(x).transpose(1, -1)
    x = functional.leaky_relu(block.convs.norm_0.norm(x))
  return x.flatten(2)


def run_feedforward(module, x, activation):
  return module.ffn[3](activation(module.ffn[0](x)))


def run_relative_attention(mha, x):
  frames = torch.arange(x.shape[1])
  distance = (frames[:, None] - frames).abs().float()
  place = mha.linear_pos(waves(distance)).unflatten(-1, (HEADS, -1))
  joint = functional.linear(x, mha.in_proj_weight).unflatten(-1, (HEADS, -1))
  query, key, value = joint.chunk(3, dim=-1)
  u = mha.pos_bias_u.reshape(HEADS, -1)
  v = mha.pos_bias_v.reshape(HEADS, -1)
  scores = torch.einsum("bnhk,bmhk->bhnm", query + u, key)
  scores = scores + torch.einsum("bnhk,nmhk->bhnm", query + v, place)
  weights = (scores / math.sqrt(SIZE)).softmax(dim=-1)
  mixed = torch.einsum("bhnm,bmhk->bnhk", weights, value)
  return mha.out_proj(mixed.flatten(2))


def run_conformer_layer(layer, x):
  def half(module):
    return 0.5 * run_feedforward(module[1], module[0](x), functional.silu)

  x = x + half(layer.ffn_module1)
  x = x + run_relative_attention(layer.mha_layer, layer.norm1.norm(x))
  conv = layer.convolution_module
  y = conv.bottleneck(conv.layer_norm(x).transpose(1, 2))
  y = conv.conv(functional.glu(y, dim=1)).transpose(1, 2)
  x = x + conv.after_conv(y)
  return layer.norm2.norm(x + half(layer.ffn_module2))


def embedded(module, tokens):
  x = module.emb.Embedding(tokens) * math.sqrt(SIZE)
  return x + waves(torch.arange(tokens.shape[1]).float())


def later(tokens):
  """True where a token may not look."""
  steps = tokens.shape[1]
  return torch.ones(steps, steps).triu(1).bool()


@torch.no_grad()
def run_recognizer(modules, statistics, signal, tokens):
  """Logits of CTC and of the decoder."""
  cnn, transformer, seq_lin, ctc_lin = modules
  x = run_front_end(cnn, features(signal, *statistics))
  x = transformer.custom_src_module.layers[0].w(x)
  for layer in transformer.encoder.layers:
    x = run_conformer_layer(layer, x)
  encoded = transformer.encoder.norm.norm(x)
  x = embedded(transformer.custom_tgt_module.layers[0], tokens)
  for layer in transformer.decoder.layers:
    y = layer.norm1.norm(x)
    x = x + layer.self_attn.att(y, y, y, attn_mask=later(tokens))[0]
    y = layer.norm2.norm(x)
    x = x + layer.mutihead_attn.att(y, encoded, encoded)[0]
    y = layer.norm3.norm(x)
    x = x + run_feedforward(layer.pos_ffn, y, functional.gelu)
  return ctc_lin.w(encoded), seq_lin.w(transformer.decoder.norm.norm(x))


@torch.no_grad()
def run_language_model(model, tokens):
  """Logits of the token after each token."""
  x = embedded(model.custom_src_module, tokens)
  for layer in model.encoder.layers:
    y = layer.self_att.att(x, x, x, attn_mask=later(tokens))[0]
    x = layer.norm1.norm(x + y)
    y = run_feedforward(layer.pos_ffn, x, functional.gelu)
    x = layer.norm2.norm(x + y)
  hidden, middle, head = model.output_proj.layers
  return head.w(middle.norm(hidden.w(model.encoder.norm.norm(x))))
