"""The conditional VAE for ONE time step: encode, posterior, prior, predict, decode."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cvae_jax.config import ModelConfig
from cvae_jax.models.decoder import Decoder
from cvae_jax.models.encoder import Encoder
from cvae_jax.models.gaussian import GaussianHead
from cvae_jax.models.layers import NUM_STAGES, logit, per_frame
from cvae_jax.models.place import Place, SeenPlace
from cvae_jax.models.predictor import Predictor
from cvae_jax.models.push import Filling, Ground, Push, Pushed, Things
from cvae_jax.models.sprite import Pose, Sprite
from cvae_jax.models.warp import warp
from cvae_jax.types import Arm, Gaussian, Motion, Scene

FRAME_CHANNELS = 3
_COMPOSITE_CHANNELS = 2 * FRAME_CHANNELS + 2
"""A retouch and a new frame, and the logits of the new frame's and the moved frame's mask."""


class CVAE(nn.Module):
    """SVG (Denton & Fergus 2018), its prior fixed or learned; action-conditioned, without LSTMs.

    Every method maps a batch of single steps; rollout.py puts them in time.
    `full_size_again`: maps of a frame's size are made again for a gradient, not kept.
    """

    config: ModelConfig
    full_size_again: bool = False

    def setup(self):
        config, dtype = self.config, jnp.dtype(self.config.dtype)
        again = NUM_STAGES if config.rematerialize else int(self.full_size_again)
        as_map = config.predictor == "conv"
        self.encoder = Encoder(config.width, config.g_dim, as_map, dtype, again)
        composite = config.output == "composite"
        channels = _COMPOSITE_CHANNELS if composite else FRAME_CHANNELS
        self.decoder = Decoder(config.width, channels, composite, dtype, again)
        if composite:
            self.place, self.seen_place = Place(), SeenPlace()
            self.pose = Pose(4 * config.predictor_width, dtype)
            self.sprite = Sprite(channels, dtype)
            self.ground, self.pusher = Ground(dtype), Push(dtype)
        self.posterior_head = GaussianHead(config.z_dim, config.predictor_width, dtype)
        self.predictor = Predictor(config.predictor_width, config.predictor_depth, dtype)
        if config.prior == "learned":
            self.prior_head = GaussianHead(config.z_dim, config.predictor_width, dtype)

    def encode(self, frame: Float[Array, "batch height width 3"]):
        """H of each frame, (batch, g_dim) or (batch, height/8, width/8, g_dim), and its skips."""
        return self.encoder(frame)

    def posterior(
        self,
        h: Float[Array, "batch *representation"],
        previous_h: Float[Array, "batch *representation"],
        condition: Float[Array, "batch condition"],
    ) -> Gaussian:
        """q(z_t | h_t, h_{t-1}, c_t)."""
        return self.posterior_head((h, previous_h), condition)

    def prior(
        self,
        window: Float[Array, "batch window *representation"],
        condition: Float[Array, "batch condition"],
    ) -> Gaussian:
        """N(0, I), or p(z_t | window, c_t) if the prior is learned."""
        if self.config.prior == "fixed":
            zeros = jnp.zeros((window.shape[0], self.config.z_dim))
            return Gaussian(zeros, zeros)
        return self.prior_head(tuple(jnp.unstack(window, axis=1)), condition)

    def predict(
        self,
        window: Float[Array, "batch window *representation"],
        latent: Float[Array, "batch z_dim"],
        conditions: Float[Array, "batch window condition"],
    ) -> Float[Array, "batch *representation"]:
        """g_t from the latest h or g (oldest first), z_t and the conditions of the same steps."""
        return self.predictor(window, latent, conditions)

    @property
    def has_arm(self) -> bool:
        """Whether c tells where an arm is, and the output has layers for it."""
        return self.config.output == "composite" and self.config.condition != "none"

    def hold(
        self, g: Float[Array, "frames *representation"], motion: Motion, scene: Scene
    ) -> Arm | None:
        """The arm at the frames of `g`, or None."""
        if not self.has_arm:
            return None
        pose = self.pose(g, motion, scene, self._place_in(scene))
        return Arm(motion, self._place_at(motion, scene), pose)

    def start_pushing(self, scene: Scene) -> tuple[Pushed, Filling]:
        """The things of the last context frame, before anything moves (models/push.py)."""
        return self.ground(scene, self._place_in(scene))

    def push(self, pushed: Pushed, filling: Filling, arm: Arm) -> tuple[Pushed, Things]:
        """One frame on: where things are then."""
        return self.pusher(pushed, filling, arm)

    def decode(
        self,
        g: Float[Array, "frames *representation"],
        scene: Scene,
        arm: Arm | None,
        things: Things | None,
    ) -> Float[Array, "frames height width 3"]:
        """The frames of `g` in [0, 1]; a clip's frames stand together, its skips serve them all.

        With output=composite a frame is, pixel by pixel, a mix of three (masks as in Finn et al.
        2016): the last context frame retouched where it stands, for what stays; the same with
        its pixels moved by a flow, for ground that the arm uncovers; and a new one, for the arm.
        With an arm, the things that it has pushed cover the first two, which cannot fade them.
        And a sprite (sprite.py) adds what follows the arm, and lays pixels about it, carried from
        the last context frame, over all.
        """
        out, flow = self.decoder(g, scene.skips)
        if flow is None:
            return jax.nn.sigmoid(out)
        if arm is None or things is None:
            still = per_frame(scene.frame, out)
        else:
            still = things.ground
            drawn, carried, carried_mask = self.sprite(arm, scene, self._place_in(scene))
            out = out + drawn
        retouch, new, logits = jnp.split(out, (FRAME_CHANNELS, 2 * FRAME_CHANNELS), axis=-1)
        masks = jax.nn.softmax(jnp.pad(logits, ((0, 0), (0, 0), (0, 0), (1, 0))), axis=-1)
        ground = masks[..., :1] * jax.nn.sigmoid(retouch + logit(still))
        ground = ground + masks[..., 2:] * warp(scene.frame, flow)
        new = masks[..., 1:2] * jax.nn.sigmoid(new)
        if things is None:
            return ground + new
        ground = (1.0 - things.shown) * ground + (1.0 - masks[..., 1:2]) * things.moved
        return (1.0 - carried_mask) * (ground + new) + carried

    def _place_at(self, motion, scene):
        """Of the arm at the frames of `motion`."""
        if self.config.condition == "action_position":
            return self.place(motion.step)
        return self.seen_place(scene.frame, motion.path)

    def _place_in(self, scene):
        """Of the arm in the scene, where its path is 0."""
        motion = Motion(scene.condition, jnp.zeros_like(scene.condition))
        return jax.lax.stop_gradient(self._place_at(motion, scene))

    def __call__(
        self,
        frame: Float[Array, "batch height width 3"],
        latent: Float[Array, "batch z_dim"],
        conditions: Float[Array, "batch window condition"],
        path: Float[Array, "batch action"],
    ) -> Float[Array, "batch height width 3"]:
        """The next frame after a window of equal frames; touches every parameter, for `init`."""
        h, skips = self.encode(frame)
        window = jnp.stack([h] * self.config.window, axis=1)
        self.posterior(h, h, conditions[:, -1])
        self.prior(window, conditions[:, -1])
        g = self.predict(window, latent, conditions)
        motion, scene = Motion(conditions[:, -1], path), Scene(skips, frame, conditions[:, -1])
        arm = self.hold(g, motion, scene)
        things = None if arm is None else self.push(*self.start_pushing(scene), arm)[1]
        return self.decode(g, scene, arm, things)
