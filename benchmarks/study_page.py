"""docs/study.md of what benchmarks/study.py found: tables, intervals and what they tell by rule."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np
from scipy import special

from benchmarks import study_plots
from benchmarks.study_arms import ARMS, BASELINE, BASELINE_LABELS
from cvae_jax.files import write_atomically

TEMPLATE = Path(__file__).parent / "study_template.md"
CONFIDENCE = 0.95
MIN_SEEDS = 3
"""Of a study that conclusions are drawn from."""

Results = Mapping[str, Any]


class Metric(NamedTuple):
    """A column of the tables."""

    key: str
    name: str
    unit: str
    form: str


METRICS = (
    Metric("psnr", "PSNR", " dB", ".2f"),
    Metric("ssim", "SSIM", "", ".3f"),
    Metric("psnr_gain", "PSNR above copying", " dB", ".2f"),
    Metric("kl", "KL", " nats", ".2g"),
    Metric("posterior_gap", "posterior gap", " dB", ".2f"),
    Metric("action_sensitivity", "lost with other actions", " dB", ".2f"),
)
COMPARED = tuple(metric for metric in METRICS if metric.key != "psnr_gain")
"""Copying is the same for all arms, so the gain differs as PSNR does."""


class Interval(NamedTuple):
    """A mean over seeds and half the width of its interval, NaN for a single seed."""

    mean: float
    half: float

    @property
    def verdict(self) -> str:
        """What may be said of a difference."""
        if np.isnan(self.half):
            return "no interval from one seed"
        if abs(self.mean) <= self.half:
            return "no difference at this size"
        return "higher" if self.mean > 0 else "lower"


def t_interval(values: Sequence[float]) -> Interval:
    """The 95 % interval of the mean by Student's t, each seed one observation."""
    count = len(values)
    if count < 2:
        return Interval(float(np.mean(values)), float("nan"))
    quantile = special.stdtrit(count - 1, (1 + CONFIDENCE) / 2)
    return Interval(
        float(np.mean(values)), float(quantile * np.std(values, ddof=1) / np.sqrt(count))
    )


def figure(result: Results, arm: str, key: str) -> Interval:
    """Of a metric over the seeds of an arm."""
    return t_interval([run[key] for run in result["runs"] if run["arm"] == arm])


def difference(result: Results, arm: str, key: str) -> Interval:
    """An arm less the baseline, seed by seed."""
    by_seed = {
        name: {run["seed"]: run[key] for run in result["runs"] if run["arm"] == name}
        for name in (arm, BASELINE)
    }
    return t_interval([by_seed[arm][seed] - by_seed[BASELINE][seed] for seed in by_seed[arm]])


def write(docs: Path, result: Results) -> None:
    """Writes study.md and its plots into the folder `docs`."""
    for name, png in study_plots.plots(result, difference).items():
        write_atomically(docs / name, png)
    write_atomically(docs / "study.md", page(result))


def page(result: Results) -> str:
    """The page in Markdown, every figure of it from `result`."""
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True, trim_blocks=True
    )
    others = [arm for arm in result["arms"] if arm["question"]]
    questions = list(dict.fromkeys(arm["question"] for arm in others))
    comparisons = len(others) * len(COMPARED)
    seconds = [run["seconds"] for run in result["runs"]]
    num_seeds = len({run["seed"] for run in result["runs"]})
    named = {arm["name"] for arm in result["arms"]}
    return environment.from_string(TEMPLATE.read_text()).render(
        result,
        changed=[(arm["label"], arm["question"], _changes(arm)) for arm in others],
        whole=num_seeds >= MIN_SEEDS and all(arm.name in named for arm in ARMS),
        num_seeds=num_seeds,
        seconds=seconds,
        means=_table(result, result["arms"], METRICS, figure),
        differences=_table(result, others, COMPARED, difference),
        questions=[
            (name, _sentences(result, name), study_plots.file_of(name)) for name in questions
        ],
        comparisons=comparisons,
        false_alarms=(1 - CONFIDENCE) * comparisons,
        baseline_labels=BASELINE_LABELS,
        copying=result["runs"][0]["psnr"] - result["runs"][0]["psnr_gain"],
        figure=lambda arm, key: shown(figure(result, arm, key), _metric(key)),
        difference=lambda arm, key: shown(difference(result, arm, key), _metric(key), "+"),
    )


def shown(interval: Interval, metric: Metric, sign: str = "") -> str:
    """As `+0.52 ± 0.11`, without ± for a single seed."""
    mean = f"{interval.mean:{sign}{metric.form}}"
    return mean if np.isnan(interval.half) else f"{mean} ± {interval.half:{metric.form}}"


def _metric(key: str) -> Metric:
    return next(metric for metric in METRICS if metric.key == key)


def _changes(arm: Mapping[str, Any]) -> str:
    return ", ".join(f"`{field}={value}`" for field, value in arm["changes"].items())


def _table(result, arms, metrics, of) -> str:
    """A row for each arm; differences that an interval shows are bold."""
    sign = "+" if of is difference else ""
    heads = [f"{metric.name}{',' if metric.unit else ''}{metric.unit}" for metric in metrics]
    lines = [f"| | {' | '.join(heads)} |", "|---" * (len(metrics) + 1) + "|"]
    for arm in arms:
        cells = []
        for metric in metrics:
            found = of(result, arm["name"], metric.key)
            bold = "**" if sign and found.verdict in ("higher", "lower") else ""
            cells.append(f"{bold}{shown(found, metric, sign)}{bold}")
        question = f"{arm['question']}: " if arm["question"] else ""
        lines.append(f"| {question}{arm['label']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _sentences(result: Results, question: str) -> list[str]:
    """What the intervals tell of each arm of a question."""
    return [
        f"*{arm['label']}*: {_told(result, arm['name'])}"
        for arm in result["arms"]
        if arm["question"] == question
    ]


def _told(result: Results, arm: str) -> str:
    parts, undecided = [], {}
    for metric in COMPARED:
        found = difference(result, arm, metric.key)
        if found.verdict in ("higher", "lower"):
            low, high = sorted((abs(found.mean) - found.half, abs(found.mean) + found.half))
            parts.append(
                f"{metric.name} {found.verdict} by {abs(found.mean):{metric.form}}{metric.unit} "
                f"({low:{metric.form}} to {high:{metric.form}})"
            )
        else:
            undecided.setdefault(found.verdict, []).append(metric.name)
    parts += [f"{', '.join(names)}: {verdict}" for verdict, names in undecided.items()]
    return "; ".join(parts) + "."
