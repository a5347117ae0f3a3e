import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvae_jax.models.gaussian import GaussianHead, noise_for, sample
from cvae_jax.types import Gaussian


def test_a_sample_is_the_mean_and_noise_times_the_square_root_of_the_variance():
    gaussian = Gaussian(jnp.array([1.0, -2.0, 0.5]), jnp.log(jnp.array([4.0, 1.0, 0.25])))
    found = sample(gaussian, jnp.array([1.0, -1.0, 2.0]))
    np.testing.assert_allclose(found, [3.0, -3.0, 1.5], rtol=1e-6)


def test_noise_of_an_example_is_standard_normal_and_its_key_s_alone():
    keys = jax.random.split(jax.random.key(0), 4)
    noise = noise_for(keys, (100, 64))
    assert (noise.mean(), noise.std()) == (pytest.approx(0, abs=0.02), pytest.approx(1, abs=0.02))
    np.testing.assert_array_equal(noise_for(keys[2:], (100, 64)), noise[2:])


@pytest.mark.parametrize("shape", [(16,), (4, 4, 8)])
def test_the_head_sees_all_that_it_is_given_and_its_variance_stays_finite(shape):
    head = GaussianHead(z_dim=3, width=32, dtype=jnp.dtype("float32"))
    keys = jax.random.split(jax.random.key(1), 4)
    given = tuple(jax.random.normal(key, (2, *shape)) for key in keys[:2])
    condition = jax.random.normal(keys[2], (2, 7))
    params = head.init(keys[3], given, condition)

    def outputs(given, condition):
        return sum(jnp.abs(x).sum() for x in head.apply(params, given, condition))

    for gradient in jax.tree.leaves(jax.grad(outputs, argnums=(0, 1))(given, condition)):
        assert (jnp.abs(gradient).reshape(2, -1).max(axis=1) > 1e-4).all()
    huge = head.apply(params, tuple(1e6 * x for x in given), condition)
    assert np.abs(huge.logvar).max() == pytest.approx(10.0)
