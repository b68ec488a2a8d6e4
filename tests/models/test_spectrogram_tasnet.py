"""SpectrogramTasNet: masks on spectra, and the way back."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from separators import MASKER, signal, small

from jaxsep.models import SpectrogramTasNet, TemporalConvNet


def spectra_of(model, variables, mixture):
  apply = functools.partial(model.apply, method="estimate_spectra")
  return jax.jit(apply)(variables, mixture)


@pytest.mark.parametrize(
  ("compression", "mask_activation", "causal"),
  [
    ("log", "sigmoid", False),
    ("power", "relu", False),
    (None, "sigmoid", True),
  ],
)
def test_equals_pytorch(compression, mask_activation, causal):
  # The masks come from the network that has tests of its own.
  model, variables, apply = small(
    SpectrogramTasNet,
    compression=compression,
    mask_activation=mask_activation,
    causal=causal,
  )
  mixture = np.array(signal(2, 999))
  window = torch.hann_window(64, dtype=torch.float64)
  options = {"n_fft": 64, "hop_length": 16, "window": window}
  double = torch.from_numpy(mixture).double()
  spectrum = torch.stft(
    double, pad_mode="constant", return_complex=True, **options
  )
  magnitude = spectrum.abs()
  features = {
    "log": torch.log(1e-8 + magnitude),
    "power": magnitude**0.3,
    None: magnitude,
  }[compression]
  masker = TemporalConvNet(
    causal=causal, mask_activation=mask_activation, **MASKER
  )
  masks = jax.jit(masker.apply)(
    {"params": variables["params"]["masker"]},
    features.mT.numpy().astype(np.float32),
  )
  masks = torch.from_numpy(np.array(masks)).mT
  masked = masks * spectrum[:, None]
  np.testing.assert_allclose(
    jnp.abs(spectra_of(model, variables, mixture)),
    (masks * magnitude[:, None]).mT,
    atol=2e-4,
  )
  expected = torch.stack(
    [torch.istft(masked[:, i], length=999, **options) for i in range(2)], 1
  )
  error = np.abs(apply(variables, mixture) - expected.numpy())
  assert error.max() < 1e-4 * np.abs(expected.numpy()).max()


def test_estimates_have_the_phase_of_the_mixture():
  model, variables, _ = small(SpectrogramTasNet)
  mixture = signal(2, 500)
  spectra = spectra_of(model, variables, mixture)
  spectrum = model.analyze(mixture)[:, None]
  ratio = spectra / spectrum
  np.testing.assert_allclose(ratio.imag, 0.0, atol=1e-5)
  assert ratio.real.min() >= 0 and ratio.real.max() <= 1
  assert ratio.real.max() - ratio.real.min() > 0.1


def test_softmax_masks_add_up_to_the_mixture():
  _, variables, apply = small(
    SpectrogramTasNet, mask_activation="softmax", num_sources=3
  )
  mixture = signal(2, 501)
  np.testing.assert_allclose(
    apply(variables, mixture).sum(axis=1), mixture, atol=1e-4
  )


def test_synthesis_undoes_analysis():
  model, _, _ = small(SpectrogramTasNet)
  signals = signal(2, 3, 333)
  back = model.synthesize(model.analyze(signals), length=333)
  np.testing.assert_allclose(back, signals, atol=1e-5)
