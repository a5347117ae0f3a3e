"""The arm, drawn in a small picture of its own that is put where the conditions say it is."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cvae_jax.models.layers import SMALL_INIT, Dense, activation, motion_waves, per_frame
from cvae_jax.models.place import about, cut, put
from cvae_jax.types import Arm, Motion, Scene

_SHARE = 3 / 4, 5 / 8
"""Height and width of the picture as shares of the frame's: a gripper and most of its shaft."""
_HIDDEN_AT_START = -3.0
"""Logit of the carried pixels' mask before training, so that they do not disturb its start."""


class Pose(nn.Module):
    """How the arm is held at each frame: from its look in the scene, g_t and its motion since.

    The path tells how far the arm has turned.
    """

    width: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self,
        g: Float[Array, "frames *representation"],
        motion: Motion,
        scene: Scene,
        here: Float[Array, "clips 2"],
    ) -> Float[Array, "frames width"]:
        """`here`: the arm's place in the scene."""
        known = jnp.concatenate(
            [
                per_frame(self._features(_surroundings(scene, here), self.width // 4, "look"), g),
                self._features(g, self.width // 4, "state"),
                motion_waves(motion),
            ],
            axis=-1,
        )
        return self._features(self._features(known, self.width, "hidden1"), self.width, "hidden2")

    def _features(self, x, features, name):
        dense = Dense(features, self.dtype, name=name)
        return activation(dense(x.reshape(len(x), -1)))


class Sprite(nn.Module):
    """Reads a picture around the arm in the last context frame, writes one around it at frame t.

    A network that draws the arm anywhere in the frame has to learn its look at every place. This
    one learns the look once, about the arm's place. It reads and writes by a spatial transformer,
    as AIR does (Eslami et al. 2016, section 3), here by translation alone.
    """

    channels: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self,
        arm: Arm,
        scene: Scene,
        here: Float[Array, "clips 2"],
    ) -> tuple[
        Float[Array, "frames height width channels"],
        Float[Array, "frames height width 3"],
        Float[Array, "frames height width 1"],
    ]:
        """What adds to the decoder's output; pixels carried from the scene times their mask; it.

        `here`: the arm's place in the scene.
        """
        frame_size = scene.frame.shape[1:3]
        size = _picture(frame_size)
        channels = self.channels + 1
        out = Dense(size[0] * size[1] * channels, self.dtype, SMALL_INIT, name="out")
        picture = out(arm.pose).astype(jnp.float32).reshape(-1, *size, channels)
        drawn, logit = picture[..., :-1], picture[..., -1:]
        mask = jax.nn.sigmoid(logit + _HIDDEN_AT_START)
        carried = mask * (per_frame(_surroundings(scene, here), arm.pose) + 0.5)
        drawn = jnp.concatenate([drawn, carried, mask], axis=-1)
        placed = put(drawn, *about(arm.place, frame_size, size))
        return placed[..., :-4], placed[..., -4:-1], placed[..., -1:]


def _surroundings(scene, here):
    """The scene around the arm, less 0.5: beyond the frame's border it is grey."""
    frame_size = scene.frame.shape[1:3]
    return cut(scene.frame - 0.5, *about(here, frame_size, _picture(frame_size)))


def _picture(frame_size):
    """Its height and width."""
    return tuple(round(share * side) for share, side in zip(_SHARE, frame_size, strict=True))
