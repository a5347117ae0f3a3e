"""The lab's folders: {train,validate,test}/traj_*/N/{0..29}.png with two CSV files."""

from __future__ import annotations

import pathlib

import numpy as np

from cvae_jax.data import folders, frames, tables
from cvae_jax.data.readers import BadClip, ClipRef, DataSettings, RawClip
from cvae_jax.errors import UserError

SPLITS = {"train": "train", "validate": "validation", "test": "test"}
ACTIONS, POSITIONS = ("actions.csv", 4), ("endeffector_positions.csv", 3)


def open_reader(config: DataSettings) -> LabReader:
    """The reader of the folder `config.data.path`."""
    return LabReader(folders.top(config.path))


class LabReader:
    """Clips of 30 frames at 64x64, one folder each, at any depth under `path`."""

    cameras = ("image_aux1",)
    num_frames = 30
    frame_size = (frames.FRAME_SIZE, frames.FRAME_SIZE)
    action_dim, position_dim = ACTIONS[1], POSITIONS[1]

    def __init__(self, path: pathlib.Path):
        self._path = path

    def splits(self) -> dict[str, list[ClipRef]]:
        """The clips of each split that there is, traj_2 before traj_10; says how many have none.

        Raises:
            UserError: no clips, or a folder that cannot be read.
        """
        outside = 0
        found: dict[str, list[ClipRef]] = {}
        first: dict[tuple[str, ...], str] = {}
        for folder, _ in folders.walk(self._path):
            parts = folder.relative_to(self._path).parts
            if len(parts) < 2 or not parts[-2].startswith("traj_") or not parts[-1].isdecimal():
                continue
            split = next((part for part in parts[-3::-1] if part in SPLITS), None)
            if split is None:
                outside += 1
                continue
            name = "/".join(parts)
            twin = first.setdefault((split, *parts[-2:]), name)
            found.setdefault(SPLITS[split], []).append(ClipRef(name, (folder, twin), (folder,)))
        if not found:
            raise UserError(
                f"--config.data.path={self._path}: no clips there; the lab's layout is "
                "train/traj_0/0/0.png, also validate and test; for other videos set "
                "--config.data.source=folder"
            )
        if outside:
            print(f"{outside} clips outside of {', '.join(SPLITS)} are left out")
        return {split: found[split] for split in SPLITS.values() if split in found}

    def read(self, ref: ClipRef) -> RawClip:
        """Reads one clip's folder.

        Raises:
            BadClip: a file is missing, damaged or of another size, or the id is another clip's too.
        """
        folder, twin = ref.key
        if twin != ref.name:
            raise BadClip(f"has the same id as {twin}")
        video = []
        for time in range(self.num_frames):
            video.append(frames.read_png(folder / f"{time}.png"))
            height, width = video[-1].shape[:2]
            if (height, width) != self.frame_size:  # before 30 huge ones fill the memory
                raise BadClip(f"{time}.png is {width}x{height}, not 64x64")
        if (folder / f"{self.num_frames}.png").exists():
            raise BadClip(f"has more than {self.num_frames} frames")
        rows = [self._table(folder, *table) for table in (ACTIONS, POSITIONS)]
        return RawClip({self.cameras[0]: np.stack(video)}, *rows)

    def describe(self) -> str:
        """What decides the content, beside the files."""
        return "the lab's folders, in clips of 30 frames, 64x64"

    def _table(self, folder: pathlib.Path, name: str, columns: int) -> tables.Table:
        table = tables.read_csv(folder / name)
        if table.shape != (self.num_frames, columns):
            rows, found = table.shape
            raise BadClip(
                f"{name}: {rows} rows of {found} columns, not {self.num_frames} of {columns}"
            )
        return table
