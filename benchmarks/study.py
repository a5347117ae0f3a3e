"""The lab's discussion as a study: small runs that differ in one thing each, over several seeds.

    make study
    python -m benchmarks.study --jobs=8
    python -m benchmarks.study --write

Trains and evaluates each arm of study_arms.py with each seed through main.py, a core for each run,
and writes benchmarks/results/study.json; docs/study.md and its plots are made of that file alone,
by `--write` without any run. A study that was stopped goes on where it was.
"""

import argparse
import os
import queue
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from benchmarks import study_page, timing
from benchmarks.speed import launcher_environment
from benchmarks.study_arms import Arm, arms
from benchmarks.worker import ROOT
from configs import study as study_config
from cvae_jax import config as config_lib
from cvae_jax import run_folder, validation
from cvae_jax.errors import UserError
from cvae_jax.files import lock, read_json, write_json
from cvae_jax.logs import Progress, read_metrics

RESULTS = Path(__file__).parent / "results" / "study.json"
CURVES = ("train/mse", "train/kl", "train/kl_weight", "train/teacher_forcing_ratio")
VALIDATION = "validation/psnr_mean"


def main() -> None:
    """Runs what is missing, unless only the page is asked for, then writes the page."""
    arguments = parse()
    try:
        if not arguments.write:
            with lock(arguments.folder, "choose another --folder"):
                run(arguments)
        study_page.write(arguments.docs, read_json(arguments.results))
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on from what is saved")
    print(f"written to {arguments.results} and {arguments.docs / 'study.md'}")


def parse() -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    cores = usable_cores()
    parser.add_argument("--write", action="store_true", help="only the page, of the results so far")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each arm")
    parser.add_argument("--steps", type=int, default=study_config.NUM_STEPS, help="of each run")
    parser.add_argument("--arms", default="", help="names with commas; the baseline is always in")
    parser.add_argument("--jobs", type=int, default=len(cores), help="runs side by side")
    parser.add_argument("--data_dir", default="data", help="folder of the prepared data")
    parser.add_argument("--folder", type=Path, default=Path("runs/study"), help="of the runs")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the file of all figures")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="folder of the page")
    arguments = parser.parse_args()
    known = [arm.name for arm in arms(arguments.steps)]
    for name in filter(None, arguments.arms.split(",")):
        if name not in known:
            parser.error(f"--arms={name}: no such arm; choose of {', '.join(known)}")
    for name, most in (("seeds", 100), ("steps", 10**6), ("jobs", len(cores))):
        if not 1 <= (value := getattr(arguments, name)) <= most:
            parser.error(f"--{name}={value}: must be 1 to {most}")
    return arguments


def run(arguments: argparse.Namespace) -> None:
    """Prepares the data, does the runs that are not done and writes the results."""
    start, machine = time.monotonic(), timing.machine()
    asked = set(filter(None, arguments.arms.split(",")))
    every = arms(arguments.steps)
    chosen = [arm for arm in every if not asked or not arm.question or arm.name in asked]
    main_py("prepare", flags(arguments, every[0], 0), arguments.folder / "prepare.log")
    runs = [(arm, seed) for arm in chosen for seed in range(arguments.seeds)]
    todo = [(arm, seed) for arm, seed in runs if not is_done(arguments, arm, seed)]
    side_by_side(arguments, todo, len(runs))
    measured = [figures_of(arguments, arm, seed) for arm, seed in runs]
    result = {
        "command": f"python -m benchmarks.study {' '.join(sys.argv[1:])}".strip(),
        "machine": machine | {"load_average_at_end": os.getloadavg()[0]},
        "jobs": arguments.jobs,
        "runs_of_this_command": len(todo),
        "minutes_of_this_command": (time.monotonic() - start) / 60,
        "baseline": config_lib.to_dict(config_of(arguments, chosen[0], 0)),
        "protocol": evaluation_of(arguments, chosen[0], 0)["protocol"],
        "arms": [arm._asdict() for arm in chosen],
        "runs": measured,
    }
    del result["baseline"]["data"]["dir"]  # the machine's
    write_json(arguments.results, result)


def side_by_side(arguments: argparse.Namespace, todo: list[tuple[Arm, int]], total: int) -> None:
    """Trains and evaluates, each run on a core of its own; the first failure ends it.

    Seeds of an arm start together: a later arm of the same seed finds its compiled programs.
    """
    free: queue.SimpleQueue[int] = queue.SimpleQueue()
    for core in usable_cores()[: arguments.jobs]:
        free.put(core)

    def pin() -> None:  # of this thread, and so of the processes that it starts
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {free.get()})

    with (
        ThreadPoolExecutor(arguments.jobs, initializer=pin) as pool,
        Progress(total, total - len(todo), "study") as bar,
    ):
        futures = [pool.submit(train_and_evaluate, arguments, arm, seed) for arm, seed in todo]
        try:
            for future in as_completed(futures):
                future.result()
                bar.advance()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def train_and_evaluate(arguments: argparse.Namespace, arm: Arm, seed: int) -> None:
    """One run; main.py itself goes on with a run that was stopped."""
    start = time.monotonic()
    workdir = workdir_of(arguments, arm, seed)
    log = workdir.with_suffix(".log")
    log.unlink(missing_ok=True)
    main_py("train", [f"--workdir={workdir}", *flags(arguments, arm, seed)], log)
    main_py("evaluate", [f"--workdir={workdir}", "--checkpoint=latest"], log)
    write_json(workdir / "seconds.json", time.monotonic() - start)


