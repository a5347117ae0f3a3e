"""Quality of predicted frames. Peak value 1.0, over all channels, one figure a frame.

A mean over frames, then over clips, is `psnr_mean`; the reductions live in summary.py.
"""

import dm_pix
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

MOVING_THRESHOLD = 0.1
"""A pixel is moving when a channel differs from the last context frame's by more than this."""

_PERFECT_MSE = 1e-10
"""Floor of the squared error, so that an exact prediction has the finite PSNR of 100 dB."""


def psnr(
    prediction: Float[Array, "*batch height width channels"],
    target: Float[Array, "*batch height width channels"],
) -> Float[Array, "*batch"]:
    """Peak signal-to-noise ratio in dB of frames in [0, 1]; at most 100 dB."""
    error = jnp.square(prediction - target).mean(axis=(-3, -2, -1))
    return -10.0 * jnp.log10(jnp.maximum(error, _PERFECT_MSE))


def channel_psnr(
    prediction: Float[Array, "*batch height width channels"],
    target: Float[Array, "*batch height width channels"],
) -> Float[Array, "*batch"]:
    """PSNR in dB of each channel by itself, then their mean: `finn_psnr` of SVG's utils.py.

    Never below `psnr`, as the logarithm is concave; the two agree where the channels' errors do.
    """
    error = jnp.square(prediction - target).mean(axis=(-3, -2))
    return -10.0 * jnp.log10(jnp.maximum(error, _PERFECT_MSE)).mean(axis=-1)


def ssim(
    prediction: Float[Array, "*batch height width channels"],
    target: Float[Array, "*batch height width channels"],
) -> Float[Array, "*batch"]:
    """Structural similarity (Wang et al. 2004): Gaussian window of 11, sigma 1.5, no border.

    A mean over channels and pixels, so the same as `finn_ssim` of SVG's utils.py.
    """
    frames = (-1, *target.shape[-3:])
    values = dm_pix.ssim(prediction.reshape(frames), target.reshape(frames))
    return values.reshape(target.shape[:-3])


def moving_pixels(
    target: Float[Array, "*batch height width channels"],
    last_context_frame: Float[Array, "*batch height width channels"],
) -> Bool[Array, "*batch height width"]:
    """Where the true frame has left the last context frame by more than MOVING_THRESHOLD."""
    return jnp.any(jnp.abs(target - last_context_frame) > MOVING_THRESHOLD, axis=-1)


def masked_psnr(
    prediction: Float[Array, "*batch height width channels"],
    target: Float[Array, "*batch height width channels"],
    mask: Bool[Array, "*batch height width"],
) -> Float[Array, "*batch"]:
    """PSNR in dB over the pixels under `mask`; NaN for a frame whose mask is empty."""
    error = jnp.square(prediction - target).mean(axis=-1)
    count = mask.sum(axis=(-2, -1))
    mean = jnp.where(mask, error, 0.0).sum(axis=(-2, -1)) / jnp.maximum(count, 1)
    return jnp.where(count > 0, -10.0 * jnp.log10(jnp.maximum(mean, _PERFECT_MSE)), jnp.nan)
