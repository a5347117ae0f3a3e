"""One step of time without recurrent state: g_t from the window of latest h or g, z_t and c."""

import math

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from cvae_jax.models.layers import (
    CONDITION_FREQUENCIES,
    KERNEL_INIT,
    Dense,
    MatrixConv3x3,
    activation,
    normalized,
    with_waves,
)


class Predictor(nn.Module):
    """g_t = normalised(g_{t-1} + f(window, z_t, conditions)).

    A residual update as in SRVP (Franceschi et al. 2020), with a normaliser that keeps g_t at
    the scale of h_t however many steps it runs on its own results. It remembers its window and
    nothing else.
    """

    width: int
    depth: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self,
        window: Float[Array, "batch window *representation"],
        latent: Float[Array, "batch z_dim"],
        conditions: Float[Array, "batch window condition"],
    ) -> Float[Array, "batch *representation"]:
        """`window` holds h or g of t-K .. t-1, oldest first; `conditions` c of t-K+1 .. t."""
        last = window[:, -1]
        as_map = last.ndim == 4
        past = jnp.concatenate(jnp.unstack(window, axis=1), axis=-1)
        given = self._given(latent, conditions)
        if as_map:
            given = self._paint(given, last.shape[1:3])
        past = jnp.concatenate([past, given], axis=-1)
        x = self._layer(as_map, self.width)(past)
        for _ in range(self.depth):
            inner = self._layer(as_map, self.width)(activation(x))
            x = x + self._layer(as_map, self.width, nn.initializers.zeros)(activation(inner))
        update = self._layer(as_map, last.shape[-1])(activation(x))
        return normalized(last + update.astype(jnp.float32))

    def _layer(self, as_map, features, kernel_init=KERNEL_INIT):
        if as_map:
            return MatrixConv3x3(features, self.dtype, kernel_init)
        return Dense(features, self.dtype, kernel_init)

    def _given(self, latent, conditions):
        """Conditions and latent in one vector, (batch, 4 * width).

        Without waves of the conditions the predicted arm stays blurred several times longer.

        The latent starts without weight: its noise would drown the conditions before the
        posterior has something to say, and training was seen to stay at ignoring both.
        """
        flat = conditions.reshape(len(conditions), math.prod(conditions.shape[1:]))
        width = 4 * self.width
        zeros = nn.initializers.zeros
        x = Dense(width, self.dtype, zeros, name="latent")(latent)
        if flat.shape[1]:  # condition=none has no columns
            features = with_waves(flat, CONDITION_FREQUENCIES)
            x = x + Dense(width, self.dtype, name="conditions")(features)
        return activation(x)

    def _paint(self, given, size):
        """A vector has no place in the image; a dense layer gives it one."""
        channels = max(self.width // 2, 4)
        dense = Dense(size[0] * size[1] * channels, self.dtype)
        return activation(dense(given)).reshape(-1, *size, channels)
