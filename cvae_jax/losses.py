"""Terms of the evidence lower bound, unreduced; the training step weighs and averages them."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from cvae_jax.types import Gaussian


def squared_error(
    prediction: Float[Array, "*batch height width channels"],
    target: Float[Array, "*batch height width channels"],
) -> Float[Array, "*batch"]:
    """Squared error of frames in [0, 1], a mean over pixels and channels."""
    return jnp.square(prediction - target).mean(axis=(-3, -2, -1))


def kl_divergence(
    posterior: Gaussian, prior: Gaussian | None = None
) -> Float[Array, "*batch z_dim"]:
    """KL(posterior || prior) in nats for each latent dimension; the prior is N(0, I) if None.

    Against N(0, I) this is -0.5 * (1 + logvar - mean^2 - exp(logvar)) (Kingma & Welling 2014,
    appendix B); between two Gaussians, Denton & Fergus 2018, section 3.2.
    """
    mean, logvar = posterior
    if prior is None:
        return -0.5 * (1.0 + logvar - jnp.square(mean) - jnp.exp(logvar))
    scaled_distance = jnp.square(mean - prior.mean) * jnp.exp(-prior.logvar)
    difference = logvar - prior.logvar
    return -0.5 * (1.0 + difference - scaled_distance - jnp.exp(difference))
