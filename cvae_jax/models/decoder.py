"""Representation g and skips to a frame: the encoder mirrored (Denton & Fergus 2018, B)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cvae_jax.models.layers import (
    NUM_STAGES,
    ConvBlock,
    Dense,
    Head3x3,
    MergeSkip,
    activation,
    rematerialized,
)

_FLOW_STAGE = 3
"""The stage at 1/4 size, where the flow is drawn."""
_FLOW_SCALE = 4.0
"""Pixels that an output of 1 moves by."""


class Decoder(nn.Module):
    """Four stages at 1/8, 1/4, 1/2 and full size, each opened by the encoder's skip.

    One clip's skips serve all of its frames: `g` has a row for every frame, a clip's frames
    together, and the skips have a row for every clip. The results are unbounded; `CVAE.decode`
    makes frames of them.
    `with_flow`: also a flow in pixels, drawn at 1/4 size and enlarged; otherwise None.
    `rematerialized_stages`: how many, the largest first, are made again for a gradient.
    """

    width: int
    out_channels: int
    with_flow: bool
    dtype: jnp.dtype
    rematerialized_stages: int = 0

    @nn.compact
    def __call__(
        self,
        g: Float[Array, "frames *representation"],
        skips: tuple[Float[Array, "clips _ _ _"], ...],
    ) -> tuple[
        Float[Array, "frames height width out_channels"],
        Float[Array, "frames height width 2"] | None,
    ]:
        w = self.width
        height, width = skips[-1].shape[1:3]
        g = g.astype(self.dtype)
        if g.ndim == 2:
            x = Dense(height * width // 4 * 8 * w, self.dtype)(g)
            x = activation(x).reshape(-1, height // 2, width // 2, 8 * w)
        else:
            block = rematerialized(ConvBlock, self.rematerialized_stages == NUM_STAGES)
            x = block((8 * w,), self.dtype, name="stage5")(g)
        stages = ((8 * w, 8 * w, 4 * w), (4 * w, 4 * w, 2 * w), (2 * w, w))
        flow = None
        for stage, channels in zip((4, 3, 2), stages, strict=True):
            again = stage <= self.rematerialized_stages
            merge_skip, block = (rematerialized(layer, again) for layer in (MergeSkip, ConvBlock))
            upsample = x.shape[1] < skips[stage - 1].shape[1]
            merge = merge_skip(channels[0], upsample, self.dtype, name=f"merge{stage}")
            x = merge(x, skips[stage - 1])
            x = block(channels[1:], self.dtype, name=f"stage{stage}")(x)
            if self.with_flow and stage == _FLOW_STAGE:
                flow = Head3x3(2, self.dtype, name="flow")(x)
        if flow is not None:
            size = (len(x), *skips[0].shape[1:3], 2)
            flow = jax.image.resize(_FLOW_SCALE * flow.astype(jnp.float32), size, "linear")
        draw = rematerialized(_draw, self.rematerialized_stages > 0)
        return draw(self, x, skips[0]).astype(jnp.float32), flow


def _draw(decoder, x, skip):
    """The stage at full size."""
    x = MergeSkip(decoder.width, upsample=True, dtype=decoder.dtype, name="merge1")(x, skip)
    return Head3x3(decoder.out_channels, decoder.dtype, name="head")(x)
