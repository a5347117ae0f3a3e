"""Where the arm is: a place in the frame that follows from c_t, and windows about it."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from cvae_jax.models.layers import Dense, activation

_PLACE_SCALE = 64.0
"""Pixels that an output of 1 moves a window by; at 1 it would take Adam thousands of steps."""

RowTents = Float[Array, "batch height window_height"]
ColumnTents = Float[Array, "batch width window_width"]


class Place(nn.Module):
    """Row and column of the arm, in pixels off the frame's middle, from c.

    Without positions in c (as with condition=action) it can but stay near the middle. It is
    float32's in any model, as a pixel is a 64th of an output.
    """

    @nn.compact
    def __call__(self, condition: Float[Array, "batch condition"]) -> Float[Array, "batch 2"]:
        dtype = jnp.dtype("float32")
        hidden = Dense(32, dtype, name="hidden")(condition)
        x = jnp.concatenate([condition, activation(hidden)], axis=-1)
        return _PLACE_SCALE * Dense(2, dtype, nn.initializers.zeros, name="place")(x)


def cut(
    frame: Float[Array, "batch height width channels"], rows: RowTents, columns: ColumnTents
) -> Float[Array, "batch window_height window_width channels"]:
    """The bilinear samples of `frame` at a window's grid; 0 beyond the frame's border."""
    return jnp.einsum("nrs,nrwc,nwt->nstc", rows, frame, columns)


def put(
    picture: Float[Array, "batch window_height window_width channels"],
    rows: RowTents,
    columns: ColumnTents,
) -> Float[Array, "batch height width channels"]:
    """A frame that shows `picture` at its grid and is 0 elsewhere: the transpose of `cut`."""
    return jnp.einsum("nwt,nrtc->nrwc", columns, jnp.einsum("nrs,nstc->nrtc", rows, picture))


def tents(
    centre: Float[Array, "batch"], size: int, window: int
) -> Float[Array, "batch size window"]:
    """Weight of each of `size` pixels of a line at each of `window` places about `centre`.

    A place that is not a whole number shares between its two neighbours (bilinear sampling).
    """
    places = centre[:, None, None] + jnp.arange(window) - 0.5 * (window - 1)
    return jnp.maximum(0.0, 1.0 - jnp.abs(jnp.arange(size)[:, None] - places))


def about(
    place: Float[Array, "batch 2"], frame_size: tuple[int, ...], window: tuple[int, ...]
) -> tuple[RowTents, ColumnTents]:
    """The grid of a window about `place`, which is in pixels off the frame's middle.

    frame_size, window: (height, width).
    """
    rows, columns = (
        tents(place[:, axis].astype(jnp.float32) + 0.5 * (frame_size[axis] - 1), *sizes)
        for axis, sizes in enumerate(zip(frame_size, window, strict=True))
    )
    return rows, columns
