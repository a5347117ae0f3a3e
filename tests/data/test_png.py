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


def _compressed(frame, **options):
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "PNG", **options)
    return file.getvalue()


def _frames(count, height=5, width=7):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8)


@given(FRAMES, st.integers(1, 3))
def test_pillow_reads_our_files_and_we_read_pillows(frame, count):
    np.testing.assert_array_equal(png.decode(png.encode(frame)), frame)
    for write in (png.encode, _compressed):
        np.testing.assert_array_equal(png.decode_all([write(frame)] * count), [frame] * count)


def test_a_file_that_is_more_than_one_block_of_zlib():
    frame = _frames(1, 130, 170)[0]
    np.testing.assert_array_equal(png.decode(png.encode(frame)), frame)
    np.testing.assert_array_equal(png.decode_all([png.encode(frame)]), [frame])


def test_our_own_files_are_copied_and_all_others_decoded(monkeypatch):
    frames, asked = _frames(3), []
    decode = png.decode
    monkeypatch.setattr(png, "decode", lambda file: asked.append(file) or decode(file))
    ours, others = ([write(f) for f in frames] for write in (png.encode, _compressed))
    for files, decoded in (
        (ours, []),
        (others, others),
        ([*ours[:2], others[2]], [*ours[:2], others[2]]),
    ):
        asked.clear()
        np.testing.assert_array_equal(png.decode_all(files), frames)
        assert asked == decoded


def test_a_stored_file_with_a_filter_is_left_to_pillow():
    frame = _frames(1)[0]
    rows = np.concatenate([np.full((5, 1), 2, np.uint8), frame.reshape(5, -1)], axis=1)  # "up"
    start, end = png.encode(frame)[:33], _chunk(b"IEND", b"")
    file = start + _chunk(b"IDAT", zlib.compress(rows.tobytes(), 0)) + end
    assert len(file) == len(png.encode(frame))
    np.testing.assert_array_equal(png.decode_all([file])[0], frame.cumsum(0, dtype=np.uint8))


def test_frames_of_two_sizes_are_refused():
    with pytest.raises(ValueError, match="same shape"):
        png.decode_all([png.encode(_frames(1, 4, 4)[0]), png.encode(_frames(1, 4, 5)[0])])


def _outcome(read):
    try:
        return read().tobytes()
    except ValueError:
        return "refused"


@given(st.data())
def test_a_damaged_file_is_to_us_what_it_is_to_pillow(data):
    whole = [png.encode(frame) for frame in _frames(3)]
    start = data.draw(st.integers(0, len(whole[0])))
    new = data.draw(st.binary(max_size=12))
    cut = data.draw(st.booleans())
    damaged = whole[1][:start] + (b"" if cut else new + whole[1][start + len(new) :])
    read = data.draw(st.permutations([whole[0], damaged]))
    expected = _outcome(lambda: np.stack([png.decode(file) for file in read]))
    assert _outcome(lambda: png.decode_all(read)) == expected


@given(st.integers(0, 899), st.integers(1, 255))
def test_no_changed_byte_goes_unnoticed(place, change):
    (frame,) = _frames(1, 16, 17)
    content = bytearray(png.encode(frame))
    content[place] ^= change
    assert _outcome(lambda: png.decode_all([bytes(content)])) in ("refused", frame.tobytes())


@given(st.lists(st.binary(max_size=80), min_size=1, max_size=2))
def test_random_bytes_are_refused(files):
    with pytest.raises(ValueError, match="not a whole PNG"):
        png.decode_all(files)


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
