"""Tables and plot of what benchmarks/quality.py measured, for docs/quality.md."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.pages import png, write_part
from benchmarks.study_page import Interval, t_interval
from cvae_jax.files import write_atomically
from cvae_jax.report.drawing import SERIES

START = "<!-- made by benchmarks.quality: -->"
PLOT = "quality.png"
SIDES = {"ours": "ours", "peer": "SVG-FP"}


def write(docs: Path, result: dict[str, Any]) -> None:
    """Puts tables and plot into docs/quality.md."""
    plot(docs / PLOT, result)
    picture = f"![PSNR by frame and over the minutes]({PLOT})"
    write_part(docs / "quality.md", START, f"{tables(result)}\n\n{picture}")


def tables(result: dict[str, Any]) -> str:
    """Both tables and what they were measured on, in Markdown."""
    machine, settings = result["machine"], result["settings"]
    ours, peer = runs_of(result, "ours"), runs_of(result, "peer")
    count = min(len(ours), len(peer))
    head = (
        f"{machine['processor']}, {machine['cores']} cores, load average "
        f"{machine['load_average_at_start']:.1f} at the start; `{settings['source']}`, width "
        f"{settings['width']}, {count} seeds, {_mean(ours, 'minutes'):.1f} minutes each: "
        f"{_mean(ours, 'steps'):.0f} steps of ours, {_mean(peer, 'steps'):.0f} of SVG-FP with "
        f"batches of {settings['peer_batch']}. Means over seeds with 95 % intervals (Student's t)."
    )
    rows = ["| test clips | ours | SVG-FP | ours - SVG-FP | 95 % |", "|---|---|---|---|---|"]
    for title, name, key, form in measures(settings):
        one, other = (
            t_interval([run["scores"][name][key] for run in side[:count]]) for side in (ours, peer)
        )
        cells = [f"{title}: {key.partition('_')[0].upper()}", _cell(one, form), _cell(other, form)]
        cells += [f"{one.mean - other.mean:+{form}}", verdict(one, other)]
        rows.append("| " + " | ".join(cells) + " |")
    reach = ["| seed | SVG-FP at its end, validation PSNR | after minutes | ours is there after |"]
    reach.append("|---|---|---|---|")
    for our, their in zip(ours, peer, strict=False):
        minutes, end = their["validation_psnr"][-1]
        there = minutes_to_reach(our["validation_psnr"], end)
        told = "not reached" if there is None else f"{there:.1f} ({there / minutes:.0%})"
        reach.append(f"| {our['seed']} | {end:.2f} | {minutes:.1f} | {told} |")
    return "\n\n".join([head, "\n".join(rows), "\n".join(reach)])


def measures(settings: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Rows of the first table: title, name of the prediction, key of the figure, its form."""
    clips, best = settings["clips"], settings["best_of"]
    names = {
        "short": (f"2 -> 10, one sample of {clips} clips", "mean"),
        "long": (f"2 -> 28, one sample of {clips} clips", "mean"),
        "best_of": (
            f"2 -> 10, best of {best} of {settings['best_of_clips']} clips",
            f"best_of_{best}",
        ),
    }
    return [
        (title, name, f"{metric}_{kind}", form)
        for name, (title, kind) in names.items()
        for metric, form in (("psnr", ".2f"), ("ssim", ".3f"))
    ]


def minutes_to_reach(curve: list[tuple[float, float]], psnr: float) -> float | None:
    """When a curve of (minutes, PSNR) is first at `psnr`; None if never."""
    return next((minutes for minutes, value in curve if value >= psnr), None)


def verdict(one: Interval, other: Interval) -> str:
    """Whether two intervals overlap."""
    if np.isnan(one.half) or np.isnan(other.half):
        return "no interval from one seed"
    apart = abs(one.mean - other.mean) > one.half + other.half
    return "intervals apart" if apart else "intervals overlap"


def plot(path: Path, result: dict[str, Any]) -> None:
    """PSNR by predicted frame, 2 -> 28, and of the validation clips over the minutes."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    by_frame, by_minute = figure.subplots(1, 2)
    for (side, label), colour in zip(SIDES.items(), SERIES, strict=False):
        for number, run in enumerate(runs_of(result, side)):
            name = label if number == 0 else None
            values = run["scores"]["long"]["psnr_per_frame"]
            by_frame.plot(range(1, len(values) + 1), values, color=colour, label=name)
            minutes, psnr = zip(*run["validation_psnr"], strict=True)
            by_minute.plot(minutes, psnr, color=colour, marker="o", markersize=4, label=name)
    copied = runs_of(result, "ours")[0]["copy_last_frame"]["long"]["psnr_per_frame"]
    by_frame.plot(range(1, len(copied) + 1), copied, color="grey", label="copy last frame")
    by_frame.set(xlabel="predicted frame", ylabel="PSNR of the test clips, dB")
    by_minute.set(xlabel="minutes", ylabel="PSNR of the validation clips, dB", xlim=(0, None))
    for axes in (by_frame, by_minute):
        axes.legend()
        axes.grid(alpha=0.3)
    write_atomically(path, png(figure))


def runs_of(result: dict[str, Any], side: str) -> list[dict[str, Any]]:
    """One for each seed."""
    return [run for run in result["runs"] if run["side"] == side]


def _mean(runs: list[dict[str, Any]], key: str) -> float:
    return float(np.mean([run[key] for run in runs]))


def _cell(interval: Interval, form: str) -> str:
    half = "" if np.isnan(interval.half) else f" ± {interval.half:{form}}"
    return f"{interval.mean:{form}}{half}"
