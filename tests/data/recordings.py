"""Small data sets as users have them on disk, with the arrays that are in them."""

import pathlib
import struct

import numpy as np
from PIL import Image
from tensorflow_datasets.proto import tf_example_pb2

from cvae_jax import video
from cvae_jax.data import png, tfds_format, tfrecords

SPLITS = ("train", "validate", "test")


def moving_square(seed: int, num_frames: int, height: int = 64, width: int = 64) -> np.ndarray:
    """A square that moves by what the seed says, over a still background."""
    rng = np.random.default_rng(seed)
    frames = np.empty((num_frames, height, width, 3), np.uint8)
    rows, columns = np.indices((height, width)) // 4
    frames[:] = (rows + columns)[..., None] + rng.integers(0, 120, 3, dtype=np.uint8)
    left, top = rng.integers(0, 20, 2)
    for time in range(num_frames):
        x = (left + 2 * time) % (width - 16)
        frames[time, top : top + 16, x : x + 16] = (220, 180, 40)
    return frames


def table(seed: int, num_rows: int, num_columns: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(num_rows, num_columns)).astype(np.float32)


def write_csv(path: pathlib.Path, rows: np.ndarray) -> None:
    np.savetxt(path, rows, fmt="%.9g", delimiter=",")


def write_pngs(folder: pathlib.Path, frames: np.ndarray, name: str = "{}.png") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for time, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / name.format(time))


def write_lab_clip(folder: pathlib.Path, seed: int) -> None:
    write_pngs(folder, moving_square(seed, 30))
    write_csv(folder / "actions.csv", table(seed, 30, 4))
    write_csv(folder / "endeffector_positions.csv", table(seed + 1000, 30, 3))


def write_lab(top: pathlib.Path, clips_per_split: int = 4) -> None:
    """The lab's folders; clip N of a split is made from seed 100 * split + N."""
    for index, split in enumerate(SPLITS):
        for number in range(clips_per_split):
            folder = top / "push" / split / f"traj_{number // 2 * 8}_to_{number // 2 * 8 + 7}"
            write_lab_clip(folder / str(number * 5), 100 * index + number)


def write_videos(
    top: pathlib.Path, *, num_videos: int = 12, action_dim: int = 0, position_dim: int = 0
) -> None:
    """Videos: MP4, GIF and PNG folders, of two sizes and several lengths."""
    top.mkdir(parents=True, exist_ok=True)
    for seed in range(num_videos):
        height, width, length = (48, 80, 25) if seed % 2 else (96, 64, 13)
        frames = moving_square(seed, length, height, width)
        place = top / f"push{seed}"
        if seed % 3 == 0:
            video.write_mp4(place.with_suffix(".mp4"), frames, 10)
        elif seed % 3 == 1:
            video.write_gif(place.with_suffix(".gif"), frames, 10)
        else:
            write_pngs(place, frames, "frame_{:03}.png")
        tables = {
            name: table(seed + offset, length, columns)
            for name, offset, columns in (
                ("action", 0, action_dim),
                ("position", 1000, position_dim),
            )
            if columns
        }
        if seed % 2 and tables:
            np.savez(place.with_suffix(".npz"), **tables)
        for name, rows in {} if seed % 2 else tables.items():
            write_csv(place.with_suffix(f".{name}s.csv"), rows)


def write_robonet(
    top: pathlib.Path, file_format: str = "tfrecord", num_episodes: int = 12, length: int = 7
) -> None:
    """RoboNet's 64x64 sample as TFDS lays it out, an action fewer than frames, of 5 numbers each.

    The keys are what the real builder's features give; its `Video` cannot be made without
    TensorFlow, so the examples are put together here.
    """
    records = []
    for seed in range(num_episodes):
        example = tf_example_pb2.Example()
        feature = example.features.feature
        feature["video"].bytes_list.value.extend(map(png.encode, moving_square(seed, length)))
        feature["actions"].float_list.value.extend(table(seed, length - 1, 5).ravel())
        feature["states"].float_list.value.extend(table(1000 + seed, length, 5).ravel())
        feature["filename"].bytes_list.value.append(b"robot.hdf5")
        records.append(example.SerializeToString())
    write_tfds(top, "robonet", records, file_format)


def write_tfds(top: pathlib.Path, name: str, records: list[bytes], file_format: str) -> None:
    """Two files of records, written by TFDS itself or, as it needs TensorFlow for them, by hand."""
    top.mkdir(parents=True)
    for index, part in enumerate((records[::2], records[1::2])):
        path = top / f"{name}-train.{file_format}-{index:05}-of-00002"
        if file_format == "array_record":
            tfds_format.write_shard(path, part)
        else:
            path.write_bytes(b"".join(map(_framed, part)))


def _framed(record: bytes) -> bytes:
    length = struct.pack("<Q", len(record))
    checksums = [struct.pack("<I", tfrecords.masked_crc32c(data)) for data in (length, record)]
    return length + checksums[0] + record + checksums[1]
