"""The cores of the machine that this process may use."""

import os


def usable() -> list[int]:
    """Their numbers; fewer than there are under taskset or a scheduler, where the system tells."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
