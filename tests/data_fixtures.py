"""A small prepared data set that tests share."""

import pytest

from cvae_jax import config
from cvae_jax.data import preparation


@pytest.fixture(scope="session")
def tiny_data_dir(tmp_path_factory) -> config.DataConfig:
    """Prepares `simulated_push_tiny` once a session; tests must not write to it."""
    folder = tmp_path_factory.mktemp("data")
    data_config = config.DataConfig(source="simulated_push_tiny", dir=str(folder))
    preparation.prepare(data_config)
    return data_config
