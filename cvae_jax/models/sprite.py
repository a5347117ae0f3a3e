"""The arm, drawn in a small picture of its own that is put where the conditions say it is."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cvae_jax.models.layers import KERNEL_INIT, activation, with_waves
from cvae_jax.types import Motion, Scene

_SHARE = 3 / 4, 5 / 8
"""Height and width of the picture as shares of the frame's: a gripper and most of its shaft."""
_PLACE_SCALE = 64.0
"""Pixels that an output of 1 moves the picture by; at 1 it would take Adam thousands of steps."""
_HIDDEN_AT_START = -3.0
"""Logit of the carried pixels' mask before training, so that they do not disturb its start."""
_STEP_FREQUENCIES, _PATH_FREQUENCIES = (1.5, 3.0), (0.5, 1.0)
"""Radians per standard deviation of a condition and of an action."""

RowTents = Float[Array, "batch height picture_height"]
ColumnTents = Float[Array, "batch width picture_width"]


class Sprite(nn.Module):
    """Reads a picture around the arm in the last context frame, writes one around it at frame t.

    A network that draws the arm anywhere in the frame has to learn its look at every place. This
    one learns the place, a point that follows from c_t, and the look once, about that point. It
    reads and writes by a spatial transformer, as AIR does (Eslami et al. 2016, section 3), here by
    translation alone. The path tells how far the arm has turned. Without positions in c_t (as with
    condition=action) the place can but stay near the middle.
    """

    width: int
    channels: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, g: Float[Array, "frames *representation"], motion: Motion, scene: Scene
    ) -> tuple[
        Float[Array, "frames height width channels"],
        Float[Array, "frames height width 3"],
        Float[Array, "frames height width 1"],
    ]:
        """What adds to the decoder's output; pixels carried from the scene times their mask; it."""
        frame_size = scene.frame.shape[1:3]
        size = tuple(round(share * side) for share, side in zip(_SHARE, frame_size, strict=True))
        place = _Place(self.dtype)
        there = _grid(place(motion.step), frame_size, size)
        here = _grid(jax.lax.stop_gradient(place(scene.condition)), frame_size, size)
        seen = cut(scene.frame - 0.5, *here)  # beyond the frame's border it is grey

        known = jnp.concatenate(
            [
                _per_frame(self._features(seen, self.width // 4, "look"), g),
                self._features(g, self.width // 4, "state"),
                with_waves(motion.step, _STEP_FREQUENCIES),
                with_waves(motion.path, _PATH_FREQUENCIES),
            ],
            axis=-1,
        )
        hidden = self._features(known, self.width, "hidden1")
        hidden = self._features(hidden, self.width, "hidden2")
        channels = self.channels + 1
        small = nn.initializers.variance_scaling(0.01, "fan_in", "truncated_normal")
        out = nn.Dense(
            size[0] * size[1] * channels, kernel_init=small, dtype=self.dtype, name="out"
        )
        picture = out(hidden).astype(jnp.float32).reshape(-1, *size, channels)
        drawn, logit = picture[..., :-1], picture[..., -1:]
        mask = jax.nn.sigmoid(logit + _HIDDEN_AT_START)
        carried = mask * (_per_frame(seen, g) + 0.5)
        placed = put(jnp.concatenate([drawn, carried, mask], axis=-1), *there)
        return placed[..., :-4], placed[..., -4:-1], placed[..., -1:]

    def _features(self, x, features, name):
        dense = nn.Dense(features, kernel_init=KERNEL_INIT, dtype=self.dtype, name=name)
        return activation(dense(x.reshape(len(x), -1)))


class _Place(nn.Module):
    """Row and column of the picture's middle, in pixels off the frame's, from c."""

    dtype: jnp.dtype

    @nn.compact
    def __call__(self, condition: Float[Array, "batch condition"]) -> Float[Array, "batch 2"]:
        hidden = nn.Dense(32, kernel_init=KERNEL_INIT, dtype=self.dtype, name="hidden")(condition)
        x = jnp.concatenate([condition, activation(hidden)], axis=-1)
        return _PLACE_SCALE * nn.Dense(2, kernel_init=nn.initializers.zeros, name="place")(x)


def cut(
    frame: Float[Array, "batch height width channels"], rows: RowTents, columns: ColumnTents
) -> Float[Array, "batch picture_height picture_width channels"]:
    """The bilinear samples of `frame` at a picture's grid; 0 beyond the frame's border."""
    return jnp.einsum("nrs,nrwc,nwt->nstc", rows, frame, columns)


def put(
    picture: Float[Array, "batch picture_height picture_width channels"],
    rows: RowTents,
    columns: ColumnTents,
) -> Float[Array, "batch height width channels"]:
    """A frame that shows `picture` at its grid and is 0 elsewhere: the transpose of `cut`."""
    return jnp.einsum("nwt,nrtc->nrwc", columns, jnp.einsum("nrs,nstc->nrtc", rows, picture))


def tents(
    centre: Float[Array, "batch"], size: int, picture: int
) -> Float[Array, "batch size picture"]:
    """Weight of each of `size` pixels of a line at each of `picture` places about `centre`.

    A place that is not a whole number shares between its two neighbours (bilinear sampling).
    """
    places = centre[:, None, None] + jnp.arange(picture) - 0.5 * (picture - 1)
    return jnp.maximum(0.0, 1.0 - jnp.abs(jnp.arange(size)[:, None] - places))


def _grid(place, frame_size, size):
    """The tents of rows and columns, for a place in pixels off the frame's middle."""
    return tuple(
        tents(place[:, axis].astype(jnp.float32) + 0.5 * (frame_size[axis] - 1), *sizes)
        for axis, sizes in enumerate(zip(frame_size, size, strict=True))
    )


def _per_frame(x, g):
    """A row for every frame, from one for every clip."""
    return jnp.repeat(x, len(g) // len(x), axis=0)
