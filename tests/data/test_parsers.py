"""Random bytes and damaged files at every parser of a user's files: a good value, or BadClip."""

import io
import pathlib
import warnings
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cvae_jax import files, video
from cvae_jax.data import frames, png, tables, videos
from cvae_jax.data.readers import BadClip
from tests.data import recordings


def _csv(path):
    table = tables.read_csv(path)
    assert table.ndim == 2
    assert table.size
    assert np.isfinite(table).all()


def _npz(path):
    for table in tables.read_npz(path, ("action", "position")).values():
        assert table.dtype == np.float32
        assert table.ndim == 2
        assert np.isfinite(table).all()


def _png(path):
    assert frames.read_png(path).shape[2:] == (3,)


def _video(path):
    number = videos.count(path)
    assert sum(frame.shape[2] == 3 for frame in videos.read(path)) == number


def _npz_file(compress):
    file = io.BytesIO()
    save = np.savez_compressed if compress else np.savez
    save(file, action=recordings.table(0, 9, 4), position=np.arange(9))
    return file.getvalue()


def _video_file(folder, suffix):
    path = folder / f"good{suffix}"
    write = video.write_gif if suffix == ".gif" else video.write_mp4
    write(path, recordings.moving_square(0, 5, 32, 32), 10)
    return path.read_bytes()


FORMATS = {
    ".csv": (_csv, lambda _: b"x,y\r\n1,2\n-3e-2,4\n"),
    ".npz": (_npz, lambda _: _npz_file(False)),
    ".compressed.npz": (_npz, lambda _: _npz_file(True)),
    ".png": (_png, lambda _: png.encode(recordings.moving_square(0, 1)[0])),
    ".gif": (_video, lambda folder: _video_file(folder, ".gif")),
    ".mp4": (_video, lambda folder: _video_file(folder, ".mp4")),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    return tmp_path_factory.mktemp("files")


@st.composite
def _damaged(draw, good):
    """A whole file, cut or with some bytes replaced, or nothing but random bytes."""
    start = draw(st.integers(0, len(good)))
    if draw(st.booleans()):
        return good[:start]
    new = draw(st.binary(max_size=40))
    return draw(
        st.sampled_from([good[:start] + new + good[start + len(new) :], new, good[:4] + new])
    )


def _cheap(suffix):
    return 25 if suffix == ".mp4" else 300


@pytest.mark.parametrize("suffix", FORMATS)
def test_good_files_are_read(folder, suffix):
    parse, make = FORMATS[suffix]
    path = folder / f"file{suffix}"
    path.write_bytes(make(folder))
    parse(path)


@pytest.mark.parametrize("suffix", FORMATS)
def test_damaged_files_are_told_and_nothing_else_is_raised(folder, suffix):
    parse, make = FORMATS[suffix]
    path = folder / f"damaged{suffix}"

    @settings(max_examples=_cheap(suffix), deadline=None, suppress_health_check=list(HealthCheck))
    @given(_damaged(make(folder)))
    def check(content):
        path.write_bytes(content)
        told = f"{path.name} "
        with warnings.catch_warnings(action="ignore"):  # Pillow's, of large sizes
            try:
                parse(path)
            except BadClip as error:
                told = str(error)
        assert path.name in told
        assert "\n" not in told

    check()


@given(
    st.lists(
        st.lists(
            st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3, max_size=3
        ),
        min_size=1,
    )
)
@settings(max_examples=50, suppress_health_check=list(HealthCheck))
def test_numbers_survive_a_csv_bit_for_bit(folder, rows):
    table = np.array(rows, np.float32)
    recordings.write_csv(folder / "numbers.csv", table)
    np.testing.assert_array_equal(tables.read_csv(folder / "numbers.csv"), table)


def test_a_heading_is_a_line_without_any_number_but_two_columns_may_begin_with_0_and_1(folder):
    path = folder / "numbers.csv"
    path.write_text("x,y\n0,1\n2,3")
    np.testing.assert_array_equal(tables.read_csv(path), [[0, 1], [2, 3]])
    path.write_text("0,1\n2,3")
    np.testing.assert_array_equal(tables.read_csv(path), [[0, 1], [2, 3]])
    path.write_text("0.5,y\n2,3")
    with pytest.raises(BadClip, match="line 1: 'y' is no number"):
        tables.read_csv(path)


def test_an_archive_is_never_unpickled(folder):
    path = folder / "evil.npz"

    class Evil:
        def __reduce__(self):
            return pytest.fail, ("unpickled",)

    np.savez(path, action=np.array([Evil()], object))
    with pytest.raises(BadClip, match=r"evil\.npz is not a whole"):
        tables.read_npz(path, ("action",))


def _archive(path, content, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("action.npy", content)


def test_an_archive_that_unpacks_to_more_than_any_table_is_refused(folder, monkeypatch):
    monkeypatch.setattr(files, "_MAX_ARRAY_BYTES", 1000)
    path = folder / "bomb.npz"
    np.savez_compressed(path, action=np.zeros((100, 4), np.float32), video=np.zeros(9999))
    with pytest.raises(BadClip, match=r"bomb\.npz .*action\.npy unpacks to 1728 bytes"):
        tables.read_npz(path, ("action",))
    assert tables.read_npz(path, ("position",)) == {}


def test_an_unclosed_heading_of_an_array_is_told(folder):
    heading = b"{'descr': ("
    _archive(folder / "open.npz", b"\x93NUMPY\x01\x00" + bytes([len(heading), 0]) + heading)
    with pytest.raises(BadClip, match=r"open\.npz is not a whole"):
        tables.read_npz(folder / "open.npz", ("action",))


def test_a_damaged_lzma_archive_is_told(folder):
    path = folder / "lzma.npz"
    file = io.BytesIO()
    np.save(file, recordings.table(0, 300, 4))
    _archive(path, file.getvalue(), zipfile.ZIP_LZMA)
    content = bytearray(path.read_bytes())
    content[60:90] = b"\xff" * 30
    path.write_bytes(content)
    with pytest.raises(BadClip, match=r"lzma\.npz is not a whole"):
        tables.read_npz(path, ("action",))
