"""TFRecord files without TensorFlow: where each record is, and its content, checksums verified.

A record is its length (8 bytes), the length's checksum (4), the content, the content's checksum
(4), little-endian; the checksum is CRC32C, masked
(https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from io import BufferedIOBase
from typing import NamedTuple

import google_crc32c

_LENGTH = struct.Struct("<QI")
_CHECKSUM = struct.Struct("<I")


class DamagedFile(ValueError):  # noqa: N818
    """The file is not, or not any more, a TFRecord file at this place."""


class Place(NamedTuple):
    """Where a record's content is in its file."""

    start: int
    length: int


def places(file: BufferedIOBase, start: int, stop: int) -> Iterator[Place]:
    """Where the records between two positions are; reads their lengths only.

    Raises:
        DamagedFile: after the last record that is whole.
    """
    while start < stop:
        file.seek(start)
        header = file.read(_LENGTH.size)
        if len(header) < _LENGTH.size:
            raise DamagedFile("the file is cut off")
        length, checksum = _LENGTH.unpack(header)
        if checksum != masked_crc32c(header[:8]):
            raise DamagedFile("the checksum of a record's length is wrong")
        start += _LENGTH.size
        if start + length + _CHECKSUM.size > stop:
            raise DamagedFile("the file is cut off")
        yield Place(start, length)
        start += length + _CHECKSUM.size


def read(file: BufferedIOBase, place: Place) -> bytes:
    """The content of a record.

    Raises:
        DamagedFile: its checksum is wrong.
    """
    file.seek(place.start)
    data = file.read(place.length)
    checksum = file.read(_CHECKSUM.size)
    if checksum != _CHECKSUM.pack(masked_crc32c(data)):
        raise DamagedFile("the record's checksum is wrong")
    return data


def masked_crc32c(data: bytes) -> int:
    """The checksum as TFRecord files hold it."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
