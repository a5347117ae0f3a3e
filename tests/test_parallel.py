import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from jax.experimental import serialize_executable
from jax.experimental.compilation_cache import compilation_cache

from cvae_jax import cores, parallel

ASK = """
import sys
from cvae_jax import parallel
parallel.share_cores(*map(int, sys.argv[1:]))
import jax
print(jax.local_device_count(), parallel.round_up(4), parallel.round_up(6))
"""


@pytest.mark.parametrize(
    ("batch_size", "cores", "expected"),
    [(12, 1, 1), (12, 2, 2), (12, 3, 3), (12, 64, 4), (10, 4, 2), (7, 4, 1), (4, 3, 2), (1, 8, 1)],
)
def test_a_device_for_each_core_that_the_batch_can_be_shared_by(batch_size, cores, expected):
    assert parallel.cpu_devices(batch_size, cores) == expected


def _devices(*share, **environment):
    """The number of devices, and batches of 4 and 6 rounded up to it."""
    command = [sys.executable, "-c", ASK, *map(str, share)]
    process = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    return tuple(map(int, process.stdout.split()))


def test_cores_become_devices_unless_the_user_set_their_number():
    assert _devices(4)[0] == parallel.cpu_devices(4, len(cores.usable()))
    assert _devices(4, JAX_NUM_CPU_DEVICES="3") == (3, 6, 6)
    assert _devices(4, XLA_FLAGS="--xla_force_host_platform_device_count=5") == (5, 5, 10)


def test_processes_share_the_batch_and_those_of_one_machine_its_cores():
    assert _devices(2, 2)[0] == 1
    assert _devices(4, 1, 2 * len(cores.usable()))[0] == 1


def test_memory_that_is_given_away_counts_once():
    x = jax.ShapeDtypeStruct((2**20,), np.float32)
    kept, given = (
        parallel.memory_of(jax.jit(lambda x: x + 1, donate_argnums=donated).lower(x).compile())
        for donated in ((), (0,))
    )
    assert kept - given == 4 * 2**20 * jax.local_device_count()


SCHEDULER = {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}
EMITTERS = {"xla_cpu_use_fusion_emitters": False} if jax.__version__.startswith("0.10.") else {}


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("", EMITTERS | SCHEDULER),
        ("--xla_cpu_use_fusion_emitters=true", SCHEDULER),
        ("--xla_cpu_scheduler_type=CPU_SCHEDULER_TYPE_DEFAULT", EMITTERS),
    ],
)
def test_options_are_given_where_xla_has_them_unless_the_user_has(monkeypatch, flags, expected):
    assert jax.default_backend() == "cpu"  # XLA reads its flags now
    monkeypatch.setenv("XLA_FLAGS", flags)
    monkeypatch.setitem(parallel._OPTIONS, "xla_cpu_an_option_of_no_xla", True)
    assert parallel.compiler_options() == expected


@pytest.fixture
def empty_cache(tmp_path):
    settings = {
        "jax_compilation_cache_dir": str(tmp_path),
        "jax_persistent_cache_min_compile_time_secs": 0,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    _set_cache(settings)
    yield
    _set_cache(before)


def _set_cache(settings):
    for name, value in settings.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.mark.usefixtures("empty_cache")
def test_program_that_was_compiled_is_read_back_and_one_from_the_cache_is_not(monkeypatch):
    read = []
    load = serialize_executable.deserialize_and_load
    spy = lambda *parts: (read.append("once"), load(*parts))[1]  # noqa: E731
    monkeypatch.setattr(serialize_executable, "deserialize_and_load", spy)
    for _ in range(2):
        program = jax.jit(lambda x: x * 3 + 2).lower(np.ones(7, np.float32))
        result = parallel.compiled(program)(np.ones(7, np.float32))
        np.testing.assert_array_equal(result, np.full(7, 5.0))
        assert read == ["once"]
        jax.clear_caches()  # the program in memory, not the one on disk
