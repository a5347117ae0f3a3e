"""How fast training and generation are, beside SVG-FP in PyTorch on the same machine.

    make bench
    python -m benchmarks.speed --widths=16 --batches=4,12,48 --growth
    python -m benchmarks.speed --widths=64 --precisions=float32,bfloat16 --compiled  # on a GPU
    python -m benchmarks.speed --table --plot

Every side is a process that works when told to; within a comparison they take turns, A B C A B C,
and medians are told, with processor time beside the clock's, since another program on the machine
hardly changes it. Both sides get the malloc settings of main.py. Everything goes to
benchmarks/results/speed.json after each comparison; `--table` makes the tables of it in
docs/performance.md, `--plot` docs/speed.png.
"""

import argparse
import contextlib
import functools
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import flops, speed_report, startup, timing
from benchmarks.worker import ROOT, Worker
from cvae_jax import launcher
from cvae_jax.files import read_json, write_json

RESULTS = Path(__file__).parent / "results" / "speed.json"
CONTEXT = 2
OURS, PEER = "benchmarks.ours", "benchmarks.peer.work"
Side = tuple[str, dict[str, Any]]
"""The module that works, and what sets this side apart."""
PRECISIONS = ("float32", "bfloat16")
PUBLISHED, LAB = "SVG, published", "SVG, lab's"


def main() -> None:
    """Measures, writes and prints."""
    arguments = parse()
    if not (arguments.table or arguments.plot):
        measure(arguments)
    result = read_json(RESULTS)
    print(speed_report.tables(result))
    if arguments.table:
        speed_report.write_tables(ROOT / "docs" / "performance.md", result)
    if arguments.plot:
        if not result["growth"]:
            sys.exit(f"{RESULTS}: holds no growth to plot; measure with --growth")
        speed_report.plot(ROOT / "docs" / "speed.png", result["growth"])


def parse() -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])

    def listed(text: str) -> list[int]:
        return [int(number) for number in text.split(",")]

    parser.add_argument("--torch_python", default=str(ROOT / ".cache/bench-venv/bin/python"))
    parser.add_argument("--widths", type=listed, default=[16, 64], help="64 is the full size")
    parser.add_argument("--batches", type=listed, default=[12], help="clips in a training step")
    parser.add_argument("--predicted", type=int, default=10, help="frames in training")
    parser.add_argument(
        "--samples",
        type=listed,
        default=[1, 100],
        help="of one clip, 2 -> 28; many at the least width",
    )
    parser.add_argument("--rounds", type=int, default=3, help="turns of every side")
    parser.add_argument("--seconds", type=float, default=3.0, help="about as long as a turn takes")
    parser.add_argument("--compiled", action="store_true", help="the peer with torch.compile, too")
    parser.add_argument(
        "--precisions",
        type=lambda text: text.split(","),
        default=["float32"],
        help="of both sides: float32 (on a GPU, TF32 products), bfloat16",
    )
    parser.add_argument("--growth", action="store_true", help="with batch, clip length, samples")
    parser.add_argument("--growth_width", type=int, default=16)
    parser.add_argument("--table", action="store_true", help="of the results that are there")
    parser.add_argument("--plot", action="store_true", help="of the growth that was measured")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.precisions) - set(PRECISIONS)):
        parser.error(f"--precisions={','.join(unknown)}: must be among {', '.join(PRECISIONS)}")
    if not (arguments.table or arguments.plot) and not Path(arguments.torch_python).exists():
        parser.error(f"--torch_python={arguments.torch_python}: not there; `make bench-venv`")
    return arguments


