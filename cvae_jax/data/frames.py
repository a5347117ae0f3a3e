"""Single frames from image files, made square and small."""

from __future__ import annotations

import pathlib

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from cvae_jax.data import folders, png
from cvae_jax.data.readers import BadClip

FRAME_SIZE = 64
"""Height and width of the model's frames."""


def read_png(path: pathlib.Path) -> UInt8[np.ndarray, "height width 3"]:
    """The frame in a PNG file.

    Raises:
        BadClip: there is no such file, it cannot be read, or it is no whole PNG of 8 bits.
    """
    try:
        return png.decode(folders.content(path))
    except ValueError as error:
        raise BadClip(f"{path.name} is {error}") from error


def decode(data: bytes) -> UInt8[np.ndarray, "height width 3"]:
    """The frame in the bytes of a PNG or JPEG file.

    Raises:
        ValueError: they are no whole one.
    """
    return png.decode(data, ("PNG", "JPEG"))


def fit(frame: UInt8[np.ndarray, "_ _ 3"]) -> UInt8[np.ndarray, "64 64 3"]:
    """The largest square in the frame's centre, resized (antialiased) to the model's size."""
    height, width = frame.shape[:2]
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    square = Image.fromarray(frame[top : top + side, left : left + side])
    return np.asarray(square.resize((FRAME_SIZE, FRAME_SIZE), Image.Resampling.BICUBIC))
