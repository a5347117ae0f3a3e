"""Draw a chart once, as a PNG for papers and as an SVG that takes the colours of its page."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import (
    EngFormatter,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
)

from cvae_jax.files import plain

# In the SVG each of these becomes a CSS variable with the colour itself for want of one.
COLOURS = {
    "#1c1f24": "ink",
    "#6a7078": "muted",
    "#dfe2e6": "rule",
    "#0a66c2": "series-1",
    "#b8520a": "series-2",
    "#2b7a4b": "series-3",
    "#7547ad": "series-4",
    "#b52d7a": "series-5",
    "#78591b": "series-6",
}
INK, MUTED, RULE, *SERIES = COLOURS
DASHES = [(), (5.0, 2.5), (5.0, 2.0, 1.0, 2.0), (1.2, 1.8)]  # in widths of the line
LINE_WIDTH = 1.5
MOST_POINTS = 600
MOST_LIVE_POINTS = 5000

Points = Float[np.ndarray, " points"]


@dataclass(frozen=True)
class Line:
    """One curve; `series` is the number of its run, None for a baseline.

    NaN in `y` leaves a gap. `smooth` adds a running mean in front of the points themselves.
    `band` has the lower and the upper ends of an interval around each point. `dash` tells
    curves of one run, or several baselines, apart by their dashes.
    """

    label: str
    x: Points
    y: Points
    series: int | None = 0
    smooth: bool = False
    band: Float[np.ndarray, "2 points"] | None = None
    dash: int = 0

    @property
    def mean(self) -> Points | None:
        """The running mean, where one is to be drawn."""
        scattered = self.smooth and len(self.x) > 50
        return running_mean(self.y, len(self.x) // 25) if scattered else None

    @property
    def dashes(self) -> tuple[float, ...]:
        """Lengths of dashes and gaps, in widths of the line; none for a solid one."""
        return DASHES[1 + self.dash % 3] if self.series is None else dashes(self.series, self.dash)


@dataclass(frozen=True)
class Chart:
    """What is drawn: `name` is that of the PNG file, `caption` says what one sees."""

    name: str
    title: str
    caption: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    log_y: bool = False
    y_limits: tuple[float | None, float | None] = (None, None)


def draw(chart: Chart) -> tuple[bytes, str]:
    """Draws a chart, as PNG with title and legend and as SVG that leaves both to its page."""
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": chart.name}):
        figure = Figure(figsize=(3.6, 2.25), layout="constrained")
        axes = figure.add_subplot()
        for line in chart.lines:
            _draw_line(axes, line)
        _dress(axes, chart)
        svg, png = io.StringIO(), io.BytesIO()
        figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None})
        axes.set_title(chart.title, fontsize=9, color=INK, loc="left")
        _add_legend(axes, chart.lines)
        figure.savefig(png, format="png", dpi=200, facecolor="white")
    return png.getvalue(), _for_page(svg.getvalue())


def live(chart: Chart) -> dict[str, Any]:
    """What charts.js needs to draw the chart again, as it is zoomed and pointed at."""
    return {
        "xLabel": chart.x_label,
        "yLabel": chart.y_label,
        "logY": _is_log(chart),
        "yLimits": chart.y_limits,
        "lines": [
            {
                "label": line.label,
                "colour": COLOURS[colour(line.series)],
                "dashes": dash_array(line.dashes),
                "x": _sent(line.x),
                "y": _sent(line.y),
                "mean": None if line.mean is None else _sent(line.mean),
                "band": None if line.band is None else [_sent(end) for end in line.band],
            }
            for line in chart.lines
        ],
    }


def running_mean(values: Points, window: int) -> Points:
    """Mean over `window` neighbours that leaves out NaN; at the ends, over those that exist."""
    known = np.isfinite(values)
    kernel = np.ones(min(window, len(values)))
    sums = np.convolve(np.where(known, values, 0.0), kernel, "same")
    counts = np.convolve(known.astype(float), kernel, "same")
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def colour(series: int | None) -> str:
    """Colour of a run's curves; runs beyond the sixth share it and differ by their dashes."""
    return MUTED if series is None else SERIES[series % len(SERIES)]


