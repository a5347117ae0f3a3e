"""From the command to the end of the first training step, as a user waits for it."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.worker import ROOT, Worker


def measure(width: int, torch_python: str, environment: dict[str, str]) -> dict[str, float]:
    """Seconds of `main.py --mode=train` with an empty and a filled compilation cache, and of SVG.

    Ours ends with the first line of metrics.jsonl, so it reads real clips; SVG, with batches that
    are in memory, is let off that.
    """
    with tempfile.TemporaryDirectory() as folder:
        cache = {"JAX_COMPILATION_CACHE_DIR": str(Path(folder, "cache"))}
        _prepare(folder, environment)
        ours = {
            f"ours, {name} cache": _first_line(width, Path(folder), name, environment | cache)
            for name in ("cold", "warm")
        }
    return ours | {"SVG, published": _peer(width, torch_python, environment)}


def _command(mode: str, folder: str, *flags: str) -> list[str]:
    data = ("--config.data.source=simulated_push_tiny", "--config.data.camera=image_main")
    place = f"--config.data.dir={folder}/data"
    config = "--config=configs/bair.py"
    return [sys.executable, "main.py", f"--mode={mode}", config, *data, place, *flags]


def _prepare(folder: str, environment: dict[str, str]) -> None:
    subprocess.run(
        _command("prepare", folder),
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
        check=True,
    )


def _first_line(width: int, folder: Path, name: str, environment: dict[str, str]) -> float:
    workdir = folder / name
    flags = (f"--config.model.width={width}", "--config.train.log_every_steps=1")
    command = _command("train", str(folder), f"--workdir={workdir}", *flags)
    start = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=ROOT, env=os.environ | environment, stdout=subprocess.DEVNULL
    )
    try:
        metrics = workdir / "metrics.jsonl"
        while not (metrics.exists() and metrics.stat().st_size):
            if process.poll() is not None:
                raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
            time.sleep(0.02)
        return time.perf_counter() - start
    finally:
        process.kill()
        process.wait()


def _peer(width: int, torch_python: str, environment: dict[str, str]) -> float:
    size = {"width": width, "clips": 12, "context": 2, "predicted": 10}
    way = {"free_running": False, "targets_apart": False, "compiled": False}
    command = [torch_python, "-m", "benchmarks.peer.work"]
    start = time.perf_counter()
    with Worker(command, environment, kind="training", **size, **way) as worker:
        worker(1)
        return time.perf_counter() - start