def measure(arguments: argparse.Namespace) -> None:
    """All comparisons, written after each, so that a stopped run leaves what it found."""
    settings = {name: value for name, value in vars(arguments).items() if name != "torch_python"}
    result = {"machine": timing.machine(), "settings": settings}
    result |= {"matmul": [], "comparisons": [], "growth": []}
    with tempfile.TemporaryDirectory() as folder:
        caches = {"JAX_COMPILATION_CACHE_DIR": str(Path(folder, "cache"))}
        environment = launcher_environment() | caches
        compare = functools.partial(compare_sides, arguments, environment)

        def take(plans):
            for section, work, sides in plans:
                print(f"{section}: {work}", file=sys.stderr, flush=True)
                result[section].append({**work, "sides": compare(work, sides)})
                write_json(RESULTS, result)

        take(plan(arguments))
        trainings = [one for one in result["comparisons"] if one["kind"] == "training"]
        result["flops"] = [flop_row(one) for one in trainings]
        result["start"] = {
            str(width): startup.measure(width, arguments.torch_python, environment)
            for width in arguments.widths
        }
        take(growth(arguments.growth_width) if arguments.growth else ())
    result["load_average_at_end"] = os.getloadavg()[0]
    write_json(RESULTS, result)


def launcher_environment() -> dict[str, str]:
    """What main.py restarts itself with."""
    return {"GLIBC_TUNABLES": launcher.MALLOC}


def plan(arguments: argparse.Namespace) -> list[tuple[str, dict[str, Any], dict[str, Side]]]:
    """(section of the result, work, sides) of every comparison."""
    precisions = arguments.precisions
    ways = {"precisions": precisions, "compiled": (False, True) if arguments.compiled else (False,)}
    plans = [("matmul", matmul(precision), matmul_sides()) for precision in precisions]
    for width in arguments.widths:
        for clips in arguments.batches:
            for free in (False, True):
                work = training(width, clips, arguments.predicted, free)
                plans.append(("comparisons", work, training_sides(free, **ways)))
        for samples in arguments.samples:
            if samples == 1 or width == min(arguments.widths):  # wide ones take many minutes
                work = generation(width, samples)
                plans.append(("comparisons", work, generation_sides(**ways)))
    width = min(arguments.widths)
    plans.append(("comparisons", evaluation(width), generation_sides(**ways)))
    return plans


def growth(width: int) -> list[tuple[str, dict[str, Any], dict[str, Side]]]:
    """The same of what tells how time grows with clips, frames and samples."""
    trainings = [training(width, clips, 10, False) for clips in (4, 12, 48)]
    trainings += [training(width, 12, predicted, False) for predicted in (5, 20, 28)]
    plans = [("growth", work, training_sides(False)) for work in trainings]
    for samples in (1, 10, 100):
        plans.append(("growth", generation(width, samples), generation_sides()))
    return plans


def matmul(precision: str) -> dict[str, Any]:
    """The work of one large product: what the device can do at most."""
    return {"kind": "matmul", "precision": precision}


def training(width: int, clips: int, predicted: int, free_running: bool) -> dict[str, Any]:
    """The work of a training step."""
    size = {"width": width, "clips": clips, "context": CONTEXT, "predicted": predicted}
    return {"kind": "training", **size, "free_running": free_running}


def generation(width: int, samples: int) -> dict[str, Any]:
    """The work of predicting one clip, 2 -> 28."""
    size = {"width": width, "clips": 1, "context": CONTEXT, "predicted": 28}
    return {"kind": "generation", **size, "samples": samples}


def evaluation(width: int) -> dict[str, Any]:
    """The work of predicting 256 clips, 2 -> 10, one sample each, and their PSNR."""
    size = {"width": width, "clips": 256, "batch": 16, "context": CONTEXT, "predicted": 10}
    return {"kind": "evaluation", **size}


def matmul_sides() -> dict[str, Side]:
    """By either library."""
    return {"jax": (OURS, {}), "torch": (PEER, {})}


def training_sides(
    free_running: bool,
    precisions: Sequence[str] = ("float32",),
    compiled: Sequence[bool] = (False,),
) -> dict[str, Side]:
    """Teacher-forced, feedback changes nothing; free running, the peers differ by 3 %."""
    kinds = (
        {"ours, latent": "latent", "ours, frame": "frame"} if free_running else {"ours": "frame"}
    )
    # the lab's is spared where it hardly differs: all sides are in memory at once
    peers = {PUBLISHED: False} if free_running else {PUBLISHED: False, LAB: True}
    ours = our_sides(kinds, precisions)
    return ours | peer_sides(
        {name: {"targets_apart": apart} for name, apart in peers.items()}, precisions, compiled
    )


