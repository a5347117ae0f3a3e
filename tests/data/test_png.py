"""PNG files in memory."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as np_st
from PIL import Image

from cvae_jax.data import png

FRAMES = np_st.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)))


@given(FRAMES)
def test_round_trip_is_exact(frame):
    np.testing.assert_array_equal(png.decode(png.encode(frame)), frame)


@given(st.integers(0, 900))
def test_a_cut_file_is_refused_unless_all_pixels_are_there(cut):
    frame = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    file = png.encode(frame)
    if cut < 700:
        with pytest.raises(ValueError, match="not a whole PNG"):
            png.decode(file[:cut])
    else:
        try:
            decoded = png.decode(file[:cut])
        except ValueError:
            return
        np.testing.assert_array_equal(decoded, frame)


def test_deep_greys_are_refused_rather_than_cut_off():
    file = io.BytesIO()
    Image.fromarray(np.full((4, 4), 700, np.uint16)).save(file, "PNG")
    with pytest.raises(ValueError, match="16 bits"):
        png.decode(file.getvalue())


def _chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_a_small_file_that_claims_to_be_huge_is_refused():
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    with pytest.raises(ValueError, match="not a whole PNG"):
        png.decode(b"\x89PNG\r\n\x1a\n" + header + _chunk(b"IDAT", b"") + _chunk(b"IEND", b""))


def test_a_bad_chunk_after_the_pixels_is_refused():
    file = png.encode(np.zeros((4, 4, 3), np.uint8))
    end = file.index(b"IEND") - 4
    with pytest.raises(ValueError, match="not a whole PNG"):
        png.decode(file[:end] + _chunk(b"iCCP", b"") + file[end:])
