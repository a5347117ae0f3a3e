"""TFRecord files: their form, what is noticed of damage, and nonsense in every parser."""

import contextlib
import io
import itertools
import struct
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvae_jax import config
from cvae_jax.data import bair, clip_source, tfrecords
from cvae_jax.data.readers import BadClip, RawClip
from cvae_jax.errors import UserError
from tests.data import bair_files

CONTENTS = [b"one", b"", bytes(range(256)) * 5]
FILE = b"".join(map(bair_files.frame_record, CONTENTS))


def _read_all(data):
    file = io.BytesIO(data)
    return [tfrecords.read(file, place) for place in tfrecords.places(file, 0, len(data))]


def test_checksums_are_those_of_the_format():
    """RFC 3720, B.4: 32 bytes of zero have CRC32C 8a9136aa; the mask is a rotation and a sum."""
    crc = 0x8A9136AA
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32
    assert tfrecords.masked_crc32c(bytes(32)) == masked


def test_a_file_that_tensorflow_wrote_is_read(tmp_path):
    tf = pytest.importorskip("tensorflow")
    with tf.io.TFRecordWriter(str(tmp_path / "file")) as writer:
        for content in CONTENTS:
            writer.write(content)
    assert (tmp_path / "file").read_bytes() == FILE
    assert _read_all(FILE) == CONTENTS


def test_records_come_back_from_the_middle_of_a_file():
    file = io.BytesIO(b"before" + FILE + b"behind")
    found = list(tfrecords.places(file, 6, 6 + len(FILE)))
    assert [tfrecords.read(file, place) for place in reversed(found)] == CONTENTS[::-1]


@given(st.integers(0, len(FILE) - 1), st.integers(1, 255))
@settings(deadline=None)
def test_no_changed_byte_goes_unnoticed(position, change):
    data = bytearray(FILE)
    data[position] ^= change
    with pytest.raises(tfrecords.DamagedFile):
        _read_all(bytes(data))


@given(st.integers(1, len(FILE) - 1))
@settings(deadline=None)
def test_a_file_cut_within_a_record_is_noticed(length):
    ends = {15 + 4, 15 + 4 + 16}
    if length in ends:
        assert _read_all(FILE[:length]) == CONTENTS[: 1 + (length > 19)]
    else:
        with pytest.raises(tfrecords.DamagedFile, match="cut off"):
            _read_all(FILE[:length])


def _checked_header(length):
    packed = struct.pack("<Q", length)
    return packed + struct.pack("<I", tfrecords.masked_crc32c(packed))


NONSENSE = st.one_of(
    st.binary(max_size=2000),
    st.builds(lambda n, tail: _checked_header(n) + tail, st.integers(0, 2**64 - 1), st.binary()),
    st.builds(bair_files.frame_record, st.binary(max_size=300)),
)


@given(NONSENSE)
@settings(deadline=None, max_examples=300)
def test_nonsense_as_a_tfrecord_file_is_a_damaged_file(data):
    with contextlib.suppress(tfrecords.DamagedFile):
        assert all(isinstance(record, bytes) for record in _read_all(data))


EXAMPLE = bair_files.example(bair_files.clip(0)).SerializeToString()


@st.composite
def _damaged(draw, content):
    """Some bytes of a good file changed, or a part of it."""
    data = bytearray(content)
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        data[start : start + draw(st.integers(0, 40))] = draw(st.binary(max_size=40))
    return bytes(data[: draw(st.integers(0, len(data)))])


@given(st.one_of(st.binary(max_size=500), _damaged(EXAMPLE)))
@settings(deadline=None, max_examples=300)
def test_nonsense_as_an_example_is_a_bad_clip(data):
    with contextlib.suppress(BadClip):
        assert isinstance(bair.parse(data), RawClip)


@given(st.one_of(st.binary(max_size=500), _damaged(EXAMPLE)))
@settings(deadline=None, max_examples=100)
def test_nonsense_as_a_stored_clip_is_a_read_error(data):
    with pytest.raises(clip_source.READ_ERRORS):
        clip_source.parse(data, ["image_main"])


def _small_tar():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("train/traj_0_to_0.tfrecords", "test/traj_0_to_0.tfrecords", "é" * 150):
            member = tarfile.TarInfo(f"softmotion30_44k/{name}")
            member.size = len(FILE)
            archive.addfile(member, io.BytesIO(FILE))
    return file.getvalue()


@pytest.mark.parametrize("data", [b"", b"no tar", bytes(5000), _small_tar()[:1000]])
def test_what_is_no_archive_is_refused_in_a_line(tmp_path, data):
    (tmp_path / "file.tar").write_bytes(data)
    with pytest.raises(UserError, match=r"data\.path=.*file\.tar: ") as error:
        bair.open_archive(config.DataConfig(path=str(tmp_path / "file.tar")))
    assert "\n" not in str(error.value)


@given(st.one_of(st.binary(max_size=2000), _damaged(_small_tar())))
@settings(deadline=None, max_examples=300)
def test_nonsense_as_an_archive_is_refused_or_its_clips_are_bad(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("tar") / "file.tar"
    path.write_bytes(data)
    with contextlib.suppress(UserError):
        reader = bair.open_archive(config.DataConfig(path=str(path)))
        for ref in itertools.chain(*reader.splits().values()):
            with pytest.raises(BadClip):
                reader.read(ref)
