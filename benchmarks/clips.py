"""What both sides of a comparison work on; knows NumPy alone."""

import numpy as np


def random_batch(clips: int, frames: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Video uint8, action and position of noise: no network's time depends on what it sees."""
    rng = np.random.default_rng(0)
    video = rng.integers(0, 256, (clips, frames, 64, 64, 3), dtype=np.uint8)
    action, position = (rng.normal(size=(clips, frames, n)).astype(np.float32) for n in (4, 3))
    return video, action, position
