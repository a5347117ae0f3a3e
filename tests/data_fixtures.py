"""A small prepared data set, and a small disk, that tests share."""

import subprocess

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


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of its own with hardly any room."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"cannot mount a small disk here: {error}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
