"""Put what is known of runs into one page that needs nothing but itself."""

import base64
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jinja2
from markupsafe import Markup
from PIL import Image

from cvae_jax.errors import UserError
from cvae_jax.files import write_atomically
from cvae_jax.report import charts, tables
from cvae_jax.report.drawing import COLOURS, Chart, colour, draw
from cvae_jax.report.runs import Run, read_runs

TEMPLATE = "page.html.jinja"
MOST_CLIPS = 6
MEDIA_TYPES = {".gif": "image/gif", ".png": "image/png"}


class Clip(NamedTuple):
    """A clip's pictures as data URIs, each empty where there is none."""

    name: str
    gif: str
    still: str  # last frame of the GIF, for paper and for those who want less motion
    strip: str

    @property
    def title(self) -> str:
        """The name as one would say it."""
        return self.name.replace("_", " ")


class Samples(NamedTuple):
    """What is shown of a run's samples, and how many there are."""

    folder: Path
    overview: Clip
    clips: Sequence[Clip]
    num_clips: int


class Section(NamedTuple):
    """What the page says of one run."""

    number: int
    run: Run
    finding: str
    results: Sequence[tuple[str, Sequence[tables.Cell]]]
    samples: Samples


def write_report(workdirs: Sequence[Path], output: Path | None = None) -> Path:
    """Writes the page of one run, or of several beside each other, and its curves as PNG files.

    Args:
        workdirs: of the runs, in the order in which they are shown.
        output: where the page goes; by default `report.html` in the workdir of a single run, and
            `comparison.html` in the first of several. The curves go to a folder beside it:
            `curves` for `report.html`, otherwise the page's name followed by `_curves`.

    Returns:
        Where the page is.

    Raises:
        UserError: a workdir holds no run, a file in it is damaged, or the disk refuses.
    """
    if not workdirs:
        raise UserError("report: no workdir given; name the folder of a run with --workdir=DIR")
    runs = read_runs(workdirs)
    output = output or workdirs[0] / ("report.html" if len(runs) == 1 else "comparison.html")
    curves = output.with_name("curves" if output.stem == "report" else f"{output.stem}_curves")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template(TEMPLATE).render(
        sections=[_section(number, run, runs) for number, run in enumerate(runs)],
        several=len(runs) > 1,
        colours=[COLOURS[colour(number)] for number in range(len(runs))],
        measures=tables.measures(runs),
        protocol=tables.settings([_measured(run) for run in runs]),
        training=list(_drawn(charts.training(runs), curves)),
        per_frame=list(_drawn(charts.per_frame(runs), curves)),
        settings={
            "Configuration": tables.settings([run.config for run in runs]),
            "Data": tables.settings([run.data for run in runs]),
            "Package versions": tables.settings([run.versions for run in runs]),
        },
        grouped=tables.grouped,
    )
    write_atomically(output, page)
    return output


def _section(number: int, run: Run, runs: Sequence[Run]) -> Section:
    """Gathers what the page says of one of `runs`; several share the room for clips."""
    results = tables.results(run, tables.measures(runs))
    samples = _samples(run, max(1, MOST_CLIPS // len(runs)))
    return Section(number, run, tables.finding(run), results, samples)


def _measured(run: Run) -> dict[str, object]:
    """Everything that defines a measurement."""
    if not run.evaluation:
        return {}
    own = {key: run.evaluation.get(key) for key in ("checkpoint_step", "num_clips")}
    return {**run.evaluation.get("protocol", {}), **own}


def _drawn(shown: Sequence[Chart], folder: Path) -> Iterator[tuple[Chart, Markup]]:
    """Draws charts one by one, leaves each as PNG in `folder` and gives its SVG for the page."""
    for chart in shown:
        png, svg = draw(chart)
        write_atomically(folder / f"{chart.name}.png", png)
        yield chart, Markup(svg)


def _samples(run: Run, most_clips: int) -> Samples:
    """Embeds the overview and the first clips of a run."""
    folder = run.workdir / "samples"
    names = sorted({path.stem for path in folder.glob("clip_*") if path.suffix in MEDIA_TYPES})
    clips = [_clip(folder, name) for name in names[:most_clips]]
    return Samples(folder, _clip(folder, "demo"), clips, len(names))


def _clip(folder: Path, name: str) -> Clip:
    """Embeds what there is of a clip."""
    gif, strip = folder / f"{name}.gif", folder / f"{name}.png"
    return Clip(
        name,
        _data_uri(gif.read_bytes(), ".gif") if gif.exists() else "",
        _data_uri(_last_frame(gif), ".png") if gif.exists() else "",
        _data_uri(strip.read_bytes(), ".png") if strip.exists() else "",
    )


def _last_frame(gif: Path) -> bytes:
    """The last frame of a GIF as PNG."""
    buffer = io.BytesIO()
    try:
        with Image.open(gif) as image:
            image.seek(getattr(image, "n_frames", 1) - 1)
            image.convert("RGB").save(buffer, "PNG")
    except (OSError, EOFError, ValueError, SyntaxError) as error:  # what Pillow may raise
        raise UserError(f"{gif}: damaged ({error}); run --mode=sample again") from error
    return buffer.getvalue()


def _data_uri(content: bytes, suffix: str) -> str:
    """A file's content as an address that needs no network."""
    return f"data:{MEDIA_TYPES[suffix]};base64,{base64.b64encode(content).decode()}"
