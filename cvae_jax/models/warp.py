"""Moves pixels of a known frame to where a field of displacements says they go."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def warp(
    frame: Float[Array, "clips height width channels"],
    flow: Float[Array, "frames height width 2"],
) -> Float[Array, "frames height width channels"]:
    """Each output pixel is the bilinear sample of its clip's frame at its own place plus flow.

    The sampling of spatial transformers (Jaderberg et al. 2015, eq. 5) with a flow for each pixel.

    Args:
      frame: one for each clip; a clip's rows of `flow` stand together and share it.
      flow: rows down and columns right, in pixels. Places outside the frame take its border.
    """
    clips, height, width, channels = frame.shape
    row, down = _split_place(jnp.arange(height)[:, None] + flow[..., 0], height)
    column, right = _split_place(jnp.arange(width) + flow[..., 1], width)

    # One gather fetches a pixel with its lower and right neighbours: on a CPU gathers cost most.
    padded = jnp.pad(frame, ((0, 0), (0, 1), (0, 1), (0, 0)), mode="edge")
    corners = (padded[:, :-1, :-1], padded[:, :-1, 1:], padded[:, 1:, :-1], padded[:, 1:, 1:])
    table = jnp.concatenate(corners, axis=-1).reshape(clips, height * width, 4 * channels)
    index = (row * width + column).reshape(clips, -1)
    gathered = jax.vmap(lambda pixels, places: pixels[places])(table, index)
    gathered = gathered.reshape(*flow.shape[:3], 4 * channels)

    top_left, top_right, bottom_left, bottom_right = jnp.split(gathered, 4, axis=-1)
    top = top_left + right * (top_right - top_left)
    bottom = bottom_left + right * (bottom_right - bottom_left)
    return top + down * (bottom - top)


def _split_place(place, size):
    """The pixel at or before a place inside 0 .. size - 1, and how far beyond it the place is."""
    place = jnp.clip(place, 0.0, size - 1.0)
    pixel = jnp.floor(jax.lax.stop_gradient(place))
    return pixel.astype(jnp.int32), (place - pixel)[..., None]
