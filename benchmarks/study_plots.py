"""The plots of docs/study.md: curves of each question's arms, and all differences together."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.pages import png
from benchmarks.study_arms import BASELINE, BASELINE_LABELS
from cvae_jax.report.drawing import MUTED, RULE, SERIES

VALIDATION = ("validation/psnr_mean", "validation PSNR in training, dB")
KL = ("train/kl", "KL in training, nats")
LAST_PANEL = {
    "Teacher forcing": ("train/teacher_forcing_ratio", "ratio of teacher forcing"),
    "KL schedule": ("train/kl_weight", "β"),
}
"""What a question shows beside the rest; the others show the error in training."""
ERROR = ("train/mse", "MSE in training")
DIFFERENCES = "study_differences.png"

Results = Mapping[str, Any]


def file_of(question: str) -> str:
    """The name of a question's plot."""
    return f"study_{question.lower().replace(' ', '_')}.png"


def plots(result: Results, difference: Callable[..., Any]) -> dict[str, bytes]:
    """PNG files by name; `difference(result, arm, key)` gives mean and half an interval."""
    questions = dict.fromkeys(arm["question"] for arm in result["arms"] if arm["question"])
    found = {file_of(question): _curves(result, question) for question in questions}
    return found | ({DIFFERENCES: _forest(result, difference)} if questions else {})


def _curves(result: Results, question: str) -> bytes:
    """Four panels: means over the seeds, shaded from the least seed to the greatest."""
    figure = Figure(figsize=(13, 3.2), layout="constrained")
    panels = figure.subplots(1, 4)
    arms = [arm for arm in result["arms"] if arm["question"] in ("", question)]
    keys = (VALIDATION, KL, LAST_PANEL.get(question, ERROR))
    for arm, colour in zip(arms, SERIES, strict=False):
        runs = [run for run in result["runs"] if run["arm"] == arm["name"]]
        label = arm["label"] if arm["question"] else f"{BASELINE_LABELS[question]} (baseline)"
        for axes, (key, _) in zip(panels, keys, strict=False):
            curves = [run["curves"][key] for run in runs]
            _line(axes, curves[0]["step"], [curve["value"] for curve in curves], colour, label)
        frames = [run["psnr_per_frame"] for run in runs]
        _line(panels[3], np.arange(1, len(frames[0]) + 1), frames, colour, label)
    copied = result["runs"][0]["copy_last_frame_psnr_per_frame"]
    panels[3].plot(
        np.arange(1, len(copied) + 1), copied, "--", color=MUTED, label="copy last frame"
    )
    for axes, (_, title) in zip(panels, keys, strict=False):
        axes.set(xlabel="step", xlim=(0, None))
        _dress(axes, title)
    panels[3].set_xlabel("predicted frame")
    _dress(panels[3], "PSNR by frame, dB")
    figure.legend(*panels[3].get_legend_handles_labels(), loc="outside lower center", ncols=6)
    return png(figure)


def _line(axes: Axes, x, seeds, colour: str, label: str) -> None:
    axes.plot(x, np.mean(seeds, axis=0), color=colour, label=label)
    axes.fill_between(x, np.min(seeds, 0), np.max(seeds, 0), color=colour, alpha=0.15, linewidth=0)


def _forest(result: Results, difference: Callable[..., Any]) -> bytes:
    """Each arm less the baseline, with its interval."""
    arms = [arm for arm in result["arms"] if arm["question"]]
    figure = Figure(figsize=(13, 0.8 + 0.3 * len(arms)), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    for axes, key, title in zip(
        panels,
        ("psnr", "ssim", "posterior_gap"),
        ("PSNR, dB", "SSIM", "posterior gap, dB"),
        strict=True,
    ):
        for row, arm in enumerate(arms):
            mean, half = difference(result, arm["name"], key)
            half = 0.0 if np.isnan(half) else half
            axes.errorbar(mean, row, xerr=half, fmt="o", color=SERIES[0], capsize=3)
        axes.axvline(0.0, color=MUTED, linewidth=0.8)
        _dress(axes, f"{title}: arm less {BASELINE}")
        axes.locator_params(axis="x", nbins=5)
    labels = [f"{arm['question']}: {arm['label']}" for arm in arms]
    panels[0].set_yticks(range(len(arms)), labels)
    panels[0].invert_yaxis()
    return png(figure)


def _dress(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=9, loc="left")
    axes.grid(color=RULE, linewidth=0.6)
    axes.tick_params(labelsize=8)
