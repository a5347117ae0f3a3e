"""The same clips in every form that data/ prepares or reads, for benchmarks/data.py."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from array_record.python import array_record_data_source, array_record_module
from PIL import Image
from tensorflow_datasets.proto import tf_example_pb2

from cvae_jax.config import DataConfig
from cvae_jax.data import png, simulator
from cvae_jax.data.clip import Clip
from cvae_jax.data.readers import RawClip
from tests.data import bair_files, recordings

BAIR = "bair_robot_pushing_small"
CAMERAS = ("image_main", "image_aux1")


def simulate(number: int) -> list[RawClip]:
    """Clips of 30 frames by two cameras, most of them rolled and mirrored copies of a few."""
    few = [simulator.clip(seed) for seed in range(12)]
    return [
        RawClip(
            {camera: _changed(few[(index + shift) % len(few)].video, index // len(few), index % 2)
             for shift, camera in enumerate(CAMERAS)},
            few[index % len(few)].action,
            few[index % len(few)].position,
        )
        for index in range(number)
    ]  # fmt: skip


def repeat_real(path: Path, number: int) -> list[RawClip]:
    """Rolled and mirrored copies of one real clip: arrays `image`, `aux1_image` and `action`."""
    with np.load(path) as real:
        views = real["image"], real["aux1_image"]
        action, position = real["action"], np.zeros((len(real["action"]), 3), np.float32)
    return [
        RawClip(
            {c: _changed(v, index // 2, index % 2) for c, v in zip(CAMERAS, views, strict=True)},
            action,
            position,
        )
        for index in range(number)
    ]


def _changed(video: np.ndarray, roll: int, mirror: int) -> np.ndarray:
    rolled = np.roll(video, roll, axis=2)
    return np.ascontiguousarray(rolled[:, :, ::-1] if mirror else rolled)


def one_camera(clips: list[RawClip]) -> list[Clip]:
    """The clips as the other formats hold them."""
    return [Clip(clip.views[CAMERAS[0]], clip.action, clip.position) for clip in clips]


def _in_splits(clips: list, names: tuple[str, ...]) -> Iterator[tuple[str, int, Clip]]:
    """All clips in the first split; two more serve as each of the others."""
    for name, part in zip(names, (clips, *[clips[:2]] * (len(names) - 1)), strict=True):
        for index, clip in enumerate(part):
            yield name, index, clip


def as_lab(root: Path, name: str, clips: list[Clip]) -> DataConfig:
    """The clips in the lab's folders."""
    for split, index, clip in _in_splits(clips, recordings.SPLITS):
        folder = root / name / split / "traj_0" / str(index)
        recordings.write_pngs(folder, clip.video)
        recordings.write_csv(folder / "actions.csv", clip.action)
        recordings.write_csv(folder / "endeffector_positions.csv", clip.position)
    return DataConfig(source="lab", camera=CAMERAS[1], **_places(root, name, name))


def as_videos(root: Path, name: str, write: Callable, clips: list[Clip]) -> DataConfig:
    """The clips as one's own videos."""
    for split, index, clip in _in_splits(clips, ("train", "validation", "test")):
        (root / name / split).mkdir(parents=True, exist_ok=True)
        write(root / name / split / f"{index}.{name}", clip.video, 10)
    return DataConfig(source="folder", **_places(root, name, name))


def as_bair(root: Path, name: str, clips: list[RawClip]) -> DataConfig:
    """The clips in BAIR's original files."""
    path = f"{name}/softmotion30_44k"
    for split, part in (("train", clips), ("test", clips[:2])):
        file = root / path / split / f"traj_0_to_{len(part) - 1}.tfrecords"
        bair_files.write_tfrecord(file, part)
    return DataConfig(source=BAIR, camera=CAMERAS[1], **_places(root, path, name))


def _places(root: Path, path: str, name: str) -> dict[str, str]:
    return {"path": str(root / path), "dir": str(root / "data" / name)}


def as_tfds_writes(folder: Path, copy: Path) -> None:
    """A copy of prepared data with compressed frames and records, as TFDS's own writer makes it."""
    copy.mkdir(parents=True)
    for path in folder.iterdir():
        if "array_record" in path.name:
            writer = array_record_module.ArrayRecordWriter(str(copy / path.name), "group_size:1")
            for record in _records(path):
                writer.write(_compressed(record))
            writer.close()
        else:
            (copy / path.name).write_bytes(path.read_bytes())


def as_tfrecord(folder: Path, copy: Path) -> None:
    """A copy of prepared data in the file format that tf.data reads; it reads no array_record."""
    copy.mkdir(parents=True)
    for path in folder.iterdir():
        name = path.name.replace("array_record", "tfrecord")
        if name != path.name:
            (copy / name).write_bytes(b"".join(map(bair_files.frame_record, _records(path))))
        else:
            (copy / name).write_text(path.read_text().replace("array_record", "tfrecord"))


def _records(path: Path) -> Iterator[bytes]:
    records = array_record_data_source.ArrayRecordDataSource([path])
    yield from map(records.__getitem__, range(len(records)))


def _compressed(record: bytes) -> bytes:
    """The example with its frames packed by Pillow, at zlib's usual level."""
    example = tf_example_pb2.Example.FromString(record)
    for feature in example.features.feature.values():
        for index, file in enumerate(feature.bytes_list.value):
            packed = io.BytesIO()
            Image.fromarray(png.decode(file)).save(packed, "PNG")
            feature.bytes_list.value[index] = packed.getvalue()
    return example.SerializeToString()
