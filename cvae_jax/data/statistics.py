"""What is known about a prepared data set: its size, its scale and a fingerprint."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float32

from cvae_jax.data import messages
from cvae_jax.data.clip import Clip
from cvae_jax.files import write_json

FILE_NAME = "statistics.json"
MIN_STD = 1e-6
"""A component whose deviation is no more is taken for one that never changes, and not scaled."""

_ARRAYS = ("action_mean", "action_std", "position_mean", "position_std")


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation are over all frames of the training split.

    Where a data set has none, they are of its first split, and of no use to a model.
    """

    fingerprint: str
    """sha256 of the content (not the files): actions, positions and first frames, in order."""
    num_clips: dict[str, int]
    num_frames: int
    frame_size: tuple[int, int]
    """Height and width in pixels."""
    action_mean: Float32[np.ndarray, "action_dim"]
    action_std: Float32[np.ndarray, "action_dim"]
    position_mean: Float32[np.ndarray, "position_dim"]
    position_std: Float32[np.ndarray, "position_dim"]

    def normalised(
        self,
        action: Float32[Any, "*times action_dim"],
        position: Float32[Any, "*times position_dim"],
    ) -> tuple[Float32[Any, "*times action_dim"], Float32[Any, "*times position_dim"]]:
        """Actions and positions, of NumPy or JAX, as a model takes them."""
        return (
            (action - self.action_mean) / self.action_std,
            (position - self.position_mean) / self.position_std,
        )


def compute(splits: dict[str, Callable[[], Iterable[Clip]]]) -> Statistics:
    """Goes through every clip once.

    Args:
        splits: for each split a function that gives its clips in order. The videos need only
            hold the first frame of each camera; all of them is fingerprinted.
    """
    digest = hashlib.sha256()
    num_clips: dict[str, int] = {}
    moments: list[np.ndarray] = []
    num_frames, frame_size = 0, (0, 0)
    for split, clips in splits.items():
        digest.update(split.encode() + b"\0")
        actions, positions = [], []
        for clip in clips():
            for array in (clip.action, clip.position, clip.video):
                digest.update(repr((array.shape, array.dtype.str)).encode())
                digest.update(np.ascontiguousarray(array).tobytes())
            actions.append(clip.action)
            positions.append(clip.position)
            num_frames, frame_size = len(clip.action), clip.video.shape[1:3]
        num_clips[split] = len(actions)
        if split == "train" or not moments:
            moments = [*_moments(actions), *_moments(positions)]
    return Statistics(
        digest.hexdigest(),
        num_clips,
        num_frames,
        frame_size,
        **dict(zip(_ARRAYS, moments, strict=True)),
    )


def _moments(arrays: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    rows = np.concatenate(arrays).astype(np.float64)
    std = rows.std(axis=0)
    return rows.mean(axis=0).astype(np.float32), _scale(std.astype(np.float32))


def _scale(std: np.ndarray) -> np.ndarray:
    """The deviations, but 1 for what never changes: another value would come out as millions."""
    return np.where(std <= np.float32(MIN_STD), np.float32(1.0), std)


def save(statistics: Statistics, folder: pathlib.Path) -> None:
    """Writes `statistics.json` into a folder, whole or not at all."""
    write_json(folder / FILE_NAME, dataclasses.asdict(statistics))


def load(folder: pathlib.Path) -> Statistics:
    """Reads `statistics.json` from a folder.

    Raises:
        FileNotFoundError: there is none.
        UserError: it is incomplete or no JSON.
    """
    path = folder / FILE_NAME
    try:
        return from_json(json.loads(path.read_text()))
    except (ValueError, KeyError, TypeError) as error:
        raise messages.damaged(str(path), error, folder) from error


def from_json(fields: Mapping[str, Any]) -> Statistics:
    """The statistics that JSON holds, to the last bit but for deviations of MIN_STD or less.

    Those were written for what never changes, and are read as 1.

    Raises:
        ValueError, KeyError, TypeError: the fields are others.
    """
    arrays = {name: np.array(fields[name], np.float32) for name in _ARRAYS}
    arrays |= {name: _scale(arrays[name]) for name in ("action_std", "position_std")}
    return Statistics(**{**fields, **arrays, "frame_size": tuple(fields["frame_size"])})
