"""Frames to PNG files in memory and back."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from jaxtyping import UInt8
from PIL import Image

_ERRORS = (
    *(OSError, SyntaxError, EOFError, IndexError, TypeError, struct.error),
    Image.DecompressionBombError,
)
"""What Pillow may raise on a damaged file, other than ValueError."""


def encode(frame: UInt8[np.ndarray, "height width 3"]) -> bytes:
    """A PNG file's bytes, packed in the fastest way that still halves them."""
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return file.getvalue()


def decode(data: bytes, formats: tuple[str, ...] = ("PNG",)) -> UInt8[np.ndarray, "height width 3"]:
    """The frame in a PNG file.

    Raises:
        ValueError: the bytes are no whole PNG file, or grey of more than 8 bits (of colours of 16
            bits, Pillow takes the upper 8).
    """
    try:
        with Image.open(io.BytesIO(data), formats=formats) as image:
            if image.mode.startswith("I"):  # Pillow would cut the values off at 255
                raise ValueError("a PNG file of 16 bits, where 8 are needed")
            return np.asarray(image.convert("RGB"))
    except _ERRORS as error:
        reason = str(error).partition("<_io")[0].strip()  # Pillow names our buffer
        raise ValueError(f"not a whole {' or '.join(formats)} file ({reason})") from error
