"""Before JAX starts: one compilation cache for the whole session, on the CPU.

Programs run a few times here, so most of their time is compilation: it optimises less.
"""

import gc
import os
import tempfile
from importlib import metadata
from pathlib import Path

_CACHE = Path(tempfile.gettempdir()) / f"cvae_jax_test_cache_{os.getuid()}"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
_FLAGS = "--xla_backend_optimization_level=0"
if metadata.version("jaxlib").startswith("0.10."):  # see cvae_jax.parallel.compiler_options
    _FLAGS += " --xla_cpu_use_fusion_emitters=false"
os.environ.setdefault("XLA_FLAGS", _FLAGS)

import jax  # noqa: E402
import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

settings.register_profile("untimed", deadline=None)  # no test judges time
settings.load_profile("untimed")

from cvae_jax import launcher  # noqa: E402
from tests.data_fixtures import read_only_disk, small_disk, tiny_data_dir  # noqa: E402, F401
from tests.run_main import data, trained  # noqa: E402, F401

gc.set_threshold(launcher.COLLECT_AFTER)
_MAPPINGS = Path("/proc/self/maps")


@pytest.fixture(autouse=True, scope="module")
def few_mappings():
    """Lets compiled programs go before the process has its limit of 65,530 mappings of memory.

    A training program holds one or two thousand.
    """
    yield
    if _MAPPINGS.exists() and _MAPPINGS.read_text().count("\n") > 35_000:
        jax.clear_caches()
