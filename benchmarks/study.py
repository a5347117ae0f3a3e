"""The lab's discussion as a study: small runs that differ in one thing each, over several seeds.

    make study
    python -m benchmarks.study --jobs=1
    python -m benchmarks.study --write

Trains and evaluates each arm of study_arms.py with each seed through main.py, a core for each run,
and writes benchmarks/results/study.json; docs/study.md and its plots are made of that file alone,
by `--write` without any run. A study that was stopped goes on where it was. To try it out:

    python -m benchmarks.study --steps=8 --seeds=1 --arms=skip_latest --folder=runs/trial \
        --results=runs/trial/study.json --docs=runs/trial
"""

import argparse
import os
import queue
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from benchmarks import study_page, study_runs, timing
from benchmarks.study_arms import ARMS
from benchmarks.study_runs import Run, Setting
from benchmarks.worker import ROOT
from configs.study import NUM_STEPS
from cvae_jax import config as config_lib
from cvae_jax import cores
from cvae_jax.errors import UserError
from cvae_jax.files import lock, read_json, write_json
from cvae_jax.logs import Progress

RESULTS = Path(__file__).parent / "results" / "study.json"


def main() -> None:
    """Does the runs that are missing, unless only the page is asked for, then writes the page."""
    arguments = parse()
    try:
        if not arguments.write:
            with lock(arguments.folder, "choose another --folder"):
                write_json(arguments.results, measure(arguments))
        study_page.write(arguments.docs, read_json(arguments.results))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from what is saved", file=sys.stderr)
        sys.exit(130)
    print(f"written to {arguments.results} and {arguments.docs / 'study.md'}")


def parse() -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    num_cores = len(cores.usable())
    parser.add_argument("--write", action="store_true", help="only the page, of the results so far")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each arm")
    parser.add_argument("--steps", type=int, default=NUM_STEPS, help="of each run")
    parser.add_argument("--arms", default="", help="names with commas; the baseline is always in")
    parser.add_argument("--jobs", type=int, default=num_cores, help="runs side by side")
    parser.add_argument("--data_dir", default="data", help="folder of the prepared data")
    parser.add_argument("--folder", type=Path, default=Path("runs/study"), help="of the runs")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the file of all figures")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="folder of the page")
    arguments = parser.parse_args()
    for name, low, high in (("seeds", 1, 100), ("steps", 8, 10**6), ("jobs", 1, num_cores)):
        if not low <= (value := getattr(arguments, name)) <= high:
            parser.error(f"--{name}={value}: must be {low} to {high}")
    known = [arm.name for arm in ARMS]
    for name in filter(None, arguments.arms.split(",")):
        if name not in known:
            parser.error(f"--arms={name}: no such arm; choose of {', '.join(known)}")
    return arguments


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Prepares the data, does the runs that are not done and gathers what all of them found."""
    start, machine = time.monotonic(), timing.machine()
    setting = Setting(arguments.folder, arguments.data_dir, arguments.steps)
    asked = set(filter(None, arguments.arms.split(",")))
    chosen = [arm for arm in ARMS if not asked or not arm.question or arm.name in asked]
    runs = [Run(setting, arm, seed) for arm in chosen for seed in range(arguments.seeds)]
    print("preparing the data, unless they are there", flush=True)
    study_runs.main_py(["--mode=prepare", *runs[0].flags], arguments.folder / "prepare.log")
    todo = [run for run in runs if not study_runs.is_done(run)]
    side_by_side(todo, arguments.jobs, len(runs))
    baseline = config_lib.to_dict(runs[0].config)
    del baseline["data"]["dir"]  # this machine's
    return {
        "command": " ".join(["python -m benchmarks.study", *sys.argv[1:]]),
        "machine": machine | {"load_average_at_end": os.getloadavg()[0]},
        "jobs": arguments.jobs,
        "runs_of_this_command": len(todo),
        "minutes_of_this_command": (time.monotonic() - start) / 60,
        "baseline": baseline,
        "protocol": runs[0].evaluation["protocol"],
        "arms": [arm._asdict() for arm in chosen],
        "runs": [study_runs.figures(run) for run in runs],
    }


def side_by_side(todo: list[Run], jobs: int, total: int) -> None:
    """Does each run on a core of its own; after a failure no other is begun.

    The seeds of an arm start together: a later arm of the same seed finds its programs compiled.
    """
    free: queue.SimpleQueue[int] = queue.SimpleQueue()
    for core in cores.usable()[:jobs]:
        free.put(core)

    def pin() -> None:  # of this thread, and so of the processes that it starts
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {free.get()})

    stop = threading.Event()

    def do(run: Run) -> None:
        if stop.is_set():
            return
        try:
            study_runs.do(run)
        except BaseException:
            stop.set()
            raise

    with (
        ThreadPoolExecutor(jobs, initializer=pin) as pool,
        Progress(total, total - len(todo), "study", frames_per_run(todo)) as bar,
    ):
        try:
            for done in as_completed([pool.submit(do, run) for run in todo]):
                done.result()
                bar.advance()
        finally:
            stop.set()  # after Ctrl-C, too


def frames_per_run(runs: list[Run]) -> int:
    """That training processes in each of them."""
    if not runs:
        return 1
    data, train = runs[0].config.data, runs[0].config.train
    return (
        train.num_steps * train.batch_size * (data.num_context_frames + data.num_predicted_frames)
    )


if __name__ == "__main__":
    main()
