"""Episodes of robots as TFDS stores them (RoboNet, Open X-Embodiment), read without TensorFlow.

TFDS flattens an episode's features: `steps/observation/image` is the list of its encoded frames,
`steps/action` all of its actions behind one another.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tqdm
from array_record.python import array_record_data_source
from google.protobuf.message import DecodeError
from tensorflow_datasets.proto import tf_example_pb2

from cvae_jax.data import folders, frames, messages, tables, tfrecords
from cvae_jax.data.clip_source import Records
from cvae_jax.data.readers import BadClip, ClipRef, DataSettings, RawClip
from cvae_jax.errors import UserError

_ERRORS = (tfrecords.DamagedFile, DecodeError, OSError, ValueError, IndexError, RuntimeError)
_FILE = re.compile(r"(.+-(\w+)\.(tfrecord|array_record))-\d+-of-(\d+)").fullmatch
_SPLITS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}


class Keys(NamedTuple):
    """Which features of an episode are used; several are put beside one another."""

    image: str
    action: tuple[str, ...]
    position: tuple[str, ...] = ()


class _Key(NamedTuple):
    """Where a clip is, or why it cannot be used."""

    split: str
    record: int
    start: int
    problem: str = ""


class EpisodeReader:
    """Episodes cut into clips; those of one episode are in one split.

    The data set's own splits are used; where it has `train` alone, a tenth of the episodes goes to
    `test` and another to `validation`. Episodes shorter than a clip are left out before.
    """

    cameras = ("image_main",)
    frame_size = (frames.FRAME_SIZE, frames.FRAME_SIZE)

    def __init__(self, config: DataSettings, keys: Keys):
        self.num_frames = config.clip_length
        self._path = folders.top(config.path)
        self._keys = keys
        self._files = _find_files(self._path)
        self._records = _open_records(self._path, self._files)
        self.action_dim = self.position_dim = 0
        self._short: list[int] = []
        """Their numbers of frames."""
        self._clips = {split: self._list(split) for split in self._records}

    def splits(self) -> dict[str, list[ClipRef]]:
        """The clips, in the order of the files.

        Raises:
            UserError: no episode is long enough.
        """
        if self._short and not any(self._clips.values()):
            raise messages.too_short("episode", max(self._short), self._path, self.num_frames)
        if set(self._clips) != {"train"}:
            return self._clips
        of_episode = folders.choose_splits([*{str(ref.key.record) for ref in self._clips["train"]}])
        found: dict[str, list[ClipRef]] = {split: [] for split in folders.SPLITS}
        for ref in self._clips["train"]:
            found[of_episode[str(ref.key.record)]].append(ref)
        return found

    def read(self, ref: ClipRef) -> RawClip:
        """Reads a part of an episode.

        Raises:
            BadClip: its record is damaged, or a feature not as in others.
        """
        if ref.key.problem:
            raise BadClip(ref.key.problem)
        images, action, position = self._episode(ref.key.split, ref.key.record)
        part = slice(ref.key.start, ref.key.start + self.num_frames)
        try:
            video = np.stack([frames.fit(frames.decode(image)) for image in images[part]])
        except ValueError as error:
            raise BadClip(f"a frame is {error}") from error
        return RawClip({self.cameras[0]: video}, action[part], position[part])

    def describe(self) -> str:
        """What was found and what is made of it."""
        counts = ", ".join(f"{len(r)} episodes of {split}" for split, r in self._records.items())
        short = f"; {len(self._short)} shorter episodes left out" if self._short else ""
        return f"{counts}; clips of {self.num_frames} frames{short}; {self._keys}"

    def _list(self, split: str) -> list[ClipRef]:
        refs = []
        records, files = self._records[split], tuple(self._files[split])
        for record in tqdm.trange(len(records), desc=f"looking at {split}", unit=" episodes"):
            name = f"episode {record}"
            try:
                images, action, position = self._episode(split, record)
            except BadClip as error:
                refs.append(ClipRef(name, _Key(split, record, 0, str(error)), files))
                continue
            if len(images) < self.num_frames:
                self._short.append(len(images))
                continue
            if not self.action_dim:
                self.action_dim, self.position_dim = action.shape[1], position.shape[1]
            for start in range(0, len(images) - self.num_frames + 1, self.num_frames):
                key = _Key(split, record, start)
                refs.append(ClipRef(f"{name} from frame {start}", key, files))
        return refs

    def _episode(self, split: str, record: int) -> tuple[Sequence[bytes], np.ndarray, np.ndarray]:
        """Encoded frames, actions and positions of a whole episode."""
        try:
            example = tf_example_pb2.Example.FromString(self._records[split][record])
        except _ERRORS as error:
            raise BadClip(f"its record is damaged ({error})") from error
        feature = example.features.feature
        for key in (self._keys.image, *self._keys.action, *self._keys.position):
            if key not in feature:
                raise BadClip(f"has no {key}, only {', '.join(sorted(feature))}")
        images = feature[self._keys.image].bytes_list.value

        def table(keys: tuple[str, ...], *, of_actions: bool = False) -> np.ndarray:
            columns = [
                _rows(feature[key].float_list.value, len(images), key, of_actions) for key in keys
            ]
            return np.concatenate([np.zeros((len(images), 0), np.float32), *columns], axis=1)

        return images, table(self._keys.action, of_actions=True), table(self._keys.position)


def _rows(values: Sequence[float], num_frames: int, key: str, of_actions: bool) -> tables.Table:
    """A row for each frame, of numbers that stand behind one another."""
    for num_rows in (num_frames, num_frames - 1) if of_actions else (num_frames,):
        if num_rows > 0 and values and len(values) % num_rows == 0:
            rows = np.array(values, np.float32).reshape(num_rows, -1)
            return tables.per_frame(rows, num_frames, key, of_actions=of_actions)
    raise BadClip(f"{key}: {len(values)} numbers for {num_frames} frames")


class _TFRecords:
    """The records of TFRecord files by number."""

    def __init__(self, paths: Sequence[pathlib.Path]):
        self._places = []
        for path in paths:
            try:
                with open(path, "rb") as file:
                    for place in tfrecords.places(file, 0, path.stat().st_size):
                        self._places.append((path, place))
            except (tfrecords.DamagedFile, OSError) as error:
                raise UserError(f"{path}: {error}; get that file again") from error

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> bytes:
        path, place = self._places[index]
        with open(path, "rb") as file:
            return tfrecords.read(file, place)


def _find_files(folder: pathlib.Path) -> dict[str, list[pathlib.Path]]:
    """The files of each split.

    Raises:
        UserError: there are none, or some of a set are missing.
    """
    names = {path.name for path in folder.iterdir()}
    files: dict[str, list[pathlib.Path]] = {}
    sets = {match.group(1, 2, 4) for match in map(_FILE, names) if match}
    for stem, split, count in sorted(sets):
        if split not in _SPLITS:
            continue
        for index in range(int(count)):
            name = f"{stem}-{index:0{len(count)}}-of-{count}"
            if name not in names:
                raise UserError(f"--config.data.path={folder}: {name} is missing; get it too")
            files.setdefault(_SPLITS[split], []).append(folder / name)
    if not files:
        raise UserError(
            f"--config.data.path={folder}: no files like NAME-train.tfrecord-00000-of-00001; name "
            "the folder that TFDS made, which ends with the version"
        )
    return files


def _open_records(
    folder: pathlib.Path, files: Mapping[str, Sequence[pathlib.Path]]
) -> dict[str, Records]:
    """Each split's records; TFDS's own class would need TensorFlow where there is a video."""
    kinds = {True: array_record_data_source.ArrayRecordDataSource, False: _TFRecords}
    try:
        return {
            split: kinds[".array_record-" in paths[0].name](paths)
            for split, paths in sorted(files.items())
        }
    except (RuntimeError, OSError) as error:  # array_record's, of a file that is cut off
        reason = " ".join(str(error).split())
        raise UserError(f"--config.data.path={folder}: {reason}; get its files again") from error