def dashes(series: int, dash: int = 0) -> tuple[float, ...]:
    """Dashes of a run's curves, of which the first has dash 0."""
    return DASHES[(series // len(SERIES) + dash) % len(DASHES)]


def dash_array(lengths: Sequence[float]) -> str:
    """Dashes as SVG has them."""
    return " ".join(f"{LINE_WIDTH * length:g}" for length in lengths)


def _draw_line(axes: Axes, line: Line) -> None:
    """Adds one curve; few points are marked, too many are thinned out."""
    style = (0, line.dashes) if line.dashes else "-"
    stride = -(-len(line.x) // MOST_POINTS) or 1
    marker = "." if len(line.x) <= 40 and line.series is not None else ""
    dress: dict[str, Any] = {"color": colour(line.series), "linestyle": style, "marker": marker}
    strong = line.y
    if line.mean is not None:
        axes.plot(line.x[::stride], line.y[::stride], **dress, linewidth=0.7, alpha=0.3)
        strong = line.mean
    axes.plot(line.x[::stride], strong[::stride], **dress, linewidth=LINE_WIDTH)
    if line.band is not None:
        axes.fill_between(line.x, *line.band, color=dress["color"], alpha=0.15, linewidth=0)


def _dress(axes: Axes, chart: Chart) -> None:
    """Scales, labels and a grid that stays behind the curves."""
    axes.set_xlabel(chart.x_label, fontsize=8, color=MUTED, labelpad=2)
    axes.set_ylabel(chart.y_label, fontsize=8, color=MUTED, labelpad=3)
    whole = chart.x_label != "step"
    axes.xaxis.set_major_locator(MaxNLocator(10 if whole else 5, integer=True, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    if _is_log(chart):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylim(*chart.y_limits)
    axes.grid(color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=MUTED, labelsize=7.5, length=0, which="both")
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set(color=MUTED, linewidth=0.6)


def _is_log(chart: Chart) -> bool:
    """Whether the y axis is logarithmic, as asked for, since nothing on it is zero or below."""
    return chart.log_y and min(float(np.nanmin(line.y)) for line in chart.lines) > 0


def _sent(values: Points) -> list[float | None]:
    """Values thinned out and rounded to what a screen can show; None for NaN."""
    stride = -(-len(values) // MOST_LIVE_POINTS) or 1
    return plain([float(f"{value:.6g}") for value in values[::stride].tolist()])


def _add_legend(axes: Axes, lines: Sequence[Line]) -> None:
    """Names every curve once below the axes, however strange the name of its run."""
    handles, labels = [], []
    shown = [drawn for drawn in axes.get_lines() if drawn.get_alpha() is None]
    for drawn, line in zip(shown, lines, strict=True):
        if line.label not in labels:
            handles.append(drawn)
            labels.append(line.label)
    numbers = [str(number) for number in range(len(labels))]
    legend = axes.figure.legend(
        handles, numbers, loc="outside lower left", ncols=3, fontsize=7, frameon=False
    )
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_parse_math(False)  # a name with dollar signs is not a formula
        text.set(text=label, color=INK)


def _for_page(svg: str) -> str:
    """Makes a file's SVG part of a page: no preamble, no ids but those in use, colours by name."""
    svg = svg[svg.index("<svg") :].replace("xlink:href", "href")
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    used = set(re.findall(r"#([\w-]+)", svg))
    svg = re.sub(
        r' id="([^"]*)"', lambda match: match.group() if match.group(1) in used else "", svg
    )
    head, body = svg.split(">", 1)
    (viewbox,) = re.findall(r'viewBox="[^"]*"', head)
    for value, name in COLOURS.items():
        body = body.replace(value, f"var(--{name}, {value})")
    return f"<svg {viewbox}>{body}"
