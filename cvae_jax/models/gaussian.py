"""Heads that give the mean and log-variance of the latent z_t."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cvae_jax.models.layers import Dense, activation
from cvae_jax.types import Gaussian

_LOGVAR_RANGE = 10.0
"""Largest |logvar|, reached smoothly, so that exp(logvar) stays finite whatever the input."""


class GaussianHead(nn.Module):
    """q(z_t | h_t, h_{t-1}, c_t), or a learned prior p(z_t | h_{<t}, c_t), by what it is given."""

    z_dim: int
    width: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self,
        representations: tuple[Float[Array, "batch *representation"], ...],
        condition: Float[Array, "batch condition"],
    ) -> Gaussian:
        x = jnp.concatenate(representations, axis=-1)
        if x.ndim == 4:  # maps: mix channels, then flatten what is left of them
            dense = Dense(max(self.width // 8, 4), self.dtype)
            x = activation(dense(x)).reshape(x.shape[0], -1)
        x = jnp.concatenate([x, condition], axis=-1)
        x = activation(Dense(self.width, self.dtype)(x))
        dense = Dense(2 * self.z_dim, self.dtype, nn.initializers.lecun_normal(), name="heads")
        heads = dense(x).astype(jnp.float32)
        mean, logvar = jnp.split(heads, 2, axis=-1)
        return Gaussian(mean, _LOGVAR_RANGE * jnp.tanh(logvar / _LOGVAR_RANGE))


def sample(gaussian: Gaussian, noise: Float[Array, "*batch z_dim"]) -> Float[Array, "*batch z_dim"]:
    """Z = mean + std * noise with std = exp(0.5 * logvar) (Kingma & Welling 2014, section 2.4)."""
    return gaussian.mean + jnp.exp(0.5 * gaussian.logvar) * noise


def noise_for(keys: jax.Array, shape: tuple[int, ...]) -> Float[Array, "batch *shape"]:
    """Standard normal noise of `shape` for each example from its own key."""
    return jax.vmap(lambda key: jax.random.normal(key, shape))(keys)
