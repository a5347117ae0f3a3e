"""Where the time of one of our training steps goes, by kind of operation.

    python -m benchmarks.step_profile --width=64 --precision=bfloat16

On a GPU its kernels are counted (not tried on one yet), on a CPU XLA's operations on all devices,
loops by what runs in them. `--keep=FOLDER` leaves the profile there, for https://ui.perfetto.dev.
"""

import argparse
import collections
import gzip
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import jax

from benchmarks import ours
from cvae_jax import launcher
from cvae_jax.errors import UserError

_STEPS = 3
_SHOWN = 0.01
"""Of all time; kinds below are summed."""
_HOLDS_OTHERS = {"while", "call", "conditional"}
_NAMES = ("process_name", "thread_name")


def main() -> None:
    """Runs a few steps under JAX's profiler and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--width", type=int, default=64, help="64 is the full size")
    parser.add_argument("--clips", type=int, default=12, help="in a training step")
    parser.add_argument("--predicted", type=int, default=10, help="frames in training")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--free_running", action="store_true")
    parser.add_argument("--feedback", choices=("latent", "frame"), default="latent")
    parser.add_argument("--keep", type=Path, help="folder for the whole profile")
    settings: dict[str, Any] = vars(parser.parse_args())
    keep = settings.pop("keep")
    launcher.prepare_process()
    try:
        work = ours.make_work(kind="training", context=2, **settings)
    except UserError as error:
        parser.error(str(error))
    work.run()  # compiles
    work.run()
    with tempfile.TemporaryDirectory() as temporary:
        folder = keep or Path(temporary)
        with jax.profiler.trace(str(folder)):
            for _ in range(_STEPS):
                work.run()
        print(table(by_kind(_events(folder))))


def by_kind(events: list[dict[str, Any]]) -> dict[str, float]:
    """Milliseconds of one step for each kind of operation: its name without the number.

    On a GPU those of its streams alone: other lines of a device tell the same time once more.
    """
    names = {name: [one for one in events if one["name"] == name] for name in _NAMES}
    gpus = {
        one["pid"] for one in names["process_name"] if one["args"]["name"].startswith("/device:GPU")
    }
    streams = {
        (one["pid"], one["tid"])
        for one in names["thread_name"]
        if one["pid"] in gpus and "Stream" in one["args"]["name"]
    }
    found: dict[str, float] = collections.defaultdict(float)
    for one in events:
        if one["ph"] != "X" or (gpus and (one["pid"], one["tid"]) not in streams):
            continue
        instruction = re.fullmatch(r"([a-z][a-z0-9_-]*?)[_.\d]*", one["name"])
        if gpus:
            kind = re.sub(r"[_.\d]+$", "", one["name"])
        elif instruction and instruction[1] not in _HOLDS_OTHERS:
            kind = instruction[1]
        else:
            continue  # of the host, or of the runtime
        found[kind] += one["dur"] / 1000.0 / _STEPS
    return dict(found)


def table(kinds: dict[str, float]) -> str:
    """The kinds that take longest first, in Markdown."""
    if not kinds:
        raise SystemExit(
            "no operation was found in the profile; --keep=FOLDER leaves it to look at"
        )
    total = sum(kinds.values())
    rows = sorted(kinds.items(), key=lambda kind: -kind[1])
    shown = [(name, ms) for name, ms in rows if ms >= _SHOWN * total]
    shown.append(("all others", total - sum(ms for _, ms in shown)))
    lines = [f"| {name} | {ms:.1f} | {100 * ms / total:.0f} % |" for name, ms in shown]
    return "\n".join(["| operation | ms of a step | |", "|---|---|---|", *lines])


def _events(folder: Path) -> list[dict[str, Any]]:
    path = max(folder.glob("plugins/profile/*/*.trace.json.gz"))  # folders are named by the time
    with gzip.open(path) as file:
        return [one for one in json.load(file)["traceEvents"] if "name" in one]


if __name__ == "__main__":
    main()
