"""Draw all frames of a clip, its predictions and their errors on one sheet that a page can crop.

A sheet is a table of cells of one size: a column for each time, and a row for the truth, each
sample, the error of each sample and, where there are several, their standard deviation.
"""

from collections.abc import Sequence

import matplotlib
import numpy as np
from jaxtyping import Float, UInt8

from cvae_jax.video import GREY, RED, Picture, Video, Videos, frame_with_border

BORDER = 2
ERROR_LIMIT = 0.5
"""Mean absolute error over channels, of frames in [0, 1], that has the brightest colour."""
STD_LIMIT = 0.1
"""Standard deviation over samples, mean over channels, that has the brightest colour."""

Heat = Float[np.ndarray, "*batch height width"]


def rows(num_samples: int) -> list[str]:
    """What the rows of a sheet show, from top to bottom."""
    numbers = range(1, num_samples + 1)
    names = [f"sample {number}" for number in numbers] if num_samples > 1 else ["prediction"]
    errors = [f"error {number}" for number in numbers] if num_samples > 1 else ["error"]
    return ["truth", *names, *errors, *["deviation"] * (num_samples > 1)]


def draw(truth: Video, samples: Videos, std: Heat, num_context_frames: int) -> Picture:
    """Draws a clip's sheet; the rows are those of `rows(len(samples))`.

    Args:
        truth: the true clip.
        samples: what the model makes of its context; each is as long as `truth` and begins with
            the context frames.
        std: `deviation` of the samples, or of more than are drawn; left out if one is drawn.
        num_context_frames: how many frames the model was given; they are framed green.
    """
    heats = [heat(error(truth, sample) / ERROR_LIMIT) for sample in samples]
    if len(samples) > 1:
        heats.append(heat(std / STD_LIMIT))
    framed = [
        *(frame_with_border(video, num_context_frames, RED, BORDER) for video in samples),
        *(frame_with_border(video, num_context_frames, GREY, BORDER) for video in heats),
    ]
    return _table([frame_with_border(truth, num_context_frames, GREY, BORDER), *framed])


def error(truth: Video, sample: Video) -> Float[np.ndarray, "time height width"]:
    """Absolute error of each pixel, mean over channels, of frames in [0, 1]."""
    return np.abs(truth.astype(np.float32) - sample).mean(axis=-1) / 255


def deviation(samples: Videos) -> Float[np.ndarray, "time height width"]:
    """Standard deviation of each pixel over samples, mean over channels, of frames in [0, 1]."""
    return samples.std(axis=0, dtype=np.float32).mean(axis=-1) / 255


def heat(values: Heat) -> UInt8[np.ndarray, "*batch height width 3"]:
    """Colours from black (0) to pale yellow (1 and more), matplotlib's inferno."""
    return matplotlib.colormaps["inferno"](values, bytes=True)[..., :3]


def _table(videos: Sequence[Video]) -> Picture:
    """Videos below each other, time from left to right."""
    return np.concatenate([np.concatenate(list(video), axis=1) for video in videos])
