"""Settings of the process that a user should not have to know, each off by one variable."""

import os
import sys
from importlib import metadata
from pathlib import Path

MALLOC = (
    "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=4294967296:"
    "glibc.malloc.trim_threshold=17179869184:glibc.malloc.top_pad=268435456:"
    "glibc.malloc.arena_max=1"  # the arenas of threads give large buffers back at once
)

_EMITTERS = "--xla_cpu_use_fusion_emitters"
_KNOWN_IN = ("0.10.", "0.11.", "0.12.")
"""Versions of jaxlib in which XLA has the flag; it ends a process that names one it has not."""


def xla_flags(given: str) -> str:
    """XLA_FLAGS with XLA's older emitters of fused loops on a CPU, unless `given` names them.

    They compile sooner, and what they make runs faster (docs/performance.md).
    """
    known = metadata.version("jaxlib").startswith(_KNOWN_IN)
    return f"{given} {_EMITTERS}=false".strip() if known and _EMITTERS not in given else given


def prepare_process() -> None:
    """Sets flags of XLA, caches compilations, restarts with a malloc that keeps large buffers.

    XLA on a CPU takes and returns buffers of many MiB in each step; unless malloc keeps them,
    every use page-faults anew. glibc reads the setting only at the start, hence the restart. A
    GLIBC_TUNABLES that is already set, even to nothing, is left alone and turns it off.
    Compilations are kept in .cache/jax; a JAX_COMPILATION_CACHE_DIR that is set is left alone.
    """
    os.environ["XLA_FLAGS"] = xla_flags(os.environ.get("XLA_FLAGS", ""))
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(".cache/jax").absolute()))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "1")
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = MALLOC
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