def main_py(mode: str, arguments: list[str], log: Path) -> None:
    """Runs main.py as a user would, on one device, what it says in `log`.

    Raises:
      UserError: it failed; with its last words.
    """
    environment = launcher_environment() | {
        "JAX_NUM_CPU_DEVICES": "1",
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str((log.parent / "cache").absolute()),
    }
    command = [sys.executable, str(ROOT / "main.py"), f"--mode={mode}", *arguments]
    with open(log, "ab") as sink:
        code = subprocess.run(
            command, env=os.environ | environment, stdout=sink, stderr=subprocess.STDOUT
        ).returncode
    if code:
        words = deque(log.read_text(errors="replace").splitlines(), maxlen=1)
        raise UserError(f"{log}: --mode={mode} ended with {code}: {' '.join(words)}")


def flags(arguments: argparse.Namespace, arm: Arm, seed: int) -> list[str]:
    """Of main.py, for a run; the seed last."""
    return [
        f"--config={ROOT / 'configs' / 'study.py'}:{arguments.steps}",
        f"--config.data.dir={arguments.data_dir}",
        *(f"--config.{field}={value}" for field, value in arm.changes.items()),
        f"--config.seed={seed}",
    ]


def config_of(arguments: argparse.Namespace, arm: Arm, seed: int) -> config_lib.Config:
    """What main.py makes of `flags`."""
    values = study_config.get_config(arguments.steps)
    values.update_from_flattened_dict(arm.changes)
    values.seed, values.data.dir = seed, arguments.data_dir
    return validation.from_config_dict(values)


def is_done(arguments: argparse.Namespace, arm: Arm, seed: int) -> bool:
    """Whether the run is there as it is asked for, with its evaluation."""
    workdir = workdir_of(arguments, arm, seed)
    if not (workdir / "seconds.json").exists():
        return False
    stored = run_folder.load(workdir)["config"]
    asked = config_lib.to_dict(config_of(arguments, arm, seed))
    if different := validation.differences(asked, stored):
        remedy = "delete that folder, or choose another --folder"
        raise UserError("\n".join([f"{workdir}: is another run; {remedy}", *different]))
    return True


def figures_of(arguments: argparse.Namespace, arm: Arm, seed: int) -> dict[str, Any]:
    """What the page tells of a run."""
    workdir, found = workdir_of(arguments, arm, seed), evaluation_of(arguments, arm, seed)
    model, latent = found["model"], found["latent"]
    posterior = latent["reconstruction_from_posterior"]
    return {
        "arm": arm.name,
        "seed": seed,
        "seconds": read_json(workdir / "seconds.json"),
        "checkpoint_step": found["checkpoint_step"],
        "psnr": model["psnr_mean"],
        "ssim": model["ssim_mean"],
        "psnr_gain": model["psnr_mean"] - found["copy_last_frame"]["psnr_mean"],
        "kl": latent["kl_mean"],
        "num_active_dimensions": latent["num_active_dimensions"],
        "posterior_gap": posterior["psnr_above_prediction_mean"],
        "action_sensitivity": -found["shuffled_actions"]["psnr_change_mean"],
        "psnr_per_frame": model["psnr_per_frame"],
        "copy_last_frame_psnr_per_frame": found["copy_last_frame"]["psnr_per_frame"],
        "curves": dict(curves(workdir)),
    }


def curves(workdir: Path) -> Iterator[tuple[str, dict[str, list[float]]]]:
    """Logged metrics over the steps, with the six digits that a plot can show."""
    lines = read_metrics(workdir)
    for key in (*CURVES, VALIDATION):
        points = [(line["step"], line[key]) for line in lines if line.get(key) is not None]
        values = [float(f"{value:.6g}") for _, value in points]
        yield key, {"step": [step for step, _ in points], "value": values}


def evaluation_of(arguments: argparse.Namespace, arm: Arm, seed: int) -> dict[str, Any]:
    """The run's result file."""
    return read_json(workdir_of(arguments, arm, seed) / "evaluation" / "latest.json")


def workdir_of(arguments: argparse.Namespace, arm: Arm, seed: int) -> Path:
    """Where the run is."""
    return arguments.folder / f"{arm.name}-{seed}"


def usable_cores() -> list[int]:
    """Numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


if __name__ == "__main__":
    main()
