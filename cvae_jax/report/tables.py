"""The figures and settings of runs as rows of text."""

import math
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

from cvae_jax.report.runs import Run

NOTHING = "–"


class Measure(NamedTuple):
    """A column of the table of results."""

    key: str  # in evaluation/STEP.json
    heading: str
    unit: str
    decimals: int


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


MEASURES = [
    Measure("psnr_mean", "PSNR", "dB", 2),
    Measure("psnr_moving_mean", "PSNR, moving pixels", "dB", 2),
    Measure("ssim_mean", "SSIM", "", 3),
]


def measures(runs: Sequence[Run]) -> list[Measure]:
    """The usual measures, then every `..._best_of_N` that some run has."""
    found = []
    for key in dict.fromkeys(key for run in runs for key in run.model):
        name, best_of, number = key.partition("_best_of_")
        if best_of and number.isdigit():
            unit, decimals = ("dB", 2) if name == "psnr" else ("", 3)
            found.append(Measure(key, f"{name.upper()}, best of {number}", unit, decimals))
    return [*MEASURES, *found]


def results(run: Run, columns: Sequence[Measure]) -> list[tuple[str, list[Cell]]]:
    """Rows of the table of results, none where nothing was measured."""
    if not run.model:
        return []
    rows = [
        ("Model", [_cell(run.model, column) for column in columns]),
        ("Copy last frame", [_cell(run.copy_last_frame, column) for column in columns]),
        ("Gain over copying", [_gain(run, column) for column in columns]),
    ]
    if shuffled := run.evaluation.get("shuffled_actions"):  # not there if condition=none
        cells = [_cell(shuffled, column) for column in columns]
        rows.append(("Model, another clip’s actions", cells))
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
    gain = _difference(run.model.get(column.key), run.copy_last_frame.get(column.key))
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
