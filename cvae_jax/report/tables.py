"""The figures and settings of runs as rows of text."""

import math
import re
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

from cvae_jax.report.runs import VARIANTS, Run

NOTHING = "–"


class Measure(NamedTuple):
    """A column of the table of results."""

    key: str  # in evaluation/STEP.json
    heading: str
    unit: str
    decimals: int
    lower_is_better: bool = False


class Cell(NamedTuple):
    """A figure, and its confidence interval to be set below it."""

    text: str
    interval: str = ""


class Setting(NamedTuple):
    """A named value of each run."""

    name: str
    values: Sequence[str]

    @property
    def group(self) -> str:
        """The part of the settings that it belongs to, `train` for `train.batch_size`."""
        return self.name.partition(".")[0] if "." in self.name else ""

    @property
    def differs(self) -> bool:
        """Whether the runs differ in it."""
        return len(set(self.values)) > 1


MEASURES = ["psnr_mean", "psnr_moving_mean", "ssim_mean"]
HEADINGS = {"psnr_moving": "PSNR, moving pixels"}
LOWER_IS_BETTER = ("lpips", "fvd")

LATENT = [  # name, section of evaluation/STEP.json (None: the reconstruction), key, decimals
    ("KL of posterior and prior, nats a frame", "latent", "kl_mean", 4),
    ("active dimensions", "latent", "num_active_dimensions", 0),
    ("reconstruction from the posterior, PSNR (dB)", None, "psnr_mean", 2),
    ("that above prediction from the prior (dB)", None, "psnr_above_prediction_mean", 2),
    ("deviation between samples, of a range of 1", "diversity", "pixel_std_mean", 4),
]


def measures(runs: Sequence[Run]) -> list[Measure]:
    """The usual measures, then every other mean, median and best of N that some run has."""
    keys = dict.fromkeys([*MEASURES, *(key for run in runs for key in run.model)])
    return [found for found in map(_measure, keys) if found]


def _measure(key: str) -> Measure | None:
    """The column of a key such as `psnr_mean`, `psnr_median` or `psnr_best_of_100`."""
    match = re.fullmatch(r"(\w+?)_(mean|median|best_of_(\d+))", key)
    if not match:
        return None
    name, kind, number = match.groups()
    heading = HEADINGS.get(name, name.upper().replace("_", " "))
    heading += f", best of {number}" if number else ", median" if kind == "median" else ""
    unit, decimals = ("dB", 2) if name.startswith("psnr") else ("", 3)
    return Measure(key, heading, unit, decimals, name in LOWER_IS_BETTER)


def results(run: Run, columns: Sequence[Measure]) -> list[tuple[str, list[Cell]]]:
    """Rows of the table of results, none where nothing was measured."""
    if not run.model:
        return []
    rows = [("Model", [_cell(run.model, column) for column in columns])]
    for section, title in VARIANTS.items():
        cells = [_cell(run.measures(section), column) for column in columns]
        if section == "copy_last_frame":
            gains = [_gain(run, column) for column in columns]
            rows += [(title, cells), ("Gain over copying", gains)]
        elif any(cell.text != NOTHING for cell in cells):  # such as no actions to shuffle
            rows.append((title, cells))
    return rows


def latent(runs: Sequence[Run]) -> list[Setting]:
    """How much of the latent is used and how much samples differ, of those runs that say it."""
    rows = []
    for name, section, key, decimals in LATENT:
        column = Measure(key, name, "", decimals)
        found = [run.reconstruction if section is None else run.measures(section) for run in runs]
        cells = [_cell(figures, column) for figures in found]
        texts = [f"{text} ({interval})" if interval else text for text, interval in cells]
        if set(texts) != {NOTHING}:
            rows.append(Setting(name, texts))
    return rows


def finding(run: Run) -> str:
    """What the evaluation found, in two sentences; empty where there is none."""
    mine = _number(run.model.get("psnr_mean"))
    baseline = _number(run.copy_last_frame.get("psnr_mean"))
    shuffled = _number(run.evaluation.get("shuffled_actions", {}).get("psnr_mean"))
    if mine is None or baseline is None:
        return ""
    text = (
        f"Predicted frames reach {mine:.1f} dB PSNR, {abs(mine - baseline):.1f} dB "
        f"{'above' if mine >= baseline else 'below'} repeating the last context frame"
    )
    frames = [run.model.get("psnr_per_frame", []), run.copy_last_frame.get("psnr_per_frame", [])]
    gains = [_difference(*pair) for pair in zip_longest(*frames)]
    if gains:
        above = sum(gain is not None and gain > 0 for gain in gains)
        where = "every one" if above == len(gains) else f"{above}"
        text += f"; they are above it at {where} of the {len(gains)} frames"
    if shuffled is not None:
        verb = "falls" if shuffled < mine else "rises"
        text += f". Given another clip’s actions, PSNR {verb} by {abs(shuffled - mine):.1f} dB"
    return text + "."


def settings(columns: Sequence[Mapping[str, Any]]) -> list[Setting]:
    """Nested settings of several runs beside each other, under dotted names."""
    flat = [_flat(column) for column in columns]
    names = dict.fromkeys(name for column in flat for name in column)
    return [Setting(name, [column.get(name, NOTHING) for column in flat]) for name in names]


def grouped(rows: Sequence[Setting]) -> dict[str, list[Setting]]:
    """Settings by the part that they belong to, parts in the order of their first setting."""
    groups: dict[str, list[Setting]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    return groups


def _gain(run: Run, column: Measure) -> Cell:
    """How much better the model is than the baseline."""
    pair = run.model.get(column.key), run.copy_last_frame.get(column.key)
    gain = _difference(*(pair[::-1] if column.lower_is_better else pair))
    return Cell(NOTHING if gain is None else f"{gain:+.{column.decimals}f}".replace("-", "−"))


def _cell(figures: Mapping[str, Any], column: Measure) -> Cell:
    """A figure and its interval; a dash where it was not measured."""
    value, interval = _number(figures.get(column.key)), figures.get(f"{column.key}_interval")
    if value is None:
        return Cell(NOTHING)
    text = f"{value:.{column.decimals}f}"
    if not isinstance(interval, list) or None in map(_number, interval):
        return Cell(text)
    return Cell(text, " to ".join(f"{end:.{column.decimals}f}" for end in interval))


def _number(value: Any) -> float | None:
    """What was read from a file where it is a finite number, otherwise None."""
    is_number = isinstance(value, int | float) and math.isfinite(value)
    return float(value) if is_number else None


def _difference(one: Any, other: Any) -> float | None:
    """`one - other` where both are finite numbers."""
    minuend, subtrahend = _number(one), _number(other)
    return None if minuend is None or subtrahend is None else minuend - subtrahend


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """A nested mapping as one level of dotted names and texts."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = str(value)
    return flat
