"""Settings of the process and care for its memory that a user should not have to know of.

A setting that its environment variable has already is left alone, but for JAX_ENABLE_X64.
"""

import ctypes
import gc
import os
import sys
from pathlib import Path

MALLOC = (
    "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=4294967296:"
    "glibc.malloc.trim_threshold=17179869184:glibc.malloc.top_pad=268435456:"
    "glibc.malloc.arena_max=1"  # the arenas of threads give large buffers back at once
)

COLLECT_AFTER = 50_000
"""New objects before Python looks for cycles. Tracing makes hundreds of thousands that stay, and
after every 700, which is usual, the search costs a tenth of a short command's time."""


def prepare_process() -> None:
    """Restarts the process with a malloc that keeps large buffers, and caches compilations.

    XLA on a CPU takes and returns buffers of many MiB in each step; unless malloc keeps them,
    every use page-faults anew. glibc reads the setting only at the start, hence the restart. A
    GLIBC_TUNABLES that is already set, even to nothing, is left alone and turns it off.
    Compilations are kept in .cache/jax; a JAX_COMPILATION_CACHE_DIR that is set is left alone.
    JAX_ENABLE_X64 is not: all is computed, and saved, in float32 or less. Python looks for cycles
    of dropped objects less often.
    """
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(".cache/jax").absolute()))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "1")
    os.environ["JAX_ENABLE_X64"] = "0"
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = MALLOC
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    gc.set_threshold(COLLECT_AFTER)


def give_back_memory() -> None:
    """Gives the pages of freed buffers back, which the malloc set above holds.

    For after compiling, which leaves hundreds of MiB in pieces too small for a step.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
