"""Random config files and command lines: each starts a run or is refused, a line for each problem.

    python -m benchmarks.fuzz --cases=10000

Every case goes through the command line's own code: a config file that Hypothesis wrote is
executed, flags are parsed, the config is validated. What is accepted is built: the state and both
programs of the training step are traced by JAX without computing, once for each combination of
the model's choices (BUILT_BY), up to --builds of them. A few, as --starts says, are started for
real as processes on the data of configs/tiny.py. Counts go to benchmarks/results/fuzz.json.
"""

import argparse
import collections
import contextlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

import numpy as np
from absl import flags
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.timing import machine
from benchmarks.worker import ROOT
from cvae_jax import cli, train_state
from cvae_jax import config as config_lib
from cvae_jax.config import Config
from cvae_jax.files import write_json
from cvae_jax.logs import Progress
from cvae_jax.train_step import TrainStep

RESULT = ROOT / "benchmarks" / "results" / "fuzz.json"
BASES = ("bair", "demo", "tiny")
FIELDS = list(config_lib.fields())
CHOICES = (
    *("mlp", "conv", "action", "none", "frame", "latent", "composite", "direct", "learned"),
    *("bfloat16", "linear", "cyclical", "cosine", "clip", "svg", "lab", "folder", "image_aux1"),
)
BUILT_BY = (
    *("predictor", "condition", "feedback", "output", "prior", "last_frame_skip", "dtype"),
    *("window", "rematerialize"),
)
"""Of the section `model`: cases that agree in these are built once."""


