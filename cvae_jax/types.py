"""Shared array types. Frames are uint8 everywhere but between `to_unit_range` and `to_uint8`."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8


class Gaussian(NamedTuple):
    """A diagonal Gaussian N(mean, exp(logvar))."""

    mean: Float[Array, "*batch z_dim"]
    logvar: Float[Array, "*batch z_dim"]


def to_unit_range(video: UInt8[Array, "..."]) -> Float[Array, "..."]:
    """uint8 0..255 as float32 in [0, 1]; the only place where frames are scaled."""
    return video.astype(jnp.float32) / 255.0


def to_uint8(video: Float[Array, "..."]) -> UInt8[Array, "..."]:
    """Float in [0, 1] as the nearest uint8: the inverse of `to_unit_range`."""
    return jnp.round(jnp.clip(video, 0.0, 1.0) * 255.0).astype(jnp.uint8)
