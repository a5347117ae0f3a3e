import jax
import numpy as np
import pytest

from cvae_jax import losses
from cvae_jax.types import Gaussian


def _integrated_kl(mean, std, prior_mean, prior_std):
    """KL of two normal densities by summing over a fine grid."""
    x = np.linspace(mean - 12 * std, mean + 12 * std, 200_001)
    density = np.exp(-0.5 * ((x - mean) / std) ** 2) / (std * np.sqrt(2 * np.pi))
    log_ratio = (
        -0.5 * ((x - mean) / std) ** 2
        + 0.5 * ((x - prior_mean) / prior_std) ** 2
        + np.log(prior_std / std)
    )
    return np.trapezoid(density * log_ratio, x)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (1.3, 0.4), (-2.0, 2.5), (0.1, 0.05)])
@pytest.mark.parametrize(("prior_mean", "prior_std"), [(0.0, 1.0), (0.5, 2.0)])
def test_kl_equals_numerical_integration(mean, std, prior_mean, prior_std):
    posterior = Gaussian(np.float32([mean]), np.float32([2 * np.log(std)]))
    prior = Gaussian(np.float32([prior_mean]), np.float32([2 * np.log(prior_std)]))
    expected = _integrated_kl(mean, std, prior_mean, prior_std)
    got = losses.kl_divergence(*jax.tree.map(jax.numpy.asarray, (posterior, prior)))
    np.testing.assert_allclose(got[0], expected, rtol=1e-4, atol=1e-5)
    if (prior_mean, prior_std) == (0.0, 1.0):
        np.testing.assert_allclose(
            losses.kl_divergence(jax.tree.map(jax.numpy.asarray, posterior)), got, atol=1e-6
        )


def test_squared_error_is_a_mean_over_pixels_and_channels():
    prediction, target = np.zeros((2, 4, 4, 3), np.float32), np.zeros((2, 4, 4, 3), np.float32)
    target[1, 0, 0, 0] = 2.0
    error = losses.squared_error(jax.numpy.asarray(prediction), jax.numpy.asarray(target))
    np.testing.assert_allclose(error, [0.0, 4.0 / 48])
