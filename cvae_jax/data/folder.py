"""A folder of one's own videos, each perhaps with tables of actions and positions beside it."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
import tqdm

from cvae_jax.data import folders, frames, messages, tables, videos
from cvae_jax.data.readers import BadClip, ClipRef, DataSettings, RawClip
from cvae_jax.errors import UserError

_TABLES = (".actions.csv", ".positions.csv", ".npz")
_NUM_NAMED = 3

_Files = Sequence[tuple[pathlib.Path, list[str]]]
"""What `folders.walk` gives."""


@dataclasses.dataclass(eq=False)
class _Video:
    """A video and the tables beside it, or why it cannot be used."""

    path: pathlib.Path
    name: str
    num_frames: int = 0
    size: tuple[int, int] = (0, 0)
    """Width and height."""
    action: tables.Table | None = None
    position: tables.Table | None = None
    problem: str = ""


def open_reader(config: DataSettings) -> FolderReader:
    """The reader of the folder `config.data.path`, in clips of `config.data.clip_length`."""
    return FolderReader(folders.top(config.path), config.clip_length)


class FolderReader:
    """Videos cut into clips. The windows of a video follow one another and are all in one split.

    `train`, `validation` and `test` are sub-folders; without any of them, a tenth of the videos
    (at least one) goes to `test` and another to `validation`, chosen by a hash of their names.
    Videos shorter than a clip are left out before.
    """

    cameras = ("image_main",)
    frame_size = (frames.FRAME_SIZE, frames.FRAME_SIZE)

    def __init__(self, path: pathlib.Path, clip_length: int):
        self.num_frames = clip_length
        self._path = path
        files = list(folders.walk(path))
        found = _look_at(path, files)
        self._videos = [video for video in found if not self._is_short(video)]
        self._short = [video for video in found if self._is_short(video)]
        self._others = _others(path, files, found)
        self.action_dim = _common_width(video.action for video in self._videos)
        self.position_dim = _common_width(video.position for video in self._videos)
        self._stream: Iterator[videos.Frame] = iter(())
        self._next: tuple[str, int] | None = None
        """Video and number of the frame that the stream gives next."""

    def splits(self) -> dict[str, list[ClipRef]]:
        """The clips; of a video that cannot be used, one stands for it.

        Raises:
            UserError: too few videos to split.
        """
        found: dict[str, list[ClipRef]] = {}
        for split, members in self._members().items():
            for video in members:
                problem = self._problem(video)
                starts = range(0, video.num_frames - self.num_frames + 1, self.num_frames)
                files = (video.path, *(_beside(video.path, suffix) for suffix in _TABLES))
                found.setdefault(split, []).extend(
                    [ClipRef(video.name, problem, files)]
                    if problem
                    else [
                        ClipRef(f"{video.name} from frame {start}", (video, start), files)
                        for start in starts
                    ]
                )
        return found

    def read(self, ref: ClipRef) -> RawClip:
        """Reads a clip; going on in the video where the last one ended costs least.

        Raises:
            BadClip: the video is damaged, too short, or its tables are not like the others'.
        """
        if isinstance(ref.key, str):
            raise BadClip(ref.key)
        video, start = ref.key
        stop = start + self.num_frames
        if self._next != (video.name, start):
            self._stream = videos.read(video.path, start)
        self._next = None
        clip = [frames.fit(frame) for frame in itertools.islice(self._stream, self.num_frames)]
        if len(clip) < self.num_frames:
            raise BadClip(
                f"{video.path.name} is damaged (frame {start + len(clip)} of {video.num_frames} "
                "cannot be decoded)"
            )
        self._next = (video.name, stop)
        nothing = np.zeros((self.num_frames, 0), np.float32)
        return RawClip(
            {self.cameras[0]: np.stack(clip)},
            nothing if video.action is None else video.action[start:stop],
            nothing if video.position is None else video.position[start:stop],
        )

    def describe(self) -> str:
        """What was found and what is made of it."""
        good = [video for video in self._videos if not self._problem(video)]
        used = {video for members in self._members().values() for video in members}
        lengths = sorted(video.num_frames for video in good) or [0]
        sizes = sorted({video.size for video in good}) or [(0, 0)]
        named = [f"{width}x{height}" for width, height in (sizes[0], sizes[-1])]
        rest = sum(video.num_frames % self.num_frames for video in good)
        told = [
            f"{len(good)} videos of {lengths[0]} to {lengths[-1]} frames, {named[0]} to {named[1]} "
            f"pixels, cut into clips of {self.num_frames} frames, {rest} at their ends left out",
            f"{self.action_dim} action and {self.position_dim} position columns",
        ]
        if outside := [video.name for video in self._videos if video not in used]:
            told.append(f"{_some(outside)} outside of {', '.join(folders.SPLITS)} left out")
        if short := [f"{video.name} ({video.num_frames})" for video in self._short]:
            told.append(f"of fewer than {self.num_frames} frames, left out: {_some(short)}")
        if self._others:
            told.append(f"neither videos nor tables, left out: {_some(self._others)}")
        return "; ".join(told)

    def _members(self) -> dict[str, list[_Video]]:
        members: dict[str, list[_Video]] = {split: [] for split in folders.SPLITS}
        if not self._videos:
            if self._short:
                longest = max(video.num_frames for video in self._short)
                raise messages.too_short("video", longest, self._path, self.num_frames)
            raise UserError(
                f"--config.data.path={self._path}: no videos there; a video is a file "
                f"({', '.join(videos.SUFFIXES)}) or a sub-folder of numbered .png files"
            )
        if any((self._path / split).is_dir() for split in folders.SPLITS):
            for video in self._videos:
                top = video.name.split("/")[0]
                if top in members:
                    members[top].append(video)
            return {split: found for split, found in members.items() if found}
        if len(self._videos) < len(folders.SPLITS):
            raise UserError(
                f"--config.data.path={self._path}: {len(self._videos)} video(s) of "
                f"--config.data.clip_length={self.num_frames} frames or more there; three or more "
                "are needed, as no video is in two splits; cut one up, or make sub-folders train, "
                "validation and test"
            )
        chosen = folders.choose_splits([video.name for video in self._videos])
        for video in self._videos:
            members[chosen[video.name]].append(video)
        return members

    def _is_short(self, video: _Video) -> bool:
        return not video.problem and video.num_frames < self.num_frames

    def _problem(self, video: _Video) -> str:
        if video.problem:
            return video.problem
        for what, table, width in (
            ("action", video.action, self.action_dim),
            ("position", video.position, self.position_dim),
        ):
            found = 0 if table is None else table.shape[1]
            if found != width:
                return f"has {found or 'no'} {what} columns, but other videos have {width}"
        return ""


def _look_at(path: pathlib.Path, files: _Files) -> list[_Video]:
    """Every video under `path`, in natural order, with its tables."""
    places = sorted(_places(path, files), key=lambda place: folders.natural_order(place.as_posix()))
    names = collections.Counter(_beside(place, "") for place in places)
    found = []
    for place in tqdm.tqdm(places, "looking at videos", unit=" videos"):
        video = _Video(place, place.relative_to(path).as_posix())
        try:
            if names[_beside(place, "")] > 1:
                raise BadClip("shares its name, and so its tables, with another video")
            video.num_frames = videos.count(place)
            video.size = next(videos.read(place)).shape[1::-1]
            video.action, video.position = _tables(place, video.num_frames)
        except BadClip as error:
            video.problem = str(error)
        found.append(video)
    return found


def _places(path: pathlib.Path, files: _Files) -> Iterator[pathlib.Path]:
    """Video files, and folders that hold PNGs."""
    for place, names in files:
        if place != path and any(name.lower().endswith(".png") for name in names):
            yield place
        for name in names:
            if name.lower().endswith(videos.SUFFIXES):
                yield place / name


def _others(path: pathlib.Path, files: _Files, found: Sequence[_Video]) -> list[str]:
    """The files that belong to no video."""
    known = {_beside(video.path, suffix) for video in found for suffix in _TABLES}
    known |= {video.path for video in found}
    folders_of_frames = {video.path for video in found if video.path.is_dir()}
    return [
        (place / name).relative_to(path).as_posix()
        for place, names in files
        for name in names
        if place / name not in known
        and not (place in folders_of_frames and name.lower().endswith(".png"))
    ]


def _some(names: Sequence[str]) -> str:
    """How many there are, and the first of them."""
    more = ", ..." if len(names) > _NUM_NAMED else ""
    return f"{len(names)} ({', '.join(names[:_NUM_NAMED])}{more})"


def _tables(video: pathlib.Path, num_frames: int) -> list[tables.Table | None]:
    """Action and position: NAME.actions.csv and NAME.positions.csv, or both arrays in NAME.npz."""
    archive = _beside(video, ".npz")
    arrays = tables.read_npz(archive, ("action", "position")) if archive.exists() else {}
    found: list[tables.Table | None] = []
    for name in ("action", "position"):
        file = _beside(video, f".{name}s.csv")
        if file.exists() and name in arrays:
            raise BadClip(f"{file.name} and {archive.name} both have its {name}s")
        table = tables.read_csv(file) if file.exists() else arrays.get(name)
        where = file.name if file.exists() else f"{archive.name}, array {name}"
        if table is not None:
            table = tables.per_frame(table, num_frames, where, of_actions=name == "action")
        found.append(table)
    if archive.exists() and all(table is None for table in found):
        raise BadClip(f"{archive.name} has neither an array `action` nor `position`; name them so")
    return found


def _beside(video: pathlib.Path, suffix: str) -> pathlib.Path:
    """A file with the video's name and another suffix; a folder's name has none of its own."""
    name = video.name if video.is_dir() else video.stem
    return video.with_name(name + suffix)


def _common_width(given: Iterator[tables.Table | None]) -> int:
    """The most common number of columns; 0 where no video has such a table."""
    widths: Sequence[int] = [table.shape[1] for table in given if table is not None]
    return collections.Counter(widths).most_common(1)[0][0] if widths else 0
