"""What a format of data has to offer, so that conversion.py can make a prepared data set of it.

A reader lists the clips of each split and reads one at a time; it knows nothing of how they are
stored afterwards. A new format is a file with a reader and a function that opens it, and a line in
`sources.SOURCES`.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class DataSettings(Protocol):
    """What is read of `config.DataConfig` in this package."""

    @property
    def source(self) -> str:
        """A name in `sources.SOURCES`."""

    @property
    def dir(self) -> str:
        """The folder of all prepared data sets."""

    @property
    def path(self) -> str:
        """What the user already has: an archive, a file or a folder; empty if nothing."""

    @property
    def strict(self) -> bool:
        """Whether the first bad clip ends the preparation."""

    @property
    def clip_length(self) -> int:
        """Frames of a clip, where the source leaves that open."""

    @property
    def camera(self) -> str:
        """One of the source's."""


class BadClip(Exception):  # noqa: N818 (no error of the program)
    """A clip cannot be used; the message says why, in words that a user understands."""


class ClipRef(NamedTuple):
    """Where a clip is. Its name stands in messages and is unique within a split."""

    name: str
    key: Any = None
    """Whatever its reader needs to find it."""
    files: tuple[pathlib.Path, ...] = ()
    """What it is read from; a folder stands for the files in it. When a conversion that was killed
    goes on, clips whose files have changed are converted again."""


class RawClip(NamedTuple):
    """A clip as its reader gives it. `action[t]` leads from frame t to frame t + 1."""

    views: dict[str, np.ndarray]
    """Frames of each camera, uint8 (time, height, width, 3)."""
    action: np.ndarray
    """(time, action_dim), in the source's own units."""
    position: np.ndarray
    """(time, position_dim)."""


@runtime_checkable
class ClipReader(Protocol):
    """All clips of a data set in some format. Clips are read in the order in which they are listed.

    Attributes:
        cameras: the views of every clip.
        num_frames: the length of every clip.
        frame_size: height and width of every frame.
        action_dim: numbers in an action; 0 if there are none.
        position_dim: numbers in a position; 0 if there are none.
    """

    cameras: tuple[str, ...]
    num_frames: int
    frame_size: tuple[int, int]
    action_dim: int
    position_dim: int

    def splits(self) -> Mapping[str, Sequence[ClipRef]]:
        """The clips of each split in a deterministic order; a split that is not there is left out.

        Raises:
            UserError: what the user named is not of this format at all.
        """

    def read(self, ref: ClipRef) -> RawClip:
        """Reads a clip.

        Raises:
            BadClip: it is damaged or not as it should be. Shapes and finiteness need no check in a
                reader; conversion.py checks them.
            OSError: a file of it cannot be read; counts as a bad clip.
        """

    def describe(self) -> str:
        """The settings that decide the content; with others a conversion starts anew."""
