"""Predictions without a model, which a model's figures stand beside."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32

from cvae_jax.data import pipeline
from cvae_jax.data.clip_source import ClipSource

MAX_CLIPS = 1000
"""Training clips behind `mean_change`, the split's first."""
_BATCH_SIZE = 32


def copy_last_frame(
    context: Float[Array, "clip context height width 3"], num_targets: int
) -> Float[Array, "clip target height width 3"]:
    """The last context frame, again and again."""
    return jnp.repeat(context[:, -1:], num_targets, axis=1)


def mean_motion(
    context: Float[Array, "clip context height width 3"],
    change: Float[Array, "target height width 3"],
) -> Float[Array, "clip target height width 3"]:
    """The last context frame, changed as clips of the training split change on average."""
    return jnp.clip(context[:, -1:] + change, 0.0, 1.0)


def mean_change(
    source: ClipSource, num_context: int, num_targets: int, num_threads: int = 2
) -> Float32[np.ndarray, "target height width 3"]:
    """How each pixel of a target differs from the last context frame's, on average over clips.

    Of the first MAX_CLIPS clips of `source`, a training split, from frame 0; in units of [0, 1].
    """
    num_clips = min(len(source), MAX_CLIPS)
    batches = pipeline.evaluation_batches(
        source,
        num_frames=num_context + num_targets,
        num_clips=num_clips,
        batch_size=_BATCH_SIZE,
        num_threads=num_threads,
    )
    total = np.zeros(1, np.int32)
    for batch in batches:
        video = batch.video.astype(np.int32)
        total = total + (video[:, num_context:] - video[:, num_context - 1, None]).sum(axis=0)
    return (total / (255.0 * num_clips)).astype(np.float32)
