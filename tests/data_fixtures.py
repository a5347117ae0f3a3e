"""A small prepared data set, and a small disk, that tests share."""

import contextlib
import shutil
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


@contextlib.contextmanager
def _disk(folder, options):
    """Mounts a disk in memory at `folder`."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"cannot mount a disk here: {error}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of its own with hardly any room."""
    with _disk(tmp_path / "disk", "size=64k") as folder:
        yield folder


@pytest.fixture
def read_only_disk(tmp_path, trained):
    """A disk that holds a copy of `trained`, and takes no writes any more."""
    with _disk(tmp_path / "disk", "size=64m") as folder:
        shutil.copytree(trained, folder / "run")
        remount = ["mount", "-o", "remount,ro", str(folder)]
        subprocess.run(remount, check=True, capture_output=True)
        yield folder
