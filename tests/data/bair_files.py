"""Makes small archives in BAIR's original layout, and writes TFRecord files byte by byte."""

import io
import struct
import tarfile
from pathlib import Path

import numpy as np
from tensorflow_datasets.proto import tf_example_pb2

from cvae_jax.data import tfrecords
from cvae_jax.data.readers import RawClip

CAMERAS = ("image_main", "image_aux1")


def clip(seed: int) -> RawClip:
    """Soft blobs, actions and positions, all from a seed, with BAIR's shapes."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (2, 30, 8, 8, 3), np.uint8)
    views = coarse.repeat(8, axis=2).repeat(8, axis=3)
    action = rng.normal(scale=(0.07, 0.06, 3.0, 1.0), size=(30, 4)).astype(np.float32)
    position = rng.normal(size=(30, 3)).astype(np.float32)
    return RawClip(dict(zip(CAMERAS, views, strict=True)), action, position)


def example(clip: RawClip) -> tf_example_pb2.Example:
    """A clip as the original files hold it."""
    message = tf_example_pb2.Example()
    feature = message.features.feature
    for t in range(len(clip.action)):
        for camera, video in clip.views.items():
            feature[f"{t}/{camera}/encoded"].bytes_list.value.append(video[t].tobytes())
        feature[f"{t}/action"].float_list.value.extend(clip.action[t])
        feature[f"{t}/endeffector_pos"].float_list.value.extend(clip.position[t])
    return message


def frame_record(data: bytes) -> bytes:
    """A record with its length and checksums, as TFRecord files hold it."""
    length = struct.pack("<Q", len(data))
    checksums = [struct.pack("<I", tfrecords.masked_crc32c(part)) for part in (length, data)]
    return length + checksums[0] + data + checksums[1]


def write_tfrecord(path: Path, clips) -> None:
    """Writes clips, or examples, as one file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    examples = (c if isinstance(c, tf_example_pb2.Example) else example(c) for c in clips)
    path.write_bytes(b"".join(frame_record(e.SerializeToString()) for e in examples))


def folder(root: Path, num_train=12, num_test=3, per_file=6) -> Path:
    """softmotion30_44k with files as traj_0_to_5.tfrecords; test clips go on counting seeds."""
    path = root / "softmotion30_44k"
    for split, first, count in (("train", 0, num_train), ("test", num_train, num_test)):
        for start in range(0, count, per_file):
            numbers = range(start, min(start + per_file, count))
            name = f"traj_{numbers[0]}_to_{numbers[-1]}.tfrecords"
            write_tfrecord(path / split / name, [clip(first + number) for number in numbers])
    return path


def tar(path: Path, unpacked: Path) -> Path:
    """The folder as the archive that the authors publish."""
    with tarfile.open(path, "w") as archive:
        archive.add(unpacked, unpacked.name)
    return path


def add_member(path: Path, name: str, data: bytes) -> None:
    """Adds a file of any name to an archive."""
    with tarfile.open(path, "a") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
