"""Runs main.py as a user does, and a small run that tests share."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED_OUT = os.environ["XLA_FLAGS"].replace(
    "use_fusion_emitters=false", "use_fusion_emitters=true"
)
"""XLA_FLAGS of tests in which the way that a batch is shared out may change no bit."""
TINY = "--config=configs/tiny.py"


def main(*arguments, devices=1):
    """Runs main.py and returns the finished process; devices=None leaves their number to it."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    if devices:
        environment["XLA_FLAGS"] += f" --xla_force_host_platform_device_count={devices}"
    return subprocess.run(
        [sys.executable, str(ROOT / "main.py"), *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def done(*arguments, devices=1):
    """What a command prints that ends well."""
    process = main(*arguments, devices=devices)
    assert process.returncode == 0, process.stderr
    return process.stdout


def refused(*arguments):
    """What a refused command says: exit code 2, no traceback."""
    process = main(*arguments)
    assert process.returncode == 2, process.stdout + process.stderr
    assert "Traceback" not in process.stderr
    assert process.stderr.startswith("error: ")
    return process.stderr


def train(workdir, data, *more, devices=1):
    """Trains configs/tiny.py, and returns what that prints."""
    return done("--mode=train", TINY, f"--workdir={workdir}", data, *more, devices=devices)


@pytest.fixture(scope="session")
def data(tiny_data_dir):
    return f"--config.data.dir={tiny_data_dir.dir}"


@pytest.fixture(scope="session")
def trained(data, tmp_path_factory):
    """A workdir with the four steps of configs/tiny.py; not to be changed."""
    workdir = tmp_path_factory.mktemp("run") / "tiny"
    train(workdir, data)
    return workdir
