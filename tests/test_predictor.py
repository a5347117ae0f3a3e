import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvae_jax.models.layers import normalized
from cvae_jax.models.predictor import Predictor

SHAPES = {"vector": (16,), "map": (4, 4, 16)}


@pytest.fixture(params=SHAPES)
def setting(request):
    """A predictor of a window of 3, its parameters and what it is given."""
    keys = jax.random.split(jax.random.key(0), 4)
    window = jax.random.normal(keys[0], (2, 3, *SHAPES[request.param]))
    latent, conditions = jax.random.normal(keys[1], (2, 5)), jax.random.normal(keys[2], (2, 3, 7))
    model = Predictor(width=16, depth=2, dtype=jnp.dtype("float32"))
    return model, model.init(keys[3], window, latent, conditions), (window, latent, conditions)


def test_without_an_update_the_latest_is_kept_normalised(setting):
    model, params, given = setting
    found = model.apply(jax.tree.map(jnp.zeros_like, params), *given)
    np.testing.assert_allclose(found, normalized(given[0][:, -1]), atol=1e-6)


def test_the_update_adds_to_the_latest_and_starts_with_window_and_conditions_alone(setting):
    model, params, (window, latent, conditions) = setting
    found = model.apply(params, window, latent, conditions)
    assert np.abs(found - normalized(window[:, -1])).max() > 0.1
    np.testing.assert_array_equal(model.apply(params, window, -latent, conditions), found)
    for changed in (
        (window.at[:, 0].multiply(-1), latent, conditions),
        (window, latent, conditions.at[:, 0].multiply(-1)),
        (window, latent, conditions.at[:, 2].multiply(-1)),
    ):
        assert np.abs(model.apply(params, *changed) - found).max() > 1e-3


def test_the_latent_is_heard_once_it_has_weight(setting):
    model, params, (window, latent, conditions) = setting
    weight = params["params"]["latent"]
    weight["kernel"] = weight["kernel"] + 0.1
    one, other = (model.apply(params, window, sign * latent, conditions) for sign in (1, -1))
    assert np.abs(one - other).max() > 1e-3
