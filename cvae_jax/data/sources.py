"""The table of data sets, and the way from a name to the clips of a prepared one.

To add one, write a TFDS builder with BAIR's feature names (`action`, `endeffector_pos` and one
image per camera), or a reader (readers.py), in a file of its own and add a line to `SOURCES`.
"""

from __future__ import annotations

import dataclasses
import importlib
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format

from cvae_jax.data import messages, statistics
from cvae_jax.data.readers import DataSettings
from cvae_jax.data.statistics import Statistics
from cvae_jax.errors import UserError

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

    from cvae_jax.data.clip_source import ClipSource, Records


_OWN_SPLITS = {"train": "train", "validation": "validation", "test": "test"}


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set: how it is prepared, by TFDS or by conversion, and what its clips hold."""

    builder: str | None
    """module:class of a TFDS builder; imported only when used, since TFDS takes its time."""
    builder_config: str | None
    cameras: tuple[str, ...]
    splits: Mapping[str, str] = dataclasses.field(default_factory=lambda: _OWN_SPLITS)
    """TFDS's expression for each of our splits."""
    num_frames: int | None = 30
    """Frames of a clip; None: as config.data.clip_length says."""
    downloads: bool = False
    """Whether TFDS's preparation needs the network and TensorFlow."""
    reader: str | None = None
    """module:function from the config's data section to a `readers.ClipReader`. With a builder
    too, it is used when config.data.path is set."""


SOURCES = {
    "simulated_push": Source("cvae_jax.data.simulated_push:SimulatedPush", "full", ("image_main",)),
    "simulated_push_tiny": Source(
        "cvae_jax.data.simulated_push:SimulatedPush", "tiny", ("image_main",)
    ),
    "bair_robot_pushing_small": Source(
        "tensorflow_datasets.datasets.bair_robot_pushing_small."
        "bair_robot_pushing_small_dataset_builder:Builder",
        None,
        ("image_main", "image_aux1"),
        {"train": "train[256:]", "validation": "train[:256]", "test": "test"},
        downloads=True,
        reader="cvae_jax.data.bair:open_archive",
    ),
    "bair_test_256": Source(
        None,
        None,
        ("image_main", "image_aux1"),
        {"test": "test"},
        reader="cvae_jax.data.bair:open_test_file",
    ),
    "lab": Source(None, None, ("image_aux1",), reader="cvae_jax.data.lab:open_reader"),
    "folder": Source(
        *(None, None, ("image_main",)), num_frames=None, reader="cvae_jax.data.folder:open_reader"
    ),
    "robonet": Source(
        *(None, None, ("image_main",)), num_frames=None, reader="cvae_jax.data.robonet:open_reader"
    ),
}


def load(reference: str) -> Any:
    """What `module:name` stands for."""
    module, name = reference.split(":")
    return getattr(importlib.import_module(module), name)


def open_split(config: DataSettings, split: str) -> ClipSource:
    """Opens a split of a prepared data set.

    Raises:
        UserError: unknown split or camera, data that is not prepared, of another clip length than
            the config's, or damaged.
    """
    from cvae_jax.data.clip_source import ClipSource

    source = SOURCES[config.source]
    if split not in source.splits:
        raise UserError(
            f"split={split}: {config.source} has {', '.join(source.splits)} alone; choose one, or "
            "another --config.data.source for a mode that needs others (train: train, validation)"
        )
    if config.camera not in source.cameras:
        raise UserError(
            f"--config.data.camera={config.camera}: {config.source} has {', '.join(source.cameras)}"
        )
    folder = folder_of(config)
    try:
        found = statistics.load(folder)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise messages.missing(config.source, folder) from error
    if source.num_frames is None and config.clip_length != found.num_frames:
        raise UserError(
            f"--config.data.clip_length={config.clip_length}: the clips in {folder} have "
            f"{found.num_frames} frames; set --config.data.clip_length={found.num_frames}, or "
            "prepare others in another --config.data.dir"
        )
    if not found.num_clips.get(split):
        there = ", ".join(name for name, count in found.num_clips.items() if count)
        raise UserError(
            f"{config.source} in {folder} has no {split} clips, only {there}; add "
            "some to what it was made from, delete that folder and prepare again"
        )
    try:
        records = records_of(builder_of(config), source.splits[split])
        if len(records) != found.num_clips[split]:
            raise ValueError(f"{len(records)} {split} clips, not {found.num_clips[split]}")
    except (ValueError, KeyError) as error:
        raise messages.damaged(config.source, error, folder) from error
    return ClipSource(records, split=split, camera=config.camera, statistics=found, folder=folder)


def open_simulated(config: DataSettings, split: str, statistics: Statistics) -> ClipSource:
    """A split of simulated clips without a prepared data set: each is made when it is read.

    Args:
        config: of a data set of the simulator.
        split: one of its splits.
        statistics: of the same data set, prepared elsewhere.
    """
    from cvae_jax.data import simulated_push
    from cvae_jax.data.clip_source import ClipSource

    name = SOURCES[config.source].builder_config
    (chosen,) = [c for c in simulated_push.SimulatedPush.BUILDER_CONFIGS if c.name == name]
    seeds = simulated_push.split_seeds(chosen.num_clips)[split]
    alone = dataclasses.replace(statistics, num_clips={})  # none of them is prepared
    return ClipSource(
        simulated_push.SimulatedRecords(seeds),
        split=split,
        camera=config.camera,
        statistics=alone,
        folder=folder_of(config),
    )


def folder_of(config: DataSettings) -> pathlib.Path:
    """Where the prepared data set is, or will be."""
    source = SOURCES[config.source]
    if source.builder is None:
        return pathlib.Path(config.dir, config.source, "1.0.0")
    return pathlib.Path(builder_of(config).data_path)


def builder_of(config: DataSettings) -> tfds.core.DatasetBuilder:
    """TFDS's builder; of a converted data set, one that only reads.

    Raises:
        UserError: what is in the data set's folder is damaged.
    """
    import tensorflow_datasets as tfds

    source = SOURCES[config.source]
    name = config.source
    try:
        if source.builder is None:
            return tfds.builder_from_directory(folder_of(config))
        make: Any = load(source.builder)
        name = make.name
        return make(data_dir=config.dir, config=source.builder_config, file_format="array_record")
    except (ValueError, KeyError, json_format.Error) as error:
        folder = pathlib.Path(config.dir, name)
        if any(folder.rglob("*.tfrecord-*")):
            raise messages.not_random_access(config.source, folder) from error
        raise messages.damaged(config.source, error, folder) from error


def records_of(builder: tfds.core.DatasetBuilder, split: str) -> Records:
    """The serialised clips of a split, by TFDS's expression for it."""
    import tensorflow_datasets as tfds

    raw = tfds.decode.DeserializeMethod.RAW_BYTES
    return builder.as_data_source(split, deserialize_method=raw)
