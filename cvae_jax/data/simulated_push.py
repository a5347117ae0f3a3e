"""`simulated_push` as a TFDS data set, with the feature names that BAIR's uses."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds
import tqdm

from cvae_jax.data import simulator
from cvae_jax.data.readers import RawClip
from cvae_jax.data.simulator import workers
from cvae_jax.data.tfds_format import serialise

IMAGE_SHAPE = (64, 64, 3)
_SEEDS_PER_SPLIT = 1_000_000


@dataclasses.dataclass(kw_only=True)
class SimulatedPushConfig(tfds.core.BuilderConfig):
    """How many clips each split holds."""

    num_clips: dict[str, int] = dataclasses.field(default_factory=dict)


def split_seeds(num_clips: dict[str, int]) -> dict[str, range]:
    """The simulator's seed of each clip of each split; no two splits share one.

    Raises:
        ValueError: a split is so large that it would reach into the next one's seeds.
    """
    seeds = {}
    for index, split in enumerate(("train", "validation", "test")):
        if num_clips[split] > _SEEDS_PER_SPLIT:
            raise ValueError(f"{split}: {num_clips[split]} clips; at most {_SEEDS_PER_SPLIT}")
        first = index * _SEEDS_PER_SPLIT
        seeds[split] = range(first, first + num_clips[split])
    return seeds


class SimulatedRecords:
    """Serialised clips as a prepared data set holds them, each simulated when it is read."""

    def __init__(self, seeds: range):
        self._seeds = seeds

    def __len__(self) -> int:
        return len(self._seeds)

    def __getitem__(self, index: int) -> bytes:
        clip = simulator.clip(self._seeds[index])
        return serialise(RawClip({"image_main": clip.video}, clip.action, clip.position))


class SimulatedPush(tfds.core.GeneratorBasedBuilder):
    """An arm that pushes objects about a bin, simulated on this machine's cores."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: ClassVar[list[SimulatedPushConfig]] = [
        SimulatedPushConfig(
            name="full",
            description="for training",
            num_clips={"train": 1500, "validation": 128, "test": 256},
        ),
        SimulatedPushConfig(
            name="tiny",
            description="for tests",
            num_clips={"train": 24, "validation": 8, "test": 8},
        ),
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        frame = {
            "image_main": tfds.features.Image(shape=IMAGE_SHAPE, encoding_format="png"),
            "action": tfds.features.Tensor(shape=(4,), dtype=np.float32),
            "endeffector_pos": tfds.features.Tensor(shape=(3,), dtype=np.float32),
        }
        return self.dataset_info_from_configs(
            features=tfds.features.Sequence(frame, length=simulator.NUM_FRAMES),
            description=self.__doc__,
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        seeds = split_seeds(self.builder_config.num_clips)
        return {split: self._generate_examples(split, seeds[split]) for split in seeds}

    def _generate_examples(self, split: str, seeds: range) -> Iterator[tuple[int, dict]]:
        simulated = workers.examples(seeds)
        yield from enumerate(tqdm.tqdm(simulated, f"simulating {split}", len(seeds), unit=" clips"))
