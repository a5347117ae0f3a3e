"""Which curves a report shows, and what each of them tells."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from cvae_jax.report.drawing import Chart, Line
from cvae_jax.report.runs import Run

BASELINES = {  # section of evaluation/STEP.json, label, how a caption tells it
    "copy_last_frame": ("copy last frame", "Dashed grey: repeating the last context frame."),
    "mean_motion": ("mean motion", "Dash-dotted grey: moving as the data do on average."),
}


class Logged(NamedTuple):
    """A chart of one metric of `metrics.jsonl` over the steps."""

    key: str
    name: str
    title: str
    y_label: str
    caption: str
    smooth: bool = False
    log_y: bool = False
    y_limits: tuple[float | None, float | None] = (None, None)
    baseline: str | None = None


TRAINING = [
    Logged(
        "train/mse",
        "mse",
        "Reconstruction error",
        "MSE",
        "Mean squared error over pixels and channels of the predicted frames, logarithmic scale.",
        smooth=True,
        log_y=True,
    ),
    Logged(
        "validation/psnr_mean",
        "validation_psnr",
        "Validation PSNR",
        "PSNR (dB)",
        "Clips the model never trained on, predicted from the context alone. Dashed grey: "
        "repeating the last context frame.",
        baseline="validation/copy_last_frame_psnr_mean",
    ),
    Logged(
        "train/kl",
        "kl",
        "KL divergence",
        "KL (nats)",
        "How much the posterior tells beyond the prior, per frame. At zero the latent is unused.",
        smooth=True,
        y_limits=(0.0, None),
    ),
    Logged(
        "train/kl_weight",
        "kl_weight",
        "KL weight β",
        "β",
        "What one nat of KL costs in the loss.",
        y_limits=(0.0, None),
    ),
    Logged(
        "train/teacher_forcing_ratio",
        "teacher_forcing_ratio",
        "Teacher forcing",
        "ratio",
        "How often training shows the true frame in place of the model’s own.",
        y_limits=(-0.03, 1.03),
    ),
    Logged(
        "train/learning_rate",
        "learning_rate",
        "Learning rate",
        "learning rate",
        "Step size given to the optimizer.",
        y_limits=(0.0, None),
    ),
]

PER_FRAME = [  # key in evaluation/STEP.json, title, y_label, caption
    (
        "psnr_per_frame",
        "PSNR by frame",
        "PSNR (dB)",
        "Higher is better; the first predicted frame is 1.",
    ),
    (
        "ssim_per_frame",
        "SSIM by frame",
        "SSIM",
        "Structural similarity, 1 for identical frames.",
    ),
    (
        "kl_per_frame",
        "KL by frame",
        "KL (nats)",
        "What the posterior would add to the prior at each frame, had it been asked.",
    ),
]


def training(runs: Sequence[Run]) -> list[Chart]:
    """Charts over the steps of training, of those metrics that some run has logged."""
    charts = []
    for logged in TRAINING:
        lines = []
        for number, run in enumerate(runs):
            lines += _over_steps(run.name, number, run.metrics, logged.key, logged.smooth)
            if logged.baseline:
                label, _ = BASELINES["copy_last_frame"]
                lines += _over_steps(label, None, run.metrics, logged.baseline)
        chart = Chart(
            logged.name,
            logged.title,
            logged.caption,
            "step",
            logged.y_label,
            _distinct(lines),
            logged.log_y,
            logged.y_limits,
        )
        if lines:
            charts.append(chart)
    return charts


def per_frame(runs: Sequence[Run]) -> list[Chart]:
    """Charts over the predicted frames, of what some run has measured."""
    charts = []
    for key, title, y_label, caption in PER_FRAME:
        lines = []
        for number, run in enumerate(runs):
            mine = run.evaluation if key == "kl_per_frame" else run.model
            lines += _over_frames(run.name, mine, key, number)
            for best in _best_of(mine, key):
                samples = best.removesuffix("_per_frame").rpartition("_")[2]
                lines += _over_frames(f"{run.name}, best of {samples}", mine, best, number, 3)
            for place, (section, (label, _)) in enumerate(BASELINES.items()):
                lines += _over_frames(label, run.measures(section), key, None, place)
        if lines:
            caption = " ".join([caption, *_explained(lines)])
            charts.append(Chart(key, title, caption, "predicted frame", y_label, _distinct(lines)))
    return charts


def latent(runs: Sequence[Run]) -> list[Chart]:
    """A chart over the dimensions of the latent, of the runs that have measured them."""
    lines = []
    for number, run in enumerate(runs):
        kl = np.sort(np.array(run.measures("latent").get("kl_per_dimension") or [], float))[::-1]
        if len(kl):
            lines.append(Line(run.name, np.arange(1.0, len(kl) + 1), kl, number))
    caption = "What each dimension tells beyond the prior, per frame, from the most to the least."
    labels = ("dimension, by its KL", "KL (nats)")
    chart = Chart(
        "kl_per_dimension", "KL by dimension", caption, *labels, lines, y_limits=(0.0, None)
    )
    return [chart] if lines else []


def _best_of(measures: Mapping[str, Any], key: str) -> list[str]:
    """Keys of the course over frames of the best of several samples."""
    pattern = key.replace("_per_frame", r"_best_of_\d+_per_frame")
    return [name for name in measures if re.fullmatch(pattern, name)]


def _explained(lines: Sequence[Line]) -> Iterator[str]:
    """What a caption says of the baselines, bands and dots of a chart."""
    labels = {line.label for line in lines if line.series is None}
    yield from (text for label, text in BASELINES.values() if label in labels)
    if any(line.series is not None and line.dash for line in lines):
        yield "Dotted: the best of several samples."
    if any(line.band is not None for line in lines):
        yield "Shaded: 95 % interval over clips."


def _over_steps(
    label: str,
    series: int | None,
    metrics: Sequence[Mapping[str, Any]],
    key: str,
    smooth: bool = False,
) -> list[Line]:
    """The curve of a logged metric; null becomes a gap, and a metric never logged no curve."""
    points = [(line["step"], line[key]) for line in metrics if key in line]
    steps, values = np.array(points, float).reshape(-1, 2).T
    return [Line(label, steps, values, series, smooth)] if np.isfinite(values).any() else []


def _over_frames(
    label: str,
    measures: Mapping[str, Any],
    key: str,
    series: int | None,
    dash: int = 0,
) -> list[Line]:
    """The curve of a measure of frames 1, 2, ...; none where it was not measured."""
    y = np.array(measures.get(key) or [], float)
    ends = np.array(measures.get(f"{key}_interval") or [], float)
    band = ends.T if ends.shape == (len(y), 2) else None
    x = np.arange(1.0, len(y) + 1)
    line = Line(label, x, y, series, band=band, dash=dash)
    return [line] if np.isfinite(y).any() else []


def _distinct(lines: Sequence[Line]) -> list[Line]:
    """The runs' curves, then the baselines but for those that repeat another run's."""
    kept: list[Line] = []
    for line in sorted(lines, key=lambda line: line.series is None):
        repeated = line.series is None and any(
            other.series is None
            and np.array_equal(line.x, other.x)
            and np.array_equal(line.y, other.y, equal_nan=True)
            for other in kept
        )
        if not repeated:
            kept.append(line)
    return kept
