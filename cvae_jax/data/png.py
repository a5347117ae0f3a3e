"""Frames to PNG files in memory and back.

Our own files are stored rather than compressed: their pixels stand behind one another, and a window
of frames is read from them by copying, some ten times as fast as any decoder unpacks a compressed
one. Every other reader of PNG reads them too, and this one reads every other PNG.
"""

from __future__ import annotations

import functools
import io
import struct
import zlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image

Frames = UInt8[np.ndarray, "time height width 3"]

_ERRORS = (
    *(OSError, SyntaxError, EOFError, IndexError, TypeError, struct.error),
    Image.DecompressionBombError,
)
"""What Pillow may raise on a damaged file, other than ValueError."""

MAX_SIDE, MAX_BYTES = 8192, 2**26
"""Of a frame that is decoded: far beyond any camera, and small enough for any machine."""

_BLOCK = 65535
"""The most that one stored block of zlib's format holds."""
_START, _END = 48, 20
"""Bytes before and after the pixels of a file that is one stored block."""
_CHECKED, _CHECKSUM = slice(37, -16), slice(-16, -12)
"""Type and content of the chunk that holds the pixels, and the checksum of them."""


def encode(frame: UInt8[np.ndarray, "height width 3"]) -> bytes:
    """A PNG file's bytes, stored: 8 bits a channel, no filter, no compression."""
    height, width, _ = frame.shape
    rows = np.zeros((height, 1 + 3 * width), np.uint8)  # the first byte of a row names its filter
    rows[:, 1:] = frame.reshape(height, -1)
    pixels = rows.tobytes()
    blocks = [pixels[start : start + _BLOCK] for start in range(0, len(pixels), _BLOCK)]
    stored = [
        struct.pack("<BHH", number == len(blocks), len(block), _BLOCK - len(block)) + block
        for number, block in enumerate(blocks, start=1)
    ]
    packed = b"\x78\x01" + b"".join(stored) + struct.pack(">I", zlib.adler32(pixels))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = _chunk(b"IHDR", header), _chunk(b"IDAT", packed), _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


class TooLarge(ValueError):  # noqa: N818
    """A frame would fill the memory if it were decoded."""


def check_size(width: int, height: int) -> None:
    """Raises TooLarge for a frame that is not to be decoded."""
    if max(width, height) > MAX_SIDE or 3 * width * height > MAX_BYTES:
        raise TooLarge(
            f"{width}x{height} pixels large, more than {MAX_SIDE} on a side or "
            f"{MAX_BYTES // 2**20} MiB a frame"
        )


def decode(data: bytes, formats: tuple[str, ...] = ("PNG",)) -> UInt8[np.ndarray, "height width 3"]:
    """The frame in a PNG file.

    Raises:
        ValueError: the bytes are no whole PNG file, too large a frame, or grey of more than 8 bits
            (of colours of 16 bits, Pillow takes the upper 8).
    """
    try:
        with Image.open(io.BytesIO(data), formats=formats) as image:
            check_size(*image.size)
            if image.mode.startswith("I"):  # Pillow would cut the values off at 255
                raise ValueError("a PNG file of 16 bits, where 8 are needed")
            return np.asarray(image.convert("RGB"))
    except _ERRORS as error:
        reason = str(error).partition("<_io")[0].strip()  # Pillow names our buffer
        raise ValueError(f"not a whole {' or '.join(formats)} file ({reason})") from error


def decode_all(files: Sequence[bytes]) -> Frames:
    """The frames in PNG files, one or more of one size; fast if all are as `encode` writes them.

    Raises:
        ValueError: as `decode`, or their sizes differ.
    """
    frames = _copy_stored(files)
    return np.stack([decode(file) for file in files]) if frames is None else frames


def _copy_stored(files: Sequence[bytes]) -> Frames | None:
    """The frames if every file is whole and one stored block; else None, and Pillow judges."""
    length = len(files[0])
    width, height = (int.from_bytes(files[0][at : at + 4], "big") for at in (16, 20))
    if not 0 < height * (1 + 3 * width) == length - _START - _END <= _BLOCK:
        return None
    if any(len(file) != length for file in files):
        return None
    blank = np.frombuffer(_blank(height, width), np.uint8)
    table = np.frombuffer(b"".join(files), np.uint8).reshape(len(files), length)
    rows = table[:, _START:-_END].reshape(len(files), height, 1 + 3 * width)
    checksums = [zlib.crc32(memoryview(file)[_CHECKED]) for file in files]
    as_written = (
        (table[:, :_START] == blank[:_START]).all()
        and not rows[:, :, 0].any()
        and (table[:, _CHECKSUM].copy().view(">u4")[:, 0] == checksums).all()
        and (table[:, _CHECKSUM.stop :] == blank[_CHECKSUM.stop :]).all()
    )
    return rows[:, :, 1:].reshape(len(files), height, width, 3) if as_written else None


@functools.lru_cache(maxsize=4)
def _blank(height: int, width: int) -> bytes:
    """A file of which another one of the same size differs in pixels and checksums alone."""
    return encode(np.zeros((height, width, 3), np.uint8))
