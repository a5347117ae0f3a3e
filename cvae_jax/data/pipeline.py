"""From clips to batches: shuffle, crop in time, shard, batch, prefetch; resume at any step."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import grain
import numpy as np
from jaxtyping import Float32, Int32, UInt8

from cvae_jax.data.clip_source import ClipSource
from cvae_jax.errors import UserError

_PREFETCHED_BATCHES = 4


class Batch(NamedTuple):
    """Windows of clips. Action and position have mean 0 and deviation 1 over `source.scale`."""

    video: UInt8[np.ndarray, "batch time height width 3"]
    action: Float32[np.ndarray, "batch time action_dim"]
    position: Float32[np.ndarray, "batch time position_dim"]
    clip_id: Int32[np.ndarray, "batch"]


class Timed:
    """Batches as they come, and how long was waited for them."""

    def __init__(self, batches: Iterator[Batch]):
        """Nothing has been waited for yet."""
        self._batches, self._waited = batches, 0.0

    def __iter__(self) -> Timed:
        return self

    def __next__(self) -> Batch:
        start = time.monotonic()
        try:
            return next(self._batches)
        finally:
            self._waited += time.monotonic() - start

    def take_waited(self) -> float:
        """Seconds since the last call."""
        waited, self._waited = self._waited, 0.0
        return waited


def train_batches(
    source: ClipSource,
    *,
    num_frames: int,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    num_threads: int = 2,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[Batch]:
    """Endless batches; the one of a step is a pure function of (seed, step).

    Every epoch has another order and another window of each clip, and batches cross from one
    epoch into the next. Of the whole batch, process p of n gets the p-th of n equal parts.

    Args:
        source: the clips.
        num_frames: length of the windows.
        batch_size: examples per step over all processes; a multiple of process_count.
        seed: decides order and windows.
        start_step: the step of the first batch; starting late costs nothing.
        num_threads: threads that read and decode.
        process_index: which process this is.
        process_count: how many share the batch.

    Raises:
        UserError: windows longer than the clips, or a batch that cannot be shared evenly.
    """
    _check_window(source, num_frames)
    if batch_size % process_count:
        raise UserError(
            f"batch_size={batch_size} cannot be shared evenly by {process_count} processes"
        )
    num_starts = source.statistics.num_frames - num_frames + 1

    def read_window(clip_id: int, rng: np.random.Generator) -> Batch:
        return _example(source, clip_id, int(rng.integers(num_starts)), num_frames)

    batches = (
        grain.MapDataset.range(len(source))
        .seed(seed)
        .shuffle()
        .repeat()
        .random_map(read_window)
        .batch(batch_size // process_count, drop_remainder=True, batch_fn=_stack)
        .slice(slice(process_index, None, process_count))
        .slice(slice(start_step, None))
    )
    return iter(batches.to_iter_dataset(_reading(num_threads)))


def evaluation_batches(
    source: ClipSource,
    *,
    num_frames: int,
    num_clips: int,
    batch_size: int,
    first_clip: int = 0,
    num_threads: int = 2,
) -> Iterator[Batch]:
    """The first frames of clips first_clip .. num_clips - 1; the last batch may be smaller.

    Raises:
        UserError: the split has fewer clips, or its clips fewer frames.
    """
    _check_window(source, num_frames)
    if num_clips > len(source):
        raise UserError(
            f"{num_clips} clips asked for, but {source.split} holds {len(source)}; "
            "lower the number or choose another split"
        )

    def read_start(clip_id: int) -> Batch:
        return _example(source, clip_id, 0, num_frames)

    clips = grain.MapDataset.range(first_clip, num_clips).map(read_start)
    batches = clips.batch(batch_size, drop_remainder=False, batch_fn=_stack)
    return iter(batches.to_iter_dataset(_reading(num_threads)))


def read_clips(source: ClipSource, clip_ids: Sequence[int], *, num_frames: int) -> Batch:
    """The first frames of chosen clips, as one batch in the order of `clip_ids`."""
    _check_window(source, num_frames)
    return _stack([_example(source, clip_id, 0, num_frames) for clip_id in clip_ids])


def _reading(num_threads: int) -> grain.ReadOptions:
    """A thread makes a whole batch, so that threads beyond the buffer's size would stand idle."""
    return grain.ReadOptions(num_threads, max(_PREFETCHED_BATCHES, num_threads))


def _check_window(source: ClipSource, num_frames: int) -> None:
    length = source.statistics.num_frames
    if num_frames > length:
        raise UserError(
            f"{num_frames} frames (context and predicted) asked for, but clips have {length}; "
            "lower num_context_frames or num_predicted_frames"
        )


def _example(source: ClipSource, clip_id: int, start: int, num_frames: int) -> Batch:
    video, action, position = source.read(clip_id, start, num_frames)
    return Batch(video, *source.scale.normalised(action, position), np.array(clip_id, np.int32))


def _stack(examples: Sequence[Batch]) -> Batch:
    return Batch(*(np.stack(field) for field in zip(*examples, strict=True)))
