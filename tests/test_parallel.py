import os
import subprocess
import sys

import jax
import pytest

from cvae_jax import parallel

ASK = """
from cvae_jax import parallel
parallel.share_cores(4)
import jax
print(jax.local_device_count())
"""


@pytest.mark.parametrize(
    ("batch_size", "cores", "expected"),
    [(12, 1, 1), (12, 2, 2), (12, 3, 3), (12, 64, 4), (10, 4, 2), (7, 4, 1), (4, 3, 2), (1, 8, 1)],
)
def test_a_device_for_each_core_that_the_batch_can_be_shared_by(batch_size, cores, expected):
    assert parallel.cpu_devices(batch_size, cores) == expected


def _devices(**environment):
    process = subprocess.run(
        [sys.executable, "-c", ASK], env=os.environ | environment, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    return int(process.stdout)


def test_cores_become_devices_unless_the_user_set_their_number():
    assert _devices() == parallel.cpu_devices(4, len(os.sched_getaffinity(0)))
    assert _devices(JAX_NUM_CPU_DEVICES="3") == 3
    assert _devices(XLA_FLAGS="--xla_force_host_platform_device_count=5") == 5


@pytest.mark.parametrize(
    ("version", "flags", "expected"),
    [
        ("0.10.2", "", {"xla_cpu_use_fusion_emitters", "xla_cpu_scheduler_type"}),
        ("0.10.2", "--xla_cpu_use_fusion_emitters=true", {"xla_cpu_scheduler_type"}),
        ("0.12.0", "", set()),  # its XLA has no such options
    ],
)
def test_options_are_given_where_xla_has_them_unless_the_user_has(
    monkeypatch, version, flags, expected
):
    assert jax.default_backend() == "cpu"  # XLA reads its flags now
    monkeypatch.setattr(jax, "__version__", version)
    monkeypatch.setenv("XLA_FLAGS", flags)
    assert parallel.compiler_options().keys() == expected
