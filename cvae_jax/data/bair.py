"""BAIR robot pushing (Ebert et al. 2017) from its original files, without TensorFlow.

The archive, bair_robot_pushing_dataset_v0.tar, holds softmotion30_44k/{train,test}/ with files
traj_X_to_Y.tfrecords. A record is a clip: keys such as `7/image_aux1/encoded` for frame 7.
"""

from __future__ import annotations

import functools
import os
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tqdm
from google.protobuf.message import DecodeError
from tensorflow_datasets.core import hashing
from tensorflow_datasets.proto import tf_example_pb2

from cvae_jax.data import download, tfrecords
from cvae_jax.data.readers import BadClip, ClipRef, DataSettings, RawClip
from cvae_jax.errors import UserError

TEST_URL = (
    "https://storage.googleapis.com/download.tensorflow.org/data/bair_test_traj_0_to_255.tfrecords"
)
"""The test split alone, 190 MB, published with TensorFlow Hub's notebook on BAIR."""
TEST_FILE = "traj_0_to_255.tfrecords"
"""Its name in the archive, by which the clips are ordered."""
_FOLDER = "softmotion30_44k"
_SPLITS = ("train", "test")


class File(NamedTuple):
    """A TFRecord file, or a part of an archive that is one: bytes start to stop - 1 of `path`."""

    name: str
    path: Path
    start: int
    stop: int


class _Key(NamedTuple):
    file: File
    place: tfrecords.Place | None
    reason: str = ""
    """Why there is no place."""


class BairReader:
    """Clips of the original files in the order in which TFDS stores them."""

    cameras = ("image_main", "image_aux1")
    num_frames = 30
    frame_size = (64, 64)
    action_dim = 4
    position_dim = 3

    def __init__(self, files: Mapping[str, Sequence[File]]):
        self._files = files

    def splits(self) -> dict[str, list[ClipRef]]:
        """Looks for all clips, which takes a while in an archive of 30 GB."""
        found = {}
        for split, files in self._files.items():
            bar = tqdm.tqdm(files, f"looking for {split} clips", unit=" files")
            order = functools.partial(_tfds_order, hashing.Hasher(split))
            found[split] = sorted((ref for file in bar for ref in _clips(file)), key=order)
        return found

    def read(self, ref: ClipRef) -> RawClip:
        """Reads a clip at its place in its file."""
        file, place, reason = ref.key
        if place is None:
            raise BadClip(reason)
        try:
            with open(file.path, "rb") as stream:
                return parse(tfrecords.read(stream, place))
        except tfrecords.DamagedFile as error:
            raise BadClip(str(error)) from error

    def describe(self) -> str:
        """Nothing can be set."""
        return "BAIR robot pushing, original files"


def _tfds_order(hasher: hashing.Hasher, ref: ClipRef) -> int:
    """What TFDS sorts by; its key of a clip is the same as the reference's name."""
    return hasher.hash_key(ref.name)


