"""Frames of a video file, an animated GIF or a folder of numbered PNGs, one after another."""

from __future__ import annotations

import itertools
import os
import pathlib
import re
import struct
import subprocess
from collections.abc import Iterator

import imageio_ffmpeg
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageSequence

from cvae_jax.data import frames, png
from cvae_jax.data.readers import BadClip

SUFFIXES = (".mp4", ".gif", ".avi", ".m4v", ".mkv", ".mov", ".webm")

Frame = UInt8[np.ndarray, "_ _ 3"]

_ERRORS = (
    *(OSError, ValueError, RuntimeError, EOFError, SyntaxError, struct.error, IndexError),
    *(KeyError, TypeError, AssertionError, OverflowError, MemoryError),
    Image.DecompressionBombError,
)
"""What Pillow, imageio-ffmpeg and its reading of ffmpeg's messages may raise on a damaged file."""
_EVERY_FRAME_ONCE = ["-map", "0:v:0", "-fps_mode", "passthrough"]
_INPUT = ["-xerror", "-err_detect", "explode", "-max_pixels", str(png.MAX_BYTES // 3)]
"""Stop at damage, and before a frame that would fill the memory."""


def count(path: pathlib.Path) -> int:
    """How many frames there are.

    Raises:
        BadClip: it cannot be read, or a numbered frame is missing.
    """
    try:
        if path.is_dir():
            return len(_numbered(path))
        with open(path, "rb") as file:  # ffmpeg's own words for this are many
            file.read(1)
        return _count_gif(path) if path.suffix.lower() == ".gif" else _count_by_ffmpeg(path)
    except png.TooLarge as error:
        raise BadClip(f"{path.name} is {error}") from error
    except _ERRORS as error:
        raise BadClip(f"{path.name} is damaged ({_reason(error)})") from error


def read(path: pathlib.Path, start: int = 0) -> Iterator[Frame]:
    """The frames from number `start` on, decoded as they are asked for.

    Raises:
        BadClip: the next frame is damaged. Where a file ends too early, the frames just end.
    """
    try:
        if path.is_dir():
            yield from map(frames.read_png, _numbered(path)[start:])
        elif path.suffix.lower() == ".gif":
            yield from _decoded_by_pillow(path, start)
        else:
            yield from _decoded_by_ffmpeg(path, start)
    except png.TooLarge as error:
        raise BadClip(f"{path.name} is {error}") from error
    except _ERRORS as error:
        raise BadClip(f"{path.name} is damaged ({_reason(error)})") from error


def _count_gif(path: pathlib.Path) -> int:
    if not path.read_bytes().rstrip(b"\0").endswith(b";"):
        raise ValueError("its end is missing")
    return sum(1 for _ in _decoded_by_pillow(path, 0))


def _decoded_by_pillow(path: pathlib.Path, start: int) -> Iterator[Frame]:
    with Image.open(path, formats=("GIF",)) as image:
        png.check_size(*image.size)
        for picture in itertools.islice(ImageSequence.Iterator(image), start, None):
            yield np.asarray(picture.convert("RGB"))


def _count_by_ffmpeg(path: pathlib.Path) -> int:
    """Decodes it all, since what a container says of itself may not be there."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", *_INPUT]
    command += ["-i", os.path.abspath(path), *_EVERY_FRAME_ONCE]  # x:y/ would be a protocol
    command += ["-progress", "pipe:1", "-f", "null", "-"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    size = re.search(r"Picture size (\d+)x(\d+) exceeds", done.stderr)
    if size:
        png.check_size(*map(int, size.groups()))
    counts = re.findall(r"^frame=\s*([0-9]+)", done.stdout, re.MULTILINE)
    if done.returncode or not counts:
        reason = re.sub(r"^\[.*?\] ", "", done.stderr.strip()).partition("\n")[0]
        after = f" after {counts[-1]} frames" if counts else ""
        raise ValueError(f"{reason or 'no frames'}{after}")
    return int(counts[-1])


def _decoded_by_ffmpeg(path: pathlib.Path, start: int) -> Iterator[Frame]:
    skip = ["-vf", f"select=gte(n\\,{start})"] if start else []
    decoded = imageio_ffmpeg.read_frames(
        os.path.abspath(path),
        input_params=_INPUT,
        output_params=[*_EVERY_FRAME_ONCE, *skip],
    )
    width, height = next(decoded)["size"]
    png.check_size(width, height)
    for data in decoded:
        yield np.frombuffer(data, np.uint8).reshape(height, width, 3)


def _numbered(folder: pathlib.Path) -> list[pathlib.Path]:
    """The PNGs of a folder by their last number, without hidden ones.

    Raises:
        BadClip: one has no number, or one between two others is missing.
    """
    paths: dict[int, pathlib.Path] = {}
    for path in folder.iterdir():
        if path.name.startswith(".") or path.suffix.lower() != ".png":
            continue
        match = re.search(r"([0-9]+)$", path.stem)
        if match is None:
            raise BadClip(f"{path.name} has no number at its end")
        if int(match[1]) in paths:
            raise BadClip(f"{path.name} and {paths[int(match[1])].name} have the same number")
        paths[int(match[1])] = path
    numbers = sorted(paths)
    for before, number in itertools.pairwise(numbers):
        if number != before + 1:
            raise BadClip(f"the frame after {paths[before].name} is missing")
    return [paths[number] for number in numbers]


def _reason(error: BaseException) -> str:
    """The last line that says something; ffmpeg's come after many others."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:100] if lines else type(error).__name__