def _mostly(usual, rare, times: int):
    """`usual`, and once in `times` `rare`."""
    return st.sampled_from(range(times)).flatmap(lambda n: rare if n == times // 2 else usual)


_GOOD = st.one_of(st.integers(1, 8), st.sampled_from(CHOICES), st.booleans(), st.floats(0.01, 1))
_BAD = st.one_of(
    st.integers(-3, 0),
    st.integers(),
    st.floats(),
    st.text(max_size=6),
    st.none(),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
_VALUES = _mostly(_GOOD, _BAD, 3)
_PATHS = _mostly(
    st.sampled_from(FIELDS), st.sampled_from(["model", "x", "model.wdith", "train.a.b"]), 8
)
_WORDS = st.one_of(
    st.sampled_from(("--mode=train", "--workdir=runs/fuzz", "--checkpoint=best", "--mode=tarin")),
    st.sampled_from(("train", "--", "-x", "--mdoe", "--flagfile=/none", "--config=", "--config")),
    st.text(max_size=8),
)
_NEEDED = ("--mode=train", "--workdir=runs/fuzz")


def _typed(path: str):
    """Values for a field that its rule may well allow."""
    section, _, name = path.rpartition(".")
    kind = {f.name: f for f in _fields_of(section)}[name]
    rule = kind.metadata
    if rule["choices"]:
        return st.sampled_from(rule["choices"])
    if kind.type is int:
        low = rule["low"] or 0
        return st.integers(low, low + 12)
    return {bool: st.booleans(), float: st.floats(1e-4, 1), str: st.sampled_from(["0,1", "data"])}[
        kind.type
    ]


def _fields_of(section: str):
    kind = Config if not section else type(getattr(Config(), section))
    return kind.__dataclass_fields__.values()


_SET = _mostly(
    st.sampled_from(FIELDS).flatmap(lambda path: st.tuples(st.just(path), _typed(path))),
    st.tuples(_PATHS, _VALUES),
    9,
)
CASES = st.fixed_dictionaries(
    {
        "base": st.sampled_from(BASES),
        "file": st.lists(_SET, max_size=4),
        "flags": st.lists(_SET, max_size=5),
        "words": _mostly(st.just([]), st.lists(_WORDS, max_size=2), 8),
        "needed": _mostly(st.just(_NEEDED), st.lists(st.sampled_from(_NEEDED), max_size=1), 12),
    }
)


def config_file(case: dict) -> str:
    """The text of a config file that sets the case's fields in one of configs/."""
    lines = [f"from configs import {case['base']}\n\n", "def get_config():\n"]
    lines.append(f"    config = {case['base']}.get_config().to_dict()\n")
    for path, value in case["file"]:
        keys = "".join(f"[{part!r}]" for part in path.split("."))
        value = repr(value).replace("nan", "float('nan')").replace("inf", "float('inf')")
        lines.append(f"    config{keys} = {value}\n")
    lines.append("    from ml_collections import config_dict\n")
    return "".join(lines) + "    return config_dict.ConfigDict(config)\n"


def command(case: dict, path: Path) -> list[str]:
    """What is typed after `python`."""
    overrides = [f"--config.{field}={value}" for field, value in case["flags"]]
    return ["main.py", *case["needed"], f"--config={path}", *overrides, *case["words"]]


class Fuzz:
    """Runs cases and counts what becomes of them."""

    def __init__(self, folder: Path, builds: int):
        self.path, self.builds = folder / "own.py", builds
        self.counts: collections.Counter = collections.Counter()
        self.refused: collections.Counter = collections.Counter()
        self.failures: list[str] = []
        self.built: set = set()
        self.accepted: list[dict] = []

    def __call__(self, case: dict) -> None:
        """Adds a case to the counts; never raises."""
        self.counts["cases"] += 1
        self.path.write_text(config_file(case), encoding="utf-8")
        told = io.StringIO()
        seen: list[Config] = []

        def run(flag_values: flags.FlagValues) -> int:
            seen.append(cli._config_of_file(flag_values))
            return 0

        started, cli._run = cli._run, run
        try:
            with contextlib.redirect_stderr(told), contextlib.redirect_stdout(told):
                code = cli.main(command(case, self.path), flags.FlagValues())
            if code == 0:
                self._accept(case, seen[0])
            else:
                self._refuse(code, told.getvalue())
        except Exception:
            self.counts["tracebacks"] += 1
            self.failures.append(f"{case}\n{traceback.format_exc()}")
        finally:
            cli._run = started

    def _accept(self, case: dict, config: Config) -> None:
        self.counts["accepted"] += 1
        self.accepted.append(case)
        key = tuple(getattr(config.model, name) for name in BUILT_BY)
        if key not in self.built and len(self.built) < self.builds:
            self.built.add(key)
            build(config)

    def _refuse(self, code: int, message: str) -> None:
        lines = message.removeprefix("error: ").strip().splitlines()
        lines = lines[1:] if lines[:1] and lines[0].endswith("problems:") else lines
        kinds = [kind(line) for line in lines]
        if code != 2 or not message.startswith("error: ") or not kinds or not all(kinds):
            self.counts["unclear refusals"] += 1
            self.failures.append(f"exit code {code}\n{message}")
            return
        self.counts["refused"] += 1
        self.counts["refused for several problems"] += len(lines) > 1
        self.refused.update(kinds)


def kind(line: str) -> str:
    """What a line of a refusal is about; empty for one that names no flag."""
    for name, pattern in (
        ("unknown flag or field", "no such field|Unknown command line|not a flag"),
        ("missing flag or field", "is missing"),
        ("config file", r"^--config="),
        ("flag of another mode", "belongs to --mode"),
        ("not of the flag's type", r"^flag --|Failed to parse|Missing value|flagfile"),
        ("out of range or of another type", r"must be (int|float|bool|str|a section)"),
        ("contradiction", r"--config\."),
        ("other", "--"),
    ):
        if re.search(pattern, line):
            return name
    return ""


def build(config: Config) -> None:
    """Traces the state and both programs of the training step, computing nothing."""
    state = train_state.shapes(config, 4, 3)
    step = TrainStep(config)
    for forced in (True, False):
        step.trace(state, forced, 4, 3)


def start(case: dict, folder: Path) -> tuple[int, str]:
    """Starts main.py with an accepted case, for two small steps on the tiny data."""
    path = folder / "own.py"
    path.write_text(config_file(case), encoding="utf-8")
    small = {
        "data.source": "simulated_push_tiny",
        "data.camera": "image_main",
        "data.dir": folder / "data",
        "train.num_steps": 2,
        "optimizer.warmup_steps": 0,
        "kl.num_cycles": 1,
        "eval.protocol": "default",
    }
    small |= {f"model.{n}": 4 for n in ("width", "z_dim", "g_dim", "predictor_width")}
    over = [f"--config.{field}={value}" for field, value in small.items()]
    line = [*command(case, path), *over, f"--workdir={folder / 'run'}"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *line], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    return done.returncode, done.stderr


def main() -> None:
    """Runs the cases and writes the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--builds", type=int, default=100)
    parser.add_argument("--starts", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fuzz = Fuzz(Path(folder), options.builds)
        with Progress(options.cases, description="fuzz", frames_per_step=1) as bar:

            def one(case: dict) -> None:
                fuzz(case)
                bar.advance()

            settings(
                max_examples=options.cases,
                database=None,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            )(given(CASES)(one))()
        starts = _starts(fuzz.accepted, options.starts, Path(folder))
    ends = ("accepted", "refused", "unclear refusals", "tracebacks")
    result = {
        "cases": fuzz.counts["cases"],
        **{name: fuzz.counts[name] for name in ends},
        "refused for several problems": fuzz.counts["refused for several problems"],
        "lines of refusals by kind": dict(fuzz.refused.most_common()),
        "models and training steps built": len(fuzz.built),
        "started as processes": starts,
        "machine": machine(),
    }
    write_json(RESULT, result)
    print(json.dumps(result, indent=1))
    print(*fuzz.failures[:20], sep="\n", file=sys.stderr)
    sys.exit(bool(fuzz.failures) or starts["tracebacks"])


def _starts(accepted: list[dict], count: int, folder: Path) -> dict[str, int]:
    ends: collections.Counter = collections.Counter()
    if count:
        place = f"--config.data.dir={folder / 'data'}"
        prepare = ["main.py", "--mode=prepare", "--config=configs/tiny.py", place]
        subprocess.run([sys.executable, *prepare], cwd=ROOT, check=True, capture_output=True)
    for index in np.linspace(0, len(accepted) - 1, min(count, len(accepted)), dtype=int):
        with tempfile.TemporaryDirectory(dir=folder) as own:
            Path(own, "data").symlink_to(folder / "data")
            code, told = start(accepted[index], Path(own))
        ends["tracebacks" if "Traceback" in told else {0: "trained", 2: "refused"}[code]] += 1
        if "Traceback" in told:
            print(accepted[index], told)
    return {name: ends[name] for name in ("trained", "refused", "tracebacks")}


if __name__ == "__main__":
    main()
