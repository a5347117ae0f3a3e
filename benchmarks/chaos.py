"""Kills training at random moments, and compares what comes out with a run that was left alone.

    python -m benchmarks.chaos                     100 kills from seed 0; 15 minutes on 2 CPU cores
    python -m benchmarks.chaos --kills=3 --seed=1 --output=result.json

Each kill is a SIGKILL, after which the same command is started again. A third of them wait for
Orbax's temporary folder and count only if that folder is still there when the process is dead, so
they hit the middle of a save; the others come at a moment drawn evenly from the length of a run,
start and end included. When a run has survived to its end it is compared, and another begins,
until the kills are used up: parameters, Adam's moments and counts bit for bit, metrics.jsonl but
for what is of the clock, the best checkpoint.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.worker import ROOT
from cvae_jax import evaluate, run_folder, validation
from cvae_jax.files import write_json
from cvae_jax.logs import read_metrics

OF_THE_CLOCK = ("train/frames_per_second", "train/input_wait_fraction")
NUM_STEPS = 24
ENVIRONMENT = {
    "JAX_NUM_CPU_DEVICES": "1",
    "JAX_PLATFORMS": "cpu",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",  # a start takes half the time
}
LONGEST_SAVE_SECONDS = 0.15
"""Kills inside saves come up to so long after the save's beginning."""
INTERVALS = (  # no two of them meet often, so checkpoints lie between log lines
    "--config.train.log_every_steps=3",
    "--config.train.checkpoint_every_steps=4",
    "--config.train.eval_every_steps=10",
)


class Chaos:
    """A run in `folder` that is killed, and the one beside it that is not."""

    def __init__(self, folder: Path, data_dir: Path, seed: int):
        """Trains the unbroken run, which also fills the compilation cache."""
        self._data_dir, self._random = data_dir, random.Random(seed)
        self._broken, unbroken = folder / "killed", folder / "unbroken"
        self.counts = {"kills": 0, "inside_saves": 0, "before_first_save": 0, "runs": 0}
        self._finish(unbroken)
        start = time.monotonic()
        shutil.rmtree(unbroken)
        self._finish(unbroken)
        self._seconds = time.monotonic() - start  # with everything compiled
        self._expected = outcome(unbroken)

    def kill(self, num_kills: int) -> None:
        """Kills so often, over as many runs as it takes, and compares each of them."""
        self._begin()
        while self.counts["kills"] < num_kills:
            done, saves = self.counts["kills"], self.counts["inside_saves"]
            in_save = 3 * saves <= done  # until a third of them were
            if self._start_and_kill(in_save):
                _say(f"{done + 1} kills, {self.counts['inside_saves']} inside saves")
            else:
                self._compare()
                self._begin()
        self._finish(self._broken)
        self._compare()

    def _begin(self) -> None:
        shutil.rmtree(self._broken, ignore_errors=True)

    def _compare(self) -> None:
        """Raises AssertionError where the killed run's outcome is not the unbroken one's."""
        self.counts["runs"] += 1
        found = outcome(self._broken)
        assert found.keys() == self._expected.keys()
        for name, expected in self._expected.items():
            assert found[name] == expected, f"{name}: {found[name]} instead of {expected}"
        left = sorted(path.name for path in (self._broken / "checkpoints").iterdir())
        assert all(name.isdecimal() for name in left), f"left behind: {left}"

    def _start_and_kill(self, in_save: bool) -> bool:
        """Whether the process was killed before its end."""
        before = self._saves()  # a process removes what it finds, but may be killed before
        process = self._start(self._broken)
        if in_save:
            while process.poll() is None and not self._saves() - before:
                time.sleep(0.001)
            time.sleep(self._random.uniform(0, LONGEST_SAVE_SECONDS))
        else:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(self._random.uniform(0, self._seconds))
        process.kill()
        if process.wait() == 0:
            return False
        assert process.returncode == -9, f"exit code {process.returncode}"
        self.counts["kills"] += 1
        self.counts["inside_saves"] += bool(self._saves() - before)
        self.counts["before_first_save"] += not run_folder.saved_steps(self._broken)
        return True

    def _saves(self) -> set[tuple[str, int]]:
        """The folders of saves that are not finished: name and inode."""
        found = set()
        for path in self._broken.glob("checkpoints/*.orbax-checkpoint-tmp*"):
            with contextlib.suppress(FileNotFoundError):  # finished meanwhile
                found.add((path.name, path.stat().st_ino))
        return found

    def _start(self, workdir: Path) -> subprocess.Popen:
        command = [sys.executable, "main.py", "--mode=train", "--config=configs/tiny.py"]
        command += [f"--workdir={workdir}", f"--config.data.dir={self._data_dir}", *INTERVALS]
        return subprocess.Popen(
            [*command, f"--config.train.num_steps={NUM_STEPS}"],
            cwd=ROOT,
            env=os.environ | ENVIRONMENT,
            stdout=subprocess.DEVNULL,
        )

    def _finish(self, workdir: Path) -> None:
        code = self._start(workdir).wait()
        assert code == 0, f"exit code {code}"


def outcome(workdir: Path) -> dict[str, Any]:
    """All that a run leaves and that a killed one must leave too."""
    config = validation.from_config_dict(run_folder.load(workdir)["config"])
    found: dict[str, Any] = {}
    for which in ("latest", "best"):
        state, found[f"{which} step"] = evaluate.restore(workdir, config, which)
        for path, leaf in jax.tree_util.tree_leaves_with_path(state):
            found[f"{which} {jax.tree_util.keystr(path)}"] = np.asarray(leaf).tobytes()
    found["steps"] = run_folder.saved_steps(workdir)
    found["metrics"] = [
        {name: value for name, value in line.items() if name not in OF_THE_CLOCK}
        for line in read_metrics(workdir)
    ]
    return found


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    results = ROOT / "benchmarks" / "results"
    parser.add_argument("--output", type=Path, default=results / "chaos.json")
    asked = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [sys.executable, "main.py", "--mode=prepare", "--config=configs/tiny.py"]
        subprocess.run([*command, f"--config.data.dir={folder / 'data'}"], cwd=ROOT, check=True)
        chaos = Chaos(folder, folder / "data", asked.seed)
        chaos.kill(asked.kills)
    result = {"seed": asked.seed, "num_steps": NUM_STEPS, **chaos.counts, "equal": True}
    write_json(asked.output, result | {"minutes": round((time.monotonic() - start) / 60, 1)})
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
