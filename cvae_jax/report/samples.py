"""Choose and embed the pictures of a run's samples."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from cvae_jax import sheet
from cvae_jax.errors import UserError
from cvae_jax.report.runs import Run

MOST_CLIPS, MOST_OF_SEVERAL = 6, 4
RANKS = ("best", "median", "worst")
MEDIA_TYPES = {".gif": "image/gif", ".png": "image/png"}

_DAMAGE = (OSError, EOFError, ValueError, TypeError, KeyError, AttributeError, SyntaxError)


class Clip(NamedTuple):
    """A clip's sheet of frames as a data URI, and what players.js needs to step through it."""

    title: str
    sheet: str
    rows: Sequence[str]
    num_context_frames: int
    num_frames: int
    player: Mapping[str, Any]


class Samples(NamedTuple):
    """What is shown of a run's samples; the overview is moving, or its last frame."""

    folder: Path
    overview: str
    still: str
    clips: Sequence[Clip]
    num_clips: int
    num_samples: int
    checkpoint_step: int


def read(run: Run, runs: Sequence[Run]) -> Samples:
    """Embeds the overview and some clips of a run: its best, median and worst, then others.

    Of several runs, clips that all of them have drawn come before others, to be compared.

    Raises:
        UserError: a picture is missing or damaged, or samples.json says something else than
            --mode=sample writes.
    """
    folder = run.workdir / "samples"
    try:
        clips = _chosen(run, runs)
        shown = [_clip(run, clip, folder) for clip in clips]
        about = {name: int(run.samples.get(name, 0)) for name in ("num_samples", "checkpoint_step")}
        gif = folder / "demo.gif"
        overview = _data_uri(gif) if gif.exists() else ""
        still = _last_frame(gif) if gif.exists() else ""
        num_clips = len(run.samples.get("clips", []))
    except _DAMAGE as error:
        raise UserError(
            f"{folder}: damaged ({type(error).__name__}: {error}); run --mode=sample again"
        ) from error
    return Samples(folder, overview, still, shown, num_clips, **about)


def colour_scale() -> Sequence[tuple[str, float, str]]:
    """What the colours of the heat maps mean: what is shown, its limit, a CSS gradient."""
    stops = sheet.heat(np.linspace(0, 1, 9)[:, None, None])[:, 0, 0]
    gradient = ", ".join(f"rgb({red} {green} {blue})" for red, green, blue in stops)
    shown = [("error", sheet.ERROR_LIMIT), ("standard deviation", sheet.STD_LIMIT)]
    return [(name, limit, f"linear-gradient(90deg, {gradient})") for name, limit in shown]


def _chosen(run: Run, runs: Sequence[Run]) -> list[Mapping[str, Any]]:
    """Descriptions of the clips to show, in the order in which they are shown."""
    drawn = [{clip["clip"] for clip in other.samples.get("clips", [])} for other in runs]
    everywhere = set.intersection(*drawn)

    def order(clip: Mapping[str, Any]) -> tuple[int, bool]:
        place = RANKS.index(clip["rank"]) if clip["rank"] in RANKS else len(RANKS)
        return place, clip["clip"] not in everywhere

    clips = sorted(run.samples.get("clips", []), key=order)
    return clips[: MOST_CLIPS if len(runs) == 1 else MOST_OF_SEVERAL]


def _clip(run: Run, clip: Mapping[str, Any], folder: Path) -> Clip:
    """Embeds a clip."""
    about = run.samples
    rows, num_frames = [str(row) for row in about["rows"]], int(about["num_frames"])
    num_context = int(about["num_context_frames"])
    title = f"Clip {int(clip['clip'])}"
    if clip["rank"]:
        title += f", {clip['rank']} by PSNR"
    if clip["psnr_mean"] is not None:
        title += f" ({clip['psnr_mean']:.1f} dB)"
    player = {
        "title": title,
        "rows": rows,
        "numFrames": num_frames,
        "numContextFrames": num_context,
        "framesPerSecond": float(about["frames_per_second"]),
        "psnr": [[round(float(value), 1) for value in frames] for frames in clip["psnr"]],
    }
    picture = folder / f"clip_{int(clip['clip']):03}_sheet.png"
    return Clip(title, _data_uri(picture), rows, num_context, num_frames, player)


def _last_frame(gif: Path) -> str:
    """The last frame of a GIF as PNG."""
    buffer = io.BytesIO()
    with Image.open(gif) as image:
        image.seek(getattr(image, "n_frames", 1) - 1)
        image.convert("RGB").save(buffer, "PNG")
    return _encoded(buffer.getvalue(), ".png")


def _data_uri(picture: Path) -> str:
    """A picture's content as an address that needs no network."""
    return _encoded(picture.read_bytes(), picture.suffix)


def _encoded(content: bytes, suffix: str) -> str:
    return f"data:{MEDIA_TYPES[suffix]};base64,{base64.b64encode(content).decode()}"
