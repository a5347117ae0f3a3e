"""What both sides of a comparison work on; knows NumPy alone."""

from pathlib import Path

import numpy as np

NAMES = ("video", "action", "position")
Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Video uint8 (clip, time, 64, 64, 3), action (clip, time, _) and position (clip, time, _)."""


def random_batch(clips: int, frames: int) -> Arrays:
    """Video, action and position of noise: no network's time depends on what it sees."""
    rng = np.random.default_rng(0)
    video = rng.integers(0, 256, (clips, frames, 64, 64, 3), dtype=np.uint8)
    action, position = (rng.normal(size=(clips, frames, n)).astype(np.float32) for n in (4, 3))
    return video, action, position


def path(folder: Path, split: str, name: str) -> Path:
    """Of one of NAMES."""
    return folder / f"{split}_{name}.npy"


def load(folder: Path, split: str) -> Arrays:
    """The arrays of a split, read from the disk as they are used."""
    video, action, position = (np.load(path(folder, split, name), mmap_mode="r") for name in NAMES)
    return video, action, position
