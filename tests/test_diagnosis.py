import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import tiny
from cvae_jax import diagnosis, train_state, validation
from cvae_jax.data.pipeline import Batch


@pytest.fixture(scope="module")
def config():
    return validation.from_config_dict(tiny.get_config())


@pytest.fixture(scope="module")
def params(config):
    return jax.device_get(train_state.create(config, 4, 3).params)


def _batch():
    rng = np.random.default_rng(0)
    shape = (1, 5)
    return Batch(
        rng.integers(0, 256, (*shape, 64, 64, 3), dtype=np.uint8),
        rng.normal(size=(*shape, 4)).astype(np.float32),
        rng.normal(size=(*shape, 3)).astype(np.float32),
        np.array([7], np.int32),
    )


def _changed(params, path, change):
    """A copy of nested dictionaries with one leaf changed."""
    name, _, rest = path.partition("/")
    value = _changed(params[name], rest, change) if rest else change(params[name])
    return params | {name: value}


def _with_nan(array):
    return np.where(np.arange(len(array)) == 0, np.float32("nan"), array)


def _find(config, params, batch=None, forced=False, kl_weight=0.1):
    use_true = np.full((1, 3), forced)
    return diagnosis.find(config, params, batch or _batch(), use_true, kl_weight, 0)


@pytest.mark.parametrize("forced", [True, False])
def test_first_layer_is_named_with_its_tensor(config, params, forced):
    huge = lambda x: jnp.full_like(x, 3e38)  # noqa: E731
    told = _find(config, _changed(params, "encoder/stage2/Conv3x3_1/gain", huge), forced=forced)
    assert told.startswith("layer encoder/stage2/Conv3x3_1: output float32[5,32,32,8]"), told
    assert "infinite)" in told
    assert "\n" not in told


def test_bad_data_and_parameters_are_told_before_any_layer(config, params):
    batch = _batch()
    batch.action[0, 2, 1] = np.nan
    told = _find(config, params, batch)
    assert told == "before any layer, the batch's action float32[1,5,4] (1 NaN, 0 infinite)"
    broken = _changed(params, "encoder/stage1/Conv3x3_0/bias", _with_nan)
    assert _find(config, jax.tree.map(jnp.asarray, broken)).startswith(
        "before any layer, parameter encoder/stage1/Conv3x3_0/bias float32[4] (1 NaN"
    )


def test_a_gradient_alone_that_is_not_finite_is_told_by_its_parameter(config, params):
    params = jax.tree.map(jnp.asarray, params)
    for path, change in (
        ("posterior_head/Dense_0/bias", lambda x: jnp.full_like(x, 1e30)),  # what heads reads
        ("posterior_head/heads/kernel", jnp.zeros_like),
        ("posterior_head/heads/bias", lambda x: x.at[:4].set(5e18)),  # means, whose square fits
        ("predictor/latent/kernel", jnp.zeros_like),
    ):
        params = _changed(params, path, change)
    told = _find(config, params, forced=True)
    assert told.startswith(
        "every layer and the loss are finite, the gradient is not, first of parameter "
        "posterior_head/heads/kernel float32[8,8] ("
    ), told
    assert f"; 1 of {len(jax.tree.leaves(params))} parameters have such a one" in told
