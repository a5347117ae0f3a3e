"""Trains tiny steps for half an hour and watches what the process holds: nothing may grow.

    python -m benchmarks.long_run                  30 minutes
    python -m benchmarks.long_run --minutes=2 --folder=runs/trial

Steps, validations and saves follow each other as fast as they can. Memory, file handles, threads
and processor time a step of the last quarter are held against the second quarter's. Time is the
process's own, so that other work on the machine does not count. Writes
benchmarks/results/long_run.json and docs/long_run.png, or both into --folder; exit code 1 if
something grew.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil
from matplotlib.figure import Figure

from benchmarks import timing
from benchmarks.pages import png
from benchmarks.worker import ROOT
from cvae_jax import stopping
from cvae_jax.files import write_atomically, write_json
from cvae_jax.logs import METRICS_FILE, Progress, read_metrics
from cvae_jax.report.drawing import RULE, SERIES

LOG_EVERY, SAVE_EVERY, VALIDATE_EVERY = 20, 50, 100
SECONDS_BETWEEN_SAMPLES = 2.0
ENOUGH = 40
"""Samples without which quarters mean nothing."""


class Sample(NamedTuple):
    """What the process held at a moment."""

    minutes: float
    step: int
    memory_mib: float
    handles: int
    threads: int
    processor_seconds: float


class Quantity(NamedTuple):
    """Something that must not grow: how to sum up a quarter, and by what factor it may."""

    name: str
    of: Callable[[Sequence[Sample]], float]
    allowed: float


QUANTITIES = (
    Quantity("memory_mib", lambda part: statistics.median(s.memory_mib for s in part), 1.02),
    Quantity("handles", lambda part: min(s.handles for s in part), 1.0),  # a save opens some
    Quantity("threads", lambda part: min(s.threads for s in part), 1.0),
    Quantity("processor_seconds_a_step", lambda part: _seconds_a_step(part[0], part[-1]), 1.05),
)


def measure(minutes: float) -> list[Sample]:
    """Samples of a run, from its first logged step to its end by SIGTERM."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shared = [sys.executable, "main.py", "--config=configs/tiny.py"]
        shared.append(f"--config.data.dir={folder / 'data'}")
        subprocess.run([*shared, "--mode=prepare"], cwd=ROOT, check=True)
        workdir = folder / "run"
        process = subprocess.Popen(
            [
                *(*shared, "--mode=train", f"--workdir={workdir}"),
                "--config.train.num_steps=1000000",
                f"--config.train.log_every_steps={LOG_EVERY}",
                f"--config.train.checkpoint_every_steps={SAVE_EVERY}",
                f"--config.train.eval_every_steps={VALIDATE_EVERY}",
            ],
            cwd=ROOT,
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            samples = _watch(process, workdir, minutes)
            process.terminate()
            assert process.wait() == stopping.EXIT_CODE, f"SIGTERM: exit code {process.returncode}"
        finally:
            process.kill()
    return samples


def _watch(process: subprocess.Popen, workdir: Path, minutes: float) -> list[Sample]:
    watched, samples = psutil.Process(process.pid), []
    while not (workdir / METRICS_FILE).exists() or not read_metrics(workdir):
        assert process.poll() is None, f"did not start: exit code {process.returncode}"
        time.sleep(0.1)
    start = time.monotonic()
    total = int(60 * minutes / SECONDS_BETWEEN_SAMPLES)
    with Progress(total, description="samples") as bar:
        for number in range(total):
            time.sleep(max(0.0, start + number * SECONDS_BETWEEN_SAMPLES - time.monotonic()))
            assert process.poll() is None, f"ended by itself: exit code {process.returncode}"
            with watched.oneshot():
                used = watched.cpu_times()
                sample = Sample(
                    (time.monotonic() - start) / 60,
                    read_metrics(workdir)[-1]["step"],
                    watched.memory_info().rss / 2**20,
                    watched.num_fds(),
                    watched.num_threads(),
                    used.user + used.system,
                )
            samples.append(sample)
            bar.advance(MiB=sample.memory_mib, step=sample.step)
    return samples


def compare(samples: Sequence[Sample]) -> dict[str, dict[str, float | bool]]:
    """Of each quantity the second and the last quarter, and whether it is flat."""
    if len(samples) < ENOUGH:
        raise ValueError(f"{len(samples)} samples: too few to compare quarters of")
    quarter = len(samples) // 4
    found = {}
    for name, of, allowed in QUANTITIES:
        second, last = of(samples[quarter : 2 * quarter]), of(samples[-quarter:])
        flat = last <= allowed * second
        found[name] = {"second_quarter": second, "last_quarter": last, "flat": flat}
    return found


def plot(samples: Sequence[Sample]) -> bytes:
    """The four quantities over the minutes."""
    figure = Figure(figsize=(13, 3), layout="constrained")
    minutes = [sample.minutes for sample in samples]
    window = max(1, len(samples) // 40)  # log lines come at other moments than samples
    steps = [_seconds_a_step(*pair) for pair in zip(samples, samples[window:], strict=False)]
    panels = {
        "memory, MiB": [sample.memory_mib for sample in samples],
        "file handles": [sample.handles for sample in samples],
        "threads": [sample.threads for sample in samples],
        "processor seconds a step": steps,
    }
    for axes, (title, values) in zip(figure.subplots(1, 4), panels.items(), strict=True):
        axes.plot(minutes[-len(values) :], values, color=SERIES[0])
        axes.set(title=title, xlabel="minute", ylim=(0, 1.15 * max(values)))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color=RULE)
    return png(figure)


def _seconds_a_step(first: Sample, last: Sample) -> float:
    steps = last.step - first.step
    return (last.processor_seconds - first.processor_seconds) / steps if steps else float("nan")


def main() -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--folder", type=Path, help="for both files")
    asked = parser.parse_args()
    if asked.minutes * 60 < ENOUGH * SECONDS_BETWEEN_SAMPLES:
        parser.error(f"--minutes={asked.minutes}: must be at least 1.5")
    machine = timing.machine()
    samples = measure(asked.minutes)
    found = compare(samples)
    result = {
        "command": " ".join(["python -m benchmarks.long_run", *sys.argv[1:]]),
        "machine": machine,
        "minutes": asked.minutes,
        "steps": samples[-1].step - samples[0].step,
        "every": {"log": LOG_EVERY, "save": SAVE_EVERY, "validate": VALIDATE_EVERY},
        **found,
    }
    results, docs = Path(__file__).parent / "results", ROOT / "docs"
    write_json((asked.folder or results) / "long_run.json", result)
    write_atomically((asked.folder or docs) / "long_run.png", plot(samples))
    for name, figures in found.items():
        print(
            f"{name}: {figures['second_quarter']:.4g} in the second quarter, "
            f"{figures['last_quarter']:.4g} in the last{'' if figures['flat'] else ': GREW'}"
        )
    return 0 if all(figures["flat"] for figures in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
