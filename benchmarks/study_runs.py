"""One run of the study: its command, its config, whether it is done and what it found."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.speed import launcher_environment
from benchmarks.study_arms import Arm
from benchmarks.worker import ROOT
from configs import study as study_config
from cvae_jax import config as config_lib
from cvae_jax import run_folder, validation
from cvae_jax.config import Config
from cvae_jax.errors import UserError
from cvae_jax.files import read_json, write_json
from cvae_jax.logs import read_metrics

CURVES = (
    *("train/mse", "train/kl", "train/kl_weight", "train/teacher_forcing_ratio"),
    "validation/psnr_mean",
)
ONE_CPU_DEVICE: Mapping[str, str] = {"JAX_NUM_CPU_DEVICES": "1", "JAX_PLATFORMS": "cpu"}
SECONDS_FILE = "seconds.json"
"""Written last, so a run that has it is done."""


class Setting(NamedTuple):
    """What all runs of a study share."""

    folder: Path
    data_dir: str
    num_steps: int


class Run(NamedTuple):
    """An arm with a seed, in a workdir of its own."""

    setting: Setting
    arm: Arm
    seed: int

    @property
    def workdir(self) -> Path:
        """Where main.py leaves it."""
        return self.setting.folder / f"{self.arm.name}-{self.seed}"

    @property
    def flags(self) -> list[str]:
        """What main.py is told of its config."""
        return [
            f"--config={ROOT / 'configs' / 'study.py'}:{self.setting.num_steps}",
            f"--config.data.dir={self.setting.data_dir}",
            f"--config.seed={self.seed}",
            *(f"--config.{field}={value}" for field, value in self.arm.changes.items()),
        ]

    @property
    def config(self) -> Config:
        """What main.py makes of the flags."""
        values = study_config.get_config(self.setting.num_steps)
        values.update_from_flattened_dict(self.arm.changes)
        values.seed, values.data.dir = self.seed, self.setting.data_dir
        return validation.from_config_dict(values)

    @property
    def evaluation(self) -> dict[str, Any]:
        """Its result file."""
        return read_json(self.workdir / "evaluation" / "latest.json")


def is_done(run: Run) -> bool:
    """Whether it is there, evaluated.

    Raises:
      UserError: the workdir holds a run with another config.
    """
    if not (run.workdir / SECONDS_FILE).exists():
        return False
    stored = run_folder.load(run.workdir)["config"]
    if different := validation.differences(config_lib.to_dict(run.config), stored):
        remedy = "delete that folder, or choose another --folder"
        raise UserError("\n".join([f"{run.workdir}: is another run; {remedy}", *different]))
    return True


def do(run: Run) -> None:
    """Trains and evaluates; main.py itself goes on with a run that was stopped.

    The checkpoints of a run that is done are deleted: of a whole study they would be gigabytes.
    """
    start = time.monotonic()
    log = run.workdir.with_suffix(".log")
    log.unlink(missing_ok=True)
    main_py(["--mode=train", f"--workdir={run.workdir}", *run.flags], log)
    main_py(["--mode=evaluate", f"--workdir={run.workdir}", "--checkpoint=latest"], log)
    write_json(run.workdir / SECONDS_FILE, time.monotonic() - start)
    shutil.rmtree(run.workdir / "checkpoints")


def main_py(arguments: list[str], log: Path, settings: Mapping[str, str] = ONE_CPU_DEVICE) -> None:
    """Runs main.py as a user would under environment `settings`, what it says in `log`.

    What is compiled is kept beside `log`.

    Raises:
      UserError: it failed; with its last words.
    """
    cache = {"JAX_COMPILATION_CACHE_DIR": str((log.parent / "cache").absolute())}
    environment = launcher_environment() | cache | settings
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(ROOT / "main.py"), *arguments]
    with open(log, "ab") as sink:
        code = subprocess.run(
            command, env=os.environ | environment, stdout=sink, stderr=subprocess.STDOUT
        ).returncode
    if code:
        words = log.read_text(errors="replace").strip().rpartition("\n")[2]
        raise UserError(f"{log}: {arguments[0]} ended with exit code {code}: {words}")


def figures(run: Run) -> dict[str, Any]:
    """What the page tells of a run."""
    found = run.evaluation
    model, latent = found["model"], found["latent"]
    posterior = latent["reconstruction_from_posterior"]
    return {
        "arm": run.arm.name,
        "seed": run.seed,
        "seconds": read_json(run.workdir / SECONDS_FILE),
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
        "curves": dict(_curves(run.workdir)),
    }


def _curves(workdir: Path) -> Iterator[tuple[str, dict[str, list[float]]]]:
    """Logged metrics over the steps, with the six digits that a plot can show."""
    lines = read_metrics(workdir)
    for key in CURVES:
        points = [(line["step"], line[key]) for line in lines if line.get(key) is not None]
        values = [float(f"{value:.6g}") for _, value in points]
        yield key, {"step": [step for step, _ in points], "value": values}
