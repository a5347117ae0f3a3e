"""Where the arm is, from its position or by sight, and windows about a place of the frame."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cvae_jax.models.layers import Dense, MatrixConv3x3, activation, per_frame

_PLACE_SCALE = 64.0
"""Pixels that an output of 1 moves a window by; at 1 it would take Adam thousands of steps."""
_PATH_SCALE = 8.0
"""The same for a path, whose sums of actions are several times as large as positions."""
_SHARPNESS = 4.0
"""Of shares: with logits as they come, the place is long a mean over too much of the frame."""
_CELL, _DTYPE = 4, jnp.dtype("float32")

RowTents = Float[Array, "batch height window_height"]
ColumnTents = Float[Array, "batch width window_width"]


class Place(nn.Module):
    """Row and column of the arm, in pixels off the frame's middle, from a c that has positions.

    It is float32's in any model, as a pixel is a 64th of an output.
    """

    @nn.compact
    def __call__(self, condition: Float[Array, "batch condition"]) -> Float[Array, "batch 2"]:
        return _PLACE_SCALE * _two_outputs(condition)


class SeenPlace(nn.Module):
    """Row and column of the arm, in pixels off the frame's middle, where c has no positions.

    In the scene it is seen: each cell of the frame has a share by its look, and the place is the
    mean of the cells' places by their shares (the spatial soft-argmax of Finn et al. 2016, *Deep
    Spatial Autoencoders*). From there its path leads on.
    """

    @nn.compact
    def __call__(
        self, frame: Float[Array, "clips height width 3"], path: Float[Array, "frames action"]
    ) -> Float[Array, "frames 2"]:
        """`frame`: the scene's, of every clip. `path`: what a `Motion` has, clip after clip."""
        look = _cells(frame - 0.5)
        for name in ("look1", "look2"):
            look = activation(MatrixConv3x3(24, _DTYPE, name=name)(look))
        logits = Dense(1, _DTYPE, name="logits")(look)[..., 0]
        shares = jax.nn.softmax(_SHARPNESS * logits, axis=(1, 2))
        rows = shares.sum(axis=2) @ _middles(frame.shape[1])
        columns = shares.sum(axis=1) @ _middles(frame.shape[2])
        here = jnp.stack([rows, columns], axis=-1)
        led = _PATH_SCALE * _two_outputs(path)
        return per_frame(here, path) + led


def _two_outputs(x):
    """A small network in the Module that calls it; all of its outputs are 0 before training."""
    hidden = activation(Dense(32, _DTYPE, name="hidden")(x))
    x = jnp.concatenate([x, hidden], axis=-1)
    return Dense(2, _DTYPE, nn.initializers.zeros, name="place")(x)


def _cells(frame):
    """Each square of _CELL pixels as the channels of one place."""
    clips, height, width, channels = frame.shape
    rows, columns = height // _CELL, width // _CELL
    cells = frame.reshape(clips, rows, _CELL, columns, _CELL, channels)
    return jnp.swapaxes(cells, 2, 3).reshape(clips, rows, columns, -1)


def _middles(size):
    """Of each cell along a side of `size` pixels, in pixels off the side's middle."""
    return _CELL * (jnp.arange(size // _CELL) + 0.5) - 0.5 * size


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