def generation_sides(
    precisions: Sequence[str] = ("float32",), compiled: Sequence[bool] = (False,)
) -> dict[str, Side]:
    """Both peers generate alike."""
    ours = our_sides({"ours, latent": "latent", "ours, frame": "frame"}, precisions)
    return ours | peer_sides({PUBLISHED: {}}, precisions, compiled)


def our_sides(kinds: dict[str, str], precisions: Sequence[str]) -> dict[str, Side]:
    """Each kind of feedback, by the side's name, in each precision."""
    return {
        called(name, precision): (OURS, {"feedback": feedback, "precision": precision})
        for precision in precisions
        for name, feedback in kinds.items()
    }


def peer_sides(
    kinds: dict[str, dict[str, Any]], precisions: Sequence[str], compiled: Sequence[bool]
) -> dict[str, Side]:
    """Each kind, by the side's name, in each precision, as it is and through torch.compile."""
    return {
        called(name, precision, way): (PEER, {**options, "precision": precision, "compiled": way})
        for precision in precisions
        for way in compiled
        for name, options in kinds.items()
    }


def called(name: str, precision: str, compiled: bool = False) -> str:
    """A side's name with what is not as usual."""
    return name + f", {precision}" * (precision != "float32") + ", compiled" * compiled


def compare_sides(
    arguments: argparse.Namespace,
    environment: dict[str, str],
    work: dict[str, Any],
    sides: dict[str, Side],
) -> dict[str, dict[str, Any]]:
    """Medians of each side, its first call (which compiles) and what it says of itself.

    Our training compiles in a process of its own and takes its turns in another one, as a resumed
    run does: the peak of memory is then the step's and not the compiler's.
    """
    times = repeats(work, arguments.seconds)

    def start(module: str, options: dict[str, Any]) -> Worker:
        python = arguments.torch_python if module == PEER else sys.executable
        return Worker([python, "-m", module], environment, **work, **options)

    with contextlib.ExitStack() as stack:
        workers, found = {}, {}
        for name, side in sides.items():
            apart = side[0] == OURS and work["kind"] == "training"
            with start(*side) if apart else contextlib.nullcontext() as cold:
                first = cold(1)["seconds"] if cold else None
            worker = workers[name] = stack.enter_context(start(*side))
            warm = worker(1)["seconds"]
            found[name] = {"about": worker.about, "options": side[1]}
            found[name]["first_seconds"] = warm if first is None else first
        turns = {name: functools.partial(worker, times) for name, worker in workers.items()}
        for name, figures in timing.alternate(turns, arguments.rounds).items():
            found[name] |= figures
    return found


def repeats(work: dict[str, Any], seconds: float) -> int:
    """How often a turn does the work, from what SVG's takes at some 60 GFLOP/s."""
    if work["kind"] == "matmul":
        return 20
    width, predicted = work["width"], work["predicted"]
    if work["kind"] == "training":
        one = flops.svg_step(width, CONTEXT + predicted, CONTEXT, free=False, targets_apart=False)
        one *= work["clips"]
    else:
        many = work["clips"] * work.get("samples", 1)
        one = 2 * many * predicted * (flops.encoder(width) + flops.decoder(width))
    return max(1, min(20, round(seconds * 60e9 / one)))


def flop_row(comparison: dict[str, Any]) -> dict[str, float]:
    """GFLOP of the step on each side, by layers."""
    clips, free = comparison["clips"], comparison["free_running"]
    size = comparison["width"], CONTEXT + comparison["predicted"], CONTEXT

    def count(options: dict[str, Any]) -> int:
        if "feedback" in options:
            return flops.our_step(*size, reencoded=free and options["feedback"] == "frame")
        return flops.svg_step(*size, free=free, targets_apart=options["targets_apart"])

    sides = comparison["sides"].items()
    return {name: clips * count(side["options"]) / 1e9 for name, side in sides}


if __name__ == "__main__":
    main()
