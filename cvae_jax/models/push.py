"""What the arm pushes: lifted off the last context frame, carried along with it, laid down."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cvae_jax.models.layers import SMALL_INIT, Dense, MatrixConv3x3, activation, logit, motion_waves
from cvae_jax.models.place import about, cut, put
from cvae_jax.types import Arm, Scene

_SHARE = 5 / 8
"""Side of the window about the arm in which things move, as a share of the frame's."""
_FEATURES, _PAINTED, _HIDDEN = 16, 8, 24
_MOST, _AT_START = 5.0, -4.0
"""Bounds of the logit of moving, and where it is before training. Without bounds a mask closes for
good in the first steps, before the arm's place is learned."""


class Layer(NamedTuple):
    """One kind of values that move: pixels, or features at half their size.

    ground: the bin with what lies in it. carried: what moves with the arm, in a window about it,
    times how much of it does.
    """

    ground: Float[Array, "batch height width channels"]
    carried: Float[Array, "batch window_height window_width channels"]


class Pushed(NamedTuple):
    """Where things are at one frame.

    pixels: their colours and, as a fourth channel, how much of a pixel was moved to where it is.
    moving: how much of each place in the window is carried. place: the arm's.
    """

    pixels: Layer
    features: Layer
    moving: Float[Array, "batch half_height half_width 1"]
    place: Float[Array, "batch 2"]


class Filling(NamedTuple):
    """What comes to light where something is lifted, for each layer."""

    pixels: Float[Array, "batch height width 4"]
    features: Float[Array, "batch half_height half_width features"]


class Things(NamedTuple):
    """A frame without its arm.

    ground: the last context frame, filled where something was lifted and with what was laid down.
    moved: what was pushed, times `shown`: how much it covers the ground.
    """

    ground: Float[Array, "frames height width 3"]
    moved: Float[Array, "frames height width 3"]
    shown: Float[Array, "frames height width 1"]


class Ground(nn.Module):
    """Reads the last context frame: what there is to move, and what may lie beneath it."""

    dtype: jnp.dtype

    @nn.compact
    def __call__(self, scene: Scene, place: Float[Array, "clips 2"]) -> tuple[Pushed, Filling]:
        """Nothing has moved yet. `place`: the arm's in the scene."""
        near, wide = (
            Dense(_FEATURES, self.dtype, name=f"stage{stage}")(scene.skips[stage - 1])
            for stage in (2, 3)
        )
        features = activation(near + _twice(wide))
        for size, name in ((_HIDDEN, "features1"), (_FEATURES, "features2")):
            features = activation(MatrixConv3x3(size, self.dtype, name=name)(features))
        hidden = activation(MatrixConv3x3(_HIDDEN, self.dtype, name="filling1")(features))
        filling = MatrixConv3x3(3 + _FEATURES, self.dtype, SMALL_INIT, name="filling2")(hidden)
        features, filling = features.astype(jnp.float32), filling.astype(jnp.float32)
        painted = jax.nn.sigmoid(logit(scene.frame) + _twice(filling[..., :3]))
        window, half_window = _windows(scene.frame.shape[1:3])
        start = Pushed(
            Layer(_not_moved(scene.frame), jnp.zeros((len(place), *window, 4))),
            Layer(features, jnp.zeros((len(place), *half_window, _FEATURES))),
            jnp.zeros((len(place), *half_window, 1)),
            place,
        )
        return start, Filling(_not_moved(painted), filling[..., 3:])


class Push(nn.Module):
    """Says at every frame which pixels about the arm move along with it.

    A thing that is pushed keeps its look, and goes where the arm goes while they touch. So it is
    neither drawn anew nor interpolated at every frame: it is lifted, shown in a window that goes
    with the arm (a layer with a place, as in AIR: Eslami et al. 2016) and laid down. That it
    turns is left out.
    """

    dtype: jnp.dtype

    @nn.compact
    def __call__(self, pushed: Pushed, filling: Filling, arm: Arm) -> tuple[Pushed, Things]:
        """From one frame to the next, at which `arm` is where it is."""
        place = jax.lax.stop_gradient(arm.place)
        return carry(pushed, filling, self._moving(pushed, arm), place)

    def _moving(self, pushed, arm):
        """How much of each place in the window goes with the arm to the next frame."""
        before, features = pushed.moving, pushed.features
        seen = _seen(features, before, _half_grid(pushed))
        dense = lambda size, name: Dense(size, self.dtype, name=name)  # noqa: E731
        parts = [
            activation(dense(64, "pose")(arm.pose)),
            motion_waves(arm.motion),
        ]
        known = activation(dense(64, "known")(jnp.concatenate(parts, axis=-1)))
        painted = dense(before.size // len(before) * _PAINTED, "painted")(known)
        x = jnp.concatenate([seen, before, painted.reshape(*before.shape[:-1], -1)], axis=-1)
        for name in ("contact1", "contact2"):
            x = activation(MatrixConv3x3(_HIDDEN, self.dtype, name=name)(x))
        x = MatrixConv3x3(1, self.dtype, SMALL_INIT, name="moves")(x).astype(jnp.float32)
        return jax.nn.sigmoid(_MOST * jnp.tanh((2.0 * x + _AT_START) / _MOST))


def carry(
    pushed: Pushed,
    filling: Filling,
    moving: Float[Array, "batch half_height half_width 1"],
    place: Float[Array, "batch 2"],
) -> tuple[Pushed, Things]:
    """Takes what is `moving` from where the arm was to `place`, and leaves the rest behind."""
    size = pushed.pixels.ground.shape[1:3]
    window, _ = _windows(size)
    before = pushed.moving
    features = _moved(pushed.features, filling.features, before, moving, _half_grid(pushed))
    grid = about(pushed.place, size, window)
    pixels = _moved(pushed.pixels, filling.pixels, _twice(before), _twice(moving), grid)
    carried = jnp.concatenate([pixels.carried[..., :3], _twice(moving)], axis=-1)
    after = Pushed(pixels._replace(carried=carried), features, moving, place)

    over = put(carried, *about(place, size, window))
    laid = pixels.ground[..., 3:] * (1.0 - over[..., 3:])
    ground = pixels.ground[..., :3]
    return after, Things(ground, over[..., :3] + laid * ground, over[..., 3:] + laid)


def _half_grid(pushed):
    size = pushed.features.ground.shape[1:3]
    return about(pushed.place / 2, size, _windows(pushed.pixels.ground.shape[1:3])[1])


def _seen(layer, moving, grid):
    """What is in the window about the arm: what it carries, and the ground where it does not."""
    return layer.carried + (1.0 - moving) * cut(layer.ground, *grid)


def _moved(layer, filling, before, moving, grid):
    """The layer when `moving` is carried and no more `before`: lifts some, lays down some."""
    lifted, left = moving * (1.0 - before), before * (1.0 - moving)
    change = jnp.concatenate([lifted, left, (1.0 - moving) * layer.carried], axis=-1)
    change = put(change, *grid)
    ground = (1.0 - change[..., :1]) * layer.ground + change[..., :1] * filling
    ground = (1.0 - change[..., 1:2]) * ground + change[..., 2:]
    return Layer(ground, moving * _seen(layer, before, grid))


def _not_moved(frame):
    return jnp.pad(frame, ((0, 0), (0, 0), (0, 0), (0, 1)))


def _twice(x):
    """Each value as 2x2."""
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)


def _windows(size):
    """Height and width of the window about the arm, in pixels and at half their size."""
    height, width = (round(_SHARE * side / 2) for side in size)
    return (2 * height, 2 * width), (height, width)
