"""Frame to representation h and skips: the VGG-16 encoder of SVG (Denton & Fergus 2018, B)."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from cvae_jax.models.layers import (
    ConvBlock,
    Dense,
    Head3x3,
    max_pool2x2,
    normalized,
    rematerialized,
)


class Encoder(nn.Module):
    """Four stages of 3x3 convolutions at full, 1/2, 1/4 and 1/8 size, then h, normalised.

    `as_map`: h is the 1/8-size map with g_dim channels; otherwise a vector of g_dim.
    The skips are the four stages' outputs, largest first. No normaliser looks beyond one place
    of one frame, so a frame's h depends on no other frame and on no running statistics.
    `rematerialized_stages`: how many, the largest first, are made again for a gradient.
    """

    width: int
    g_dim: int
    as_map: bool
    dtype: jnp.dtype
    rematerialized_stages: int = 0

    @nn.compact
    def __call__(
        self, frame: Float[Array, "batch height width channels"]
    ) -> tuple[Float[Array, "batch *representation"], tuple[Float[Array, "batch _ _ _"], ...]]:
        w = self.width
        x = frame.astype(self.dtype) * 2.0 - 1.0  # centred, as first layers like it
        skips = []
        for stage, channels in enumerate(((w, w), (2 * w,) * 2, (4 * w,) * 3, (8 * w,) * 3)):
            x = max_pool2x2(x) if stage else x
            block = rematerialized(ConvBlock, stage < self.rematerialized_stages)
            x = block(channels, self.dtype, name=f"stage{stage + 1}")(x)
            skips.append(x)
        if self.as_map:
            head = Head3x3(self.g_dim, self.dtype, nn.initializers.lecun_normal(), name="head")
            h = head(x)  # (batch, height/8, width/8, g_dim)
        else:
            x = max_pool2x2(x)
            x = x.reshape(x.shape[0], -1)
            h = Dense(self.g_dim, self.dtype, name="head")(x)
        return normalized(h), tuple(skips)
