"""Tables and plot of what benchmarks/speed.py measured."""

from pathlib import Path
from typing import Any

from benchmarks.pages import png, write_part
from benchmarks.worker import MATMUL_SIZE
from cvae_jax.files import write_atomically

START = "<!-- made by benchmarks.speed: -->"
_HEAD = (
    "| | seconds | processor seconds | peak MiB | first call, seconds | ours is faster by |\n"
    "|---|---|---|---|---|---|"
)


def tables(result: dict[str, Any]) -> str:
    """Everything, in Markdown."""
    machine, packages = result["machine"], result["machine"]["packages"]
    abouts = [side["about"] for one in result["comparisons"] for side in one["sides"].values()]
    torch = next(about["torch"] for about in abouts if "torch" in about)
    devices = ", ".join(sorted({about["device"] for about in abouts}))
    load = f"Load average {machine['load_average_at_start']:.1f} at the start"
    if "load_average_at_end" in result:  # else it was stopped before
        load += f", {result['load_average_at_end']:.1f} at the end"
    parts = [
        f"{machine['processor']}, {machine['cores']} cores; devices: {devices}; Python "
        f"{machine['python']}, jax {packages['jax']}, torch {torch}. "
        f"{load}. Medians of {result['settings']['rounds']} rounds."
    ]
    for one in result["comparisons"]:
        parts.append(f"**{_title(one)}**\n\n{_HEAD}\n" + "\n".join(_rows(one["sides"])))
    for table in (_samples(result["comparisons"]), _matmul(result), _flops(result), _start(result)):
        if table:
            parts.append(table)
    return "\n\n".join(parts)


def write_tables(path: Path, result: dict[str, Any]) -> None:
    """Puts the tables between the two markers of a document."""
    write_part(path, START, tables(result))


def plot(path: Path, growth: list[dict[str, Any]]) -> None:
    """Seconds against batch, clip length and number of samples: straight lines are the aim."""
    from matplotlib.figure import Figure

    trainings = [one for one in growth if one["kind"] == "training"]
    length = lambda one: one["context"] + one["predicted"]  # noqa: E731
    twelve = [one for one in trainings if length(one) == 12]
    panels = (
        ("clips in a training step", lambda one: one["clips"], twelve),
        ("frames of a training clip", length, [one for one in trainings if one["clips"] == 12]),
        (
            "samples of one clip, 2 -> 28",
            lambda one: one["samples"],
            [one for one in growth if one["kind"] == "generation"],
        ),
    )
    figure = Figure(figsize=(12, 4), layout="constrained")
    for axes, (label, place, ones) in zip(figure.subplots(1, 3), panels, strict=True):
        ordered = sorted(ones, key=place)
        for side in ordered[0]["sides"] if ordered else ():
            seconds = [one["sides"][side]["seconds"] for one in ordered]
            axes.plot([place(one) for one in ordered], seconds, marker="o", label=side)
            axes.legend()
        axes.set(xlabel=label, ylabel="seconds", xlim=(0, None), ylim=(0, None))
    figure.suptitle(f"width {growth[0]['width']}")
    write_atomically(path, png(figure))


def _title(one: dict[str, Any]) -> str:
    if one["kind"] == "generation":
        return f"Width {one['width']}: generating 2 -> {one['predicted']}, {one['samples']} samples"
    if one["kind"] == "evaluation":
        work = f"{one['context']} -> {one['predicted']}, one sample, with PSNR"
        return f"Width {one['width']}: evaluating {one['clips']} clips, {work}"
    way = "free running" if one["free_running"] else "teacher-forced"
    return (
        f"Width {one['width']}: {way} training step, {one['clips']} clips of "
        f"{one['context']} + {one['predicted']} frames"
    )


def _rows(sides: dict[str, dict[str, Any]]) -> list[str]:
    ours = [side for name, side in sides.items() if name.startswith("ours")]
    rows = []
    for name, side in sides.items():
        alike = [our for our in ours if _precision(our) == _precision(side)]
        ratios = [f"{side['seconds'] / our['seconds']:.2f}" for our in alike]
        faster = "" if side in ours else " / ".join(ratios)
        rows.append(
            f"| {name} | {side['seconds']:.3f} | {side['cpu_seconds']:.3f} | "
            f"{side['peak_mib']:.0f} | {side['first_seconds']:.1f} | {faster} |"
        )
    return rows


def _precision(side: dict[str, Any]) -> str:
    return side["options"]["precision"]


def _samples(comparisons: list[dict[str, Any]]) -> str:
    """What many samples of a clip cost against one."""
    made = [one for one in comparisons if one["kind"] == "generation"]
    rows = []
    for width in sorted({one["width"] for one in made}):
        by_samples = {one["samples"]: one["sides"] for one in made if one["width"] == width}
        for samples in sorted(by_samples.keys() - {1}) if 1 in by_samples else ():
            for name, side in by_samples[samples].items():
                cost = side["seconds"] / by_samples[1][name]["seconds"]
                rows.append(f"| {width} | {name} | {samples} | {cost:.1f} |")
    head = "**Samples of one clip against one**\n\n| width | | samples | times the cost of one |"
    return "\n".join([head, "|---|---|---|---|", *rows]) if rows else ""


def _matmul(result: dict[str, Any]) -> str:
    rows = [
        f"| {one['precision']} | {name} | {_gflops(side):.0f} |"
        for one in result["matmul"]
        for name, side in one["sides"].items()
    ]
    head = "**A product of two large square matrices**\n\n"
    return head + "\n".join(["| | | GFLOP/s |", "|---|---|---|", *rows]) if rows else ""


def _gflops(side: dict[str, Any]) -> float:
    size = MATMUL_SIZE["cpu" if side["about"]["device"] == "cpu" else "gpu"]
    return 2 * size**3 / side["seconds"] / 1e9


def _flops(result: dict[str, Any]) -> str:
    """What a step computes by its layers, how fast, and that beside the fastest product."""
    peaks = {one["precision"]: max(map(_gflops, one["sides"].values())) for one in result["matmul"]}
    trainings = [one for one in result["comparisons"] if one["kind"] == "training"]
    rows = []
    for one, counts in zip(trainings, result.get("flops", ()), strict=False):
        way = "free running" if one["free_running"] else "teacher-forced"
        for name, side in one["sides"].items():
            layers = counts[name]
            speed = layers / side["seconds"]
            share = 100 * speed / peaks[_precision(side)]
            size = f"{one['width']} | {one['clips']} | {way}"
            rows.append(f"| {size} | {name} | {layers:.0f} | {speed:.0f} | {share:.0f} % |")
    head = "**GFLOP of a training step by layers, forward and backward**\n\n"
    head += "| width | clips | | | GFLOP | GFLOP/s | of the product's |\n"
    return head + "\n".join(["|---|---|---|---|---|---|---|", *rows]) if rows else ""


def _start(result: dict[str, Any]) -> str:
    rows = [
        f"| {width} | {name} | {seconds:.1f} |"
        for width, sides in result.get("start", {}).items()
        for name, seconds in sides.items()
    ]
    head = "**From the command to the first training step, 12 clips of 2 + 10 frames**\n\n"
    return head + "\n".join(["| width | | seconds |", "|---|---|---|", *rows]) if rows else ""
