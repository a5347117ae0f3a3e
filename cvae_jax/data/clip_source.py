"""Random access to the clips of one split, decoding only the frames that are asked for."""

from __future__ import annotations

import copy
import pathlib
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from google.protobuf.message import DecodeError
from tensorflow_datasets.proto import tf_example_pb2

from cvae_jax.data import messages, png
from cvae_jax.data.clip import Clip
from cvae_jax.data.statistics import Statistics

READ_ERRORS = (ValueError, RuntimeError, OSError, IndexError, DecodeError)
"""What reading and parsing a damaged record may raise."""


def parse(record: bytes, cameras: Sequence[str], video_window: slice = slice(None)) -> Clip:
    """Decodes a serialised `tf.train.Example` with TFDS's feature names.

    Args:
        record: the example.
        cameras: whose frames to decode; those of several follow one another in the video.
        video_window: which frames to decode. Action and position are always whole.

    Raises:
        ValueError, DecodeError: the record or one of those frames is damaged.
    """
    feature = tf_example_pb2.Example.FromString(record).features.feature
    files = [feature[camera].bytes_list.value for camera in cameras]
    length = len(files[0])
    if length == 0:
        raise ValueError(f"no frames of {cameras[0]}")
    views = [png.decode_all(frames[video_window]) for frames in files]
    video = views[0] if len(views) == 1 else np.concatenate(views)
    action = np.array(feature["action"].float_list.value, np.float32)
    position = np.array(feature["endeffector_pos"].float_list.value, np.float32)
    return Clip(video, action.reshape(length, -1), position.reshape(length, -1))


@runtime_checkable
class Records(Protocol):
    """Serialised examples by number."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> bytes: ...


class ClipSource:
    """One split of a prepared data set, seen by one camera.

    Attributes:
        records: the clips as they are stored.
        split: the split's name.
        statistics: of the whole data set.
        scale: the statistics that batches are normalised with; those of the run where a model
            is used on other data than it was trained on.
        folder: where the data set is.
    """

    def __init__(
        self,
        records: Records,
        *,
        split: str,
        camera: str,
        statistics: Statistics,
        folder: pathlib.Path,
    ):
        self.records = records
        self._camera = camera
        self.split = split
        self.statistics = self.scale = statistics
        self.folder = folder

    def __len__(self) -> int:
        return len(self.records)

    def scaled_by(self, statistics: Statistics) -> ClipSource:
        """The same clips, normalised with the statistics of a run."""
        source = copy.copy(self)
        source.scale = statistics
        return source

    def read(self, clip_id: int, start: int = 0, num_frames: int | None = None) -> Clip:
        """Frames start..start + num_frames - 1 of a clip; from start to its end by default.

        Raises:
            IndexError: no such clip or frames.
            UserError: the record or a frame in it is damaged.
        """
        length = self.statistics.num_frames
        stop = length if num_frames is None else start + num_frames
        if not 0 <= clip_id < len(self):
            raise IndexError(f"clip {clip_id} of {len(self)}")
        if not 0 <= start < stop <= length:
            raise IndexError(f"frames {start} to {stop - 1} of {length}")
        window = slice(start, stop)
        try:
            clip = parse(self.records[clip_id], [self._camera], window)
            if (len(clip.action), len(clip.video)) != (length, stop - start):
                raise ValueError(f"{len(clip.action)} frames instead of {length}")
        except READ_ERRORS as error:
            what = f"{self.split} clip {clip_id}"
            raise messages.damaged(what, error, self.folder) from error
        return Clip(clip.video, clip.action[window], clip.position[window])
