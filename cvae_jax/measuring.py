"""Measures predictions from the context and the prior on every device, a few clips at a time.

A pass is a fixed number of clips and samples on one device, whatever the batch size and the
number of devices, and a clip always shares its pass with the same others; so neither changes a
bit of a figure. Predicted frames never leave the device.
"""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from cvae_jax import metric_weights, parallel, passes, rollout
from cvae_jax.config import Config
from cvae_jax.data import pipeline
from cvae_jax.data.clip_source import ClipSource
from cvae_jax.data.pipeline import Batch
from cvae_jax.kept import Figures, Kept, num_clips
from cvae_jax.logs import Progress

MAX_SAMPLES_PER_PASS = 25
MAX_CLIPS_PER_PASS = 8
"""Sizes of a pass: several clips of one sample, or one clip of many."""
MAX_FRAMES_PER_PASS = 700
"""Frames are decoded all at once, so that they bound a pass's memory; 25 samples of 28 fit."""


class PassSize(NamedTuple):
    """How much one device does at once."""

    clips: int
    samples: int


def pass_size(num_samples: int, num_targets: int) -> PassSize:
    """Of predictions of num_targets frames. Depends on no more than a protocol says."""
    most = max(1, MAX_FRAMES_PER_PASS // num_targets)
    num_passes = -(-num_samples // min(MAX_SAMPLES_PER_PASS, most))
    samples = -(-num_samples // num_passes)
    return PassSize(max(1, min(MAX_CLIPS_PER_PASS, most) // samples), samples)


class Measurement:
    """Figures of the first clips of a source, for `summary`; compiled once, at the first use.

    Scores are (clip, sample, target): those of the model and of copying the last frame and, if
    `thorough`, of the other baseline (by its `change`), of the model under other actions, and
    what the posterior knows.
    """

    def __init__(
        self,
        config: Config,
        source: ClipSource,
        change: Float[np.ndarray, "target height width 3"] | None = None,
        *,
        thorough: bool = True,
    ):
        """Of what `config.eval` says, under the protocol that it names; see the class."""
        evaluation = self.evaluation = config.eval
        self.source = source
        self._num_threads = config.data.num_threads
        self._change = change
        self._networks = passes.Networks(
            None,
            lpips=metric_weights.load(evaluation, "lpips"),
            fvd=metric_weights.load(evaluation, "fvd"),
        )
        features = passes.make_features(config)
        self._features = parallel.pmap_sharded(features) if self._networks.fvd else None
        self._size = pass_size(evaluation.num_samples, evaluation.num_predicted_frames)
        self._group = parallel.round_up(1) * self._size.clips  # clips at once on all devices
        score = passes.make_score(config, self._size.samples)
        self._score = parallel.pmap_sharded(score)
        self._thorough = thorough
        self._describe = parallel.pmap_sharded(passes.make_describe(config, thorough))
        self._starts = range(0, evaluation.num_samples, self._size.samples)
        shape = evaluation.num_predicted_frames, *source.statistics.frame_size, 3
        several = evaluation.num_samples > 1
        none = passes.no_samples(self._group, shape) if several else None
        self._no_samples = parallel.shard(none)

    def measure(self, params: rollout.Params, kept: Kept | None = None) -> Figures:
        """The figures of all clips; what `kept` holds is not measured again, the rest added."""
        networks = parallel.replicate(self._networks._replace(model=params))
        parts = kept.load() if kept else []
        first, total = sum(map(num_clips, parts)), self.evaluation.num_clips
        steps = len(self._starts) + 1  # for each group of clips
        num_targets = self.evaluation.num_predicted_frames
        with Progress(
            -(-total // self._group) * steps,
            first // self._group * steps,
            description=self.evaluation.split,
            frames_per_step=self._group * self._size.samples * num_targets,
        ) as bar:
            for batch in self._batches(first):
                parts.append(self._measure_batch(networks, batch, bar))
                if kept:
                    kept.save(first, parts[-1])
                first += len(batch.video)
        return _concatenate(parts)

    def _batches(self, first: int) -> Iterator[Batch]:
        evaluation = self.evaluation
        size = -(-evaluation.batch_size // self._group) * self._group
        if first == evaluation.num_clips:
            return iter(())
        return pipeline.evaluation_batches(
            self.source,
            num_frames=evaluation.num_context_frames + evaluation.num_predicted_frames,
            num_clips=evaluation.num_clips,
            batch_size=size,
            first_clip=first,
            num_threads=self._num_threads,
        )

    def _measure_batch(self, networks, batch, bar):
        """Sends all groups of clips to the devices before it waits for the first one's figures."""
        swapped = self._other_actions(batch) if self._thorough else {}
        waiting = []
        for start in range(0, len(batch.video), self._group):
            rows = np.minimum(np.arange(start, start + self._group), len(batch.video) - 1)
            clips, others = parallel.shard(jax.tree.map(lambda x: x[rows], (batch, swapped)))  # noqa: B023
            found = [self._describe(networks, (clips, others), self._change)]
            if self._features:
                found[0] = found[0] | self._features(networks, clips, None)
            spread = self._no_samples
            for sample in self._starts:
                scores, spread = self._score(networks, (clips, spread), np.int32(sample))
                found.append(scores)
            waiting.append(found)
        groups = []
        for found in waiting:
            parts = []
            for part in found:
                parts.append(parallel.unshard(part))
                bar.advance()
            groups.append(self._join(parts))
        return {name: x[: len(batch.video)] for name, x in _concatenate(groups).items()}

    def _join(self, parts):
        """What was found of clips and, pass by pass, of their samples."""
        figures, *scores = parts
        for name, last in scores[-1].items():
            if name == "spread":  # over all samples so far
                figures[name] = last
                continue
            samples = np.concatenate([part[name] for part in scores], axis=1)
            figures[name] = samples[:, : self.evaluation.num_samples]
        return figures

    def _other_actions(self, batch: Batch) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Actions and positions in place of the clips' own: the next clip's, and a still arm's."""
        num_frames, num_context = batch.video.shape[1], self.evaluation.num_context_frames
        following = (int(batch.clip_id[-1]) + 1) % self.evaluation.num_clips
        after = pipeline.read_clips(self.source, [following], num_frames=num_frames)
        shuffled = (
            np.concatenate([batch.action[1:], after.action]),
            np.concatenate([batch.position[1:], after.position]),
        )
        action, position = batch.action.copy(), batch.position.copy()
        scale = self.source.scale
        action[:, num_context - 1 :] = -scale.action_mean / scale.action_std  # none, normalised
        position[:, num_context:] = position[:, num_context - 1, None]
        return {"shuffled_actions": shuffled, "zeroed_actions": (action, position)}


def _concatenate(parts: list[Figures]) -> Figures:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
