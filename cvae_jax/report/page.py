"""Put what is known of runs into one page that needs nothing but itself."""

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jinja2
from markupsafe import Markup

from cvae_jax.files import write_atomically
from cvae_jax.report import charts, samples, tables
from cvae_jax.report.drawing import COLOURS, Chart, colour, dash_array, dashes, draw, live
from cvae_jax.report.runs import Run, command, read_runs

FOLDER = Path(__file__).parent
TEMPLATE = "page.html.jinja"
SCRIPTS = ("scales.js", "charts.js", "zoom.js", "players.js")


class Section(NamedTuple):
    """What the page says of one run."""

    number: int
    run: Run
    finding: str
    results: Sequence[tuple[str, Sequence[tables.Cell]]]
    samples: samples.Samples


def write_report(workdirs: Sequence[Path]) -> Path:
    """Writes the page of one run, or of several beside each other, and its curves as PNG files.

    Args:
        workdirs: of the runs, at least one, in the order in which they are shown.

    Returns:
        Where the page is: `report.html` in the workdir of a single run, with the curves in `curves`
        beside it; `comparison.html` in the first of several, with `comparison_curves`.

    Raises:
        UserError: a workdir holds no run, a file in it is damaged, or the disk refuses.
    """
    runs = read_runs(workdirs)
    page_name, curves_name = (
        ("report.html", "curves") if len(runs) == 1 else ("comparison.html", "comparison_curves")
    )
    output, curves = workdirs[0] / page_name, workdirs[0] / curves_name
    measured = [_measured(run) for run in runs]
    page = (
        _environment()
        .get_template(TEMPLATE)
        .render(
            sections=[_section(number, run, runs) for number, run in enumerate(runs)],
            several=len(runs) > 1,
            colours=[COLOURS[colour(number)] for number in range(len(runs))],
            dashes=[dash_array(dashes(number)) for number in range(len(runs))],
            measures=tables.measures(runs),
            protocol=tables.settings(measured),
            incomparable=tables.incomparable(tables.settings(list(filter(None, measured)))),
            command=command("report", *workdirs),
            training=list(_drawn(charts.training(runs), curves)),
            per_frame=list(_drawn(charts.per_frame(runs), curves)),
            per_dimension=list(_drawn(charts.latent(runs), curves)),
            latent=tables.latent(runs),
            settings={
                "Configuration": tables.settings([run.config for run in runs]),
                "Data": tables.settings([run.data for run in runs]),
                "Package versions": tables.settings([run.versions for run in runs]),
            },
            grouped=tables.grouped,
            scale=samples.colour_scale(),
        )
    )
    write_atomically(output, page)
    return output


def _environment() -> jinja2.Environment:
    """Templates that escape what they are given, and the page's own style and scripts."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = "".join((FOLDER / name).read_text(encoding="utf-8") for name in SCRIPTS)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    style = (FOLDER / "page.css").read_text(encoding="utf-8")
    environment.globals |= {
        "script": Markup(script),
        "script_digest": digest,
        "style": Markup(style),
    }
    return environment


def _section(number: int, run: Run, runs: Sequence[Run]) -> Section:
    """Gathers what the page says of one of `runs`."""
    results = tables.results(run, tables.measures(runs))
    return Section(number, run, tables.finding(run), results, samples.read(run, runs))


def _measured(run: Run) -> dict[str, object]:
    """Everything that defines a measurement."""
    if not run.evaluation:
        return {}
    own = {key: run.evaluation.get(key) for key in ("checkpoint_step", "num_clips")}
    return {**run.evaluation.get("protocol", {}), **own}


def _drawn(shown: Sequence[Chart], folder: Path) -> Iterator[tuple[Chart, Markup, Mapping]]:
    """Draws charts one by one, leaves each as PNG in `folder`, and gives its SVG and its data."""
    for chart in shown:
        png, svg = draw(chart)
        write_atomically(folder / f"{chart.name}.png", png)
        yield chart, Markup(svg), live(chart)
