"""The form in which TFDS stores clips: examples, shards and what describes them."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_module
from tensorflow_datasets.core import naming
from tensorflow_datasets.proto import tf_example_pb2

from cvae_jax.data import png
from cvae_jax.data.readers import BadClip, ClipReader, RawClip

SUFFIX = "array_record"


class ShardSize(NamedTuple):
    """What a file of clips holds."""

    num_clips: int
    num_bytes: int


def shard_name(name: str, split: str, index: int, count: int) -> str:
    """The file name of one shard of a split."""
    return f"{name}-{split}.{SUFFIX}-{index:05}-of-{count:05}"


def write_shard(path: pathlib.Path, records: Iterable[bytes]) -> None:
    """Writes serialised clips for random access; real frames hardly shrink, and unpacking costs."""
    writer = array_record_module.ArrayRecordWriter(os.fspath(path), "group_size:1,uncompressed")
    for record in records:
        writer.write(record)
    writer.close()


def checked(clip: RawClip, reader: ClipReader) -> RawClip:
    """The clip in the types that are stored.

    Raises:
        BadClip: it is not what the reader says of all its clips.
    """
    length = reader.num_frames
    frames = (length, *reader.frame_size, 3)
    for camera in reader.cameras:
        view = clip.views[camera]
        if view.shape != frames or view.dtype != np.uint8:
            raise BadClip(f"{camera} is {view.dtype} {view.shape} rather than uint8 {frames}")
    arrays = []
    for what, value, width in (
        ("action", clip.action, reader.action_dim),
        ("position", clip.position, reader.position_dim),
    ):
        array = np.asarray(value, np.float32)
        if array.shape != (length, width):
            raise BadClip(f"{what} has shape {array.shape} rather than {(length, width)}")
        if not np.isfinite(array).all():
            frame = int(np.argwhere(~np.isfinite(array))[0, 0])
            raise BadClip(f"{what} of frame {frame} is not finite")
        arrays.append(array)
    return RawClip(clip.views, *arrays)


def serialise(clip: RawClip) -> bytes:
    """A `tf.train.Example` as TFDS stores a sequence of frames."""
    example = tf_example_pb2.Example()
    feature = example.features.feature
    for camera, frames in clip.views.items():
        feature[camera].bytes_list.value.extend(map(png.encode, frames))
    feature["action"].float_list.value.extend(clip.action.ravel())
    feature["endeffector_pos"].float_list.value.extend(clip.position.ravel())
    return example.SerializeToString(deterministic=True)


def write_metadata(
    folder: pathlib.Path,
    name: str,
    version: str,
    reader: ClipReader,
    shards: Mapping[str, Sequence[ShardSize]],
) -> None:
    """Writes what `tfds.builder_from_directory` needs to read the shards of each split."""
    image = tfds.features.Image(shape=(*reader.frame_size, 3), encoding_format="png")
    vector = {"action": reader.action_dim, "endeffector_pos": reader.position_dim}
    frame = {camera: image for camera in reader.cameras} | {
        key: tfds.features.Tensor(shape=(width,), dtype=np.float32) for key, width in vector.items()
    }
    template = naming.ShardedFileTemplate(
        data_dir=folder, dataset_name=name, filetype_suffix=SUFFIX
    )
    infos = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=[size.num_clips for size in sizes],
            num_bytes=sum(size.num_bytes for size in sizes),
            filename_template=template.replace(split=split),
        )
        for split, sizes in shards.items()
    ]
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=tfds.features.Sequence(frame, length=reader.num_frames),
        split_infos=infos,
        version=version,
        check_data=False,
    )
