"""Shared array types. Frames are uint8 everywhere but between `to_unit_range` and `to_uint8`."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8


class Gaussian(NamedTuple):
    """A diagonal Gaussian N(mean, exp(logvar))."""

    mean: Float[Array, "*batch z_dim"]
    logvar: Float[Array, "*batch z_dim"]


class Conditions(NamedTuple):
    """What is known of the arm at every frame t.

    step: c_t, what the condition's name says (`rollout.align_conditions`).
    path: the sum of all actions up to frame t, normalised as in c_t, from which, with the number
        of frames, follows how far and how much the arm has turned since any earlier frame; no
        columns where c_t has none.
    """

    step: Float[Array, "batch time condition"]
    path: Float[Array, "batch time action"]


class Motion(NamedTuple):
    """How the arm stands at a frame that is to be drawn.

    step: c_t. path: the sum of the normalised actions since the scene's frame.
    """

    step: Float[Array, "*batch condition"]
    path: Float[Array, "*batch action"]


class Arm(NamedTuple):
    """How the arm is held at frames that are to be drawn.

    motion: what is known of it. place: its row and column in pixels off the frame's middle.
    pose: features of all that decides its look there.
    """

    motion: Motion
    place: Float[Array, "*batch 2"]
    pose: Float[Array, "*batch pose"]


class Scene(NamedTuple):
    """The last context frame, which predictions are drawn upon.

    skips: the encoder's stage outputs, largest first. frame: itself. condition: its c.
    """

    skips: tuple[Float[Array, "clips _ _ _"], ...]
    frame: Float[Array, "clips height width 3"]
    condition: Float[Array, "clips condition"]


def to_unit_range(video: UInt8[Array, "..."]) -> Float[Array, "..."]:
    """uint8 0..255 as float32 in [0, 1]; the only place where frames are scaled."""
    return video.astype(jnp.float32) / 255.0


def to_uint8(video: Float[Array, "..."]) -> UInt8[Array, "..."]:
    """Float in [0, 1] as the nearest uint8: the inverse of `to_unit_range`."""
    return jnp.round(jnp.clip(video, 0.0, 1.0) * 255.0).astype(jnp.uint8)