def _clips(file: File) -> Iterator[ClipRef]:
    """The clips of a file. Where it is damaged, its name says how many are lost."""
    number = 0
    try:
        with open(file.path, "rb") as stream:
            for place in tfrecords.places(stream, file.start, file.stop):
                yield ClipRef(f"{file.name}_{number}", _Key(file, place), (file.path,))
                number += 1
    except (tfrecords.DamagedFile, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        first_last = re.search(r"traj_(\d{1,6})_to_(\d{1,6})\.", file.name)
        count = int(first_last[2]) - int(first_last[1]) + 1 if first_last else 0
        for lost in range(number, max(count, number + 1)):
            yield ClipRef(f"{file.name}_{lost}", _Key(file, None, reason), (file.path,))


def parse(record: bytes) -> RawClip:
    """The clip in a record: 30 frames of both cameras, 4 numbers an action, 3 a position.

    Raises:
        BadClip: the record holds something else.
    """
    try:  # a tf.train.SequenceExample whose context is the same on the wire as an Example
        feature = tf_example_pb2.Example.FromString(record).features.feature
    except DecodeError as error:
        raise BadClip("no protobuf Example") from error

    def values(t: int, name: str, kind: str, count: int) -> Sequence:
        key = f"{t}/{name}"
        if key not in feature:
            raise BadClip(f"no key {key}")
        found = getattr(feature[key], kind).value
        if len(found) != count:
            raise BadClip(f"{key} holds {len(found)} values rather than {count}")
        return found

    def view(camera: str) -> np.ndarray:
        shape = (*BairReader.frame_size, 3)
        frames = []
        for t in range(BairReader.num_frames):
            (data,) = values(t, f"{camera}/encoded", "bytes_list", 1)
            if len(data) != np.prod(shape):
                raise BadClip(f"{t}/{camera}/encoded has {len(data)} bytes, not {np.prod(shape)}")
            frames.append(np.frombuffer(data, np.uint8).reshape(shape))
        return np.stack(frames)

    def numbers(name: str, count: int) -> np.ndarray:
        rows = [values(t, name, "float_list", count) for t in range(BairReader.num_frames)]
        return np.array(rows, np.float32)

    return RawClip(
        {camera: view(camera) for camera in BairReader.cameras},
        numbers("action", BairReader.action_dim),
        numbers("endeffector_pos", BairReader.position_dim),
    )


def open_archive(config: DataSettings) -> BairReader:
    """The reader of the original tar, or of the folder that was unpacked from it.

    Raises:
        UserError: there is no such thing, or something else.
    """
    path = Path(config.path)
    try:
        files = _in_folder(path) if path.is_dir() else _in_tar(path)
    except OSError as error:
        raise _refused(path, error.strerror or str(error)) from error
    for split in _SPLITS:
        if not files[split]:
            raise _refused(path, f"there is no .tfrecords file in {_FOLDER}/{split}")
    return BairReader(files)


def open_test_file(config: DataSettings) -> BairReader:
    """The reader of the test file, which is fetched first if config.path names none.

    Raises:
        UserError: there is no such file, or it cannot be fetched.
    """
    path = Path(config.path or Path(config.dir, "downloads", os.path.basename(TEST_URL)))
    if not config.path:
        download.fetch(TEST_URL, path)
    try:
        return BairReader({"test": [_whole(path)._replace(name=TEST_FILE)]})
    except OSError as error:
        raise _refused(path, error.strerror or str(error)) from error


def _whole(path: Path) -> File:
    return File(path.name, path, 0, path.stat().st_size)


def _in_folder(path: Path) -> dict[str, list[File]]:
    root = path / _FOLDER if (path / _FOLDER).is_dir() else path
    return {
        split: [
            _whole(file) for file in sorted((root / split).iterdir()) if _is_tfrecord(file.name)
        ]
        for split in _SPLITS
    }


def _in_tar(path: Path) -> dict[str, list[File]]:
    """The files in an archive, which is read in place and never unpacked."""
    files: dict[str, list[File]] = {split: [] for split in _SPLITS}
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                *_, folder, split, name = ["", "", *member.name.split("/")]
                if folder != _FOLDER or split not in files or not _is_tfrecord(name):
                    continue
                if not member.isreg() or member.issparse():
                    raise tarfile.ReadError(f"{member.name} is no plain file")
                start = member.offset_data
                files[split].append(File(name, path, start, start + member.size))
        with open(path, "rb") as stream:
            stream.seek(archive.offset)
            if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("it is cut off")
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise _refused(path, f"not a whole tar archive, or compressed: {error}") from error
    return {split: sorted(found) for split, found in files.items()}


def _is_tfrecord(name: str) -> bool:
    return name.endswith((".tfrecords", ".tfrecord")) and not name.startswith(".")


def _refused(path: Path, reason: str) -> UserError:
    return UserError(
        f"--config.data.path={path}: {reason}; name bair_robot_pushing_dataset_v0.tar, the folder "
        f"{_FOLDER} that was unpacked from it or, for bair_test_256, the test file"
    )
