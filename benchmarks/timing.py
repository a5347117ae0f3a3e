"""What benchmarks share: the machine's description and measurements in turns."""

import importlib.metadata
import os
import platform
import statistics
from collections.abc import Callable
from pathlib import Path


def machine() -> dict:
    """What it was measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(": ")[2] for line in lines if "model name" in line), "unknown")
    names = ("jax", "flax", "numpy", "pillow", "grain", "array-record", "tensorflow-datasets")
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "load_average_at_start": os.getloadavg()[0],
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in names},
    }


def medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    """Of each figure."""
    return {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}


def alternate(works: dict[str, Callable[[], dict]], rounds: int) -> dict[str, dict]:
    """Medians of each work, all done once in every round."""
    found: dict[str, list] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            found[name].append(work())
    return {name: medians(results) for name, results in found.items()}
