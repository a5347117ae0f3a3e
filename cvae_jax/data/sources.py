"""The table of data sets, and the way from a name to prepared data to clips.

To add one, write a TFDS builder with BAIR's feature names (`action`, `endeffector_pos` and one
image per camera) in a file of its own and add a line to `SOURCES`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import io
import pathlib
import urllib.error
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from absl import logging
from google.protobuf import json_format

from cvae_jax.data import messages, statistics
from cvae_jax.errors import UserError

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

    from cvae_jax.data.clip import Clip
    from cvae_jax.data.clip_source import ClipSource, Records


_OWN_SPLITS = {"train": "train", "validation": "validation", "test": "test"}


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set: where its TFDS builder is, and what its clips hold."""

    builder: str
    """module:class; imported only when used, since TFDS takes its time."""
    builder_config: str | None
    cameras: tuple[str, ...]
    splits: Mapping[str, str] = dataclasses.field(default_factory=lambda: _OWN_SPLITS)
    """TFDS's expression for each of our splits."""
    num_frames: int = 30
    downloads: bool = False
    """Whether preparing it needs the network, and long enough for a progress bar."""


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
    ),
}


@runtime_checkable
class DataSettings(Protocol):
    """What is read of `config.DataConfig` here."""

    @property
    def source(self) -> str:
        """A name in `SOURCES`."""

    @property
    def dir(self) -> str:
        """The folder of all data sets."""

    @property
    def camera(self) -> str:
        """One of the source's."""


def prepare(config: DataSettings) -> None:
    """Makes the data set ready for reading; only says so if it is already.

    Raises:
        UserError: the folder cannot be written, what is there is damaged, or a download fails.
    """
    try:
        builder = _builder(config)
        folder = pathlib.Path(builder.data_path)
        if (folder / statistics.FILE_NAME).exists():
            found = statistics.load(folder)
            print(f"{config.source} is already prepared in {folder} ({_describe(found)})")
            return
        if not folder.exists():
            _download_and_prepare(config.source, builder)
        found = _compute_statistics(SOURCES[config.source], builder)
        statistics.save(found, folder)
    except ImportError as error:
        raise UserError(
            f"{config.source}: preparing it needs TensorFlow ({error}); pip install tensorflow, "
            "prepare, and remove it again if you like: training does not need it"
        ) from error
    except (OSError, RuntimeError) as error:  # TFDS's writer raises RuntimeError on a full disk.
        raise UserError(
            f"--config.data.dir={config.dir}: cannot prepare {config.source} there ({error}); "
            "choose a folder that can be written and has room with --config.data.dir"
        ) from error
    print(f"prepared {config.source} in {folder} ({_describe(found)})")


def open_split(config: DataSettings, split: str) -> ClipSource:
    """Opens a split of a prepared data set.

    Raises:
        UserError: unknown split or camera, data that is not prepared, or damaged data.
    """
    from cvae_jax.data.clip_source import ClipSource

    source = SOURCES[config.source]
    for field, value, choices in (
        ("split", split, source.splits),
        ("--config.data.camera", config.camera, source.cameras),
    ):
        if value not in choices:
            raise UserError(f"{field}={value}: {config.source} has {', '.join(choices)}")
    builder = _builder(config)
    folder = pathlib.Path(builder.data_path)
    try:
        found = statistics.load(folder)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise messages.missing(config.source, folder) from error
    try:
        records = _records(builder, source.splits[split])
        if len(records) != found.num_clips[split]:
            raise ValueError(f"{len(records)} {split} clips, not {found.num_clips[split]}")
    except (ValueError, KeyError) as error:
        raise messages.damaged(config.source, error, folder) from error
    return ClipSource(records, split=split, camera=config.camera, statistics=found, folder=folder)


def _builder(config: DataSettings) -> tfds.core.DatasetBuilder:
    source = SOURCES[config.source]
    module, name = source.builder.split(":")
    make: Any = getattr(importlib.import_module(module), name)
    try:
        return make(data_dir=config.dir, config=source.builder_config, file_format="array_record")
    except (ValueError, KeyError, json_format.Error) as error:
        folder = pathlib.Path(config.dir, make.name)
        raise messages.damaged(config.source, error, folder) from error


def _records(builder: tfds.core.DatasetBuilder, split: str) -> Records:
    import tensorflow_datasets as tfds

    raw = tfds.decode.DeserializeMethod.RAW_BYTES
    return builder.as_data_source(split, deserialize_method=raw)


def _download_and_prepare(name: str, builder: tfds.core.DatasetBuilder) -> None:
    """Lets TFDS write its files: into a temporary folder that it renames once all are there."""
    import requests
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import download_manager, util

    failures = (
        *(util.DownloadError, download_manager.NonMatchingChecksumError),
        *(requests.RequestException, urllib.error.URLError, ConnectionError, TimeoutError),
    )
    if not SOURCES[name].downloads:
        tfds.disable_progress_bar()
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare()
    except failures as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{name}: the download failed ({reason}); check the network and run the same command "
            "again"
        ) from error
    finally:
        logging.set_verbosity(verbosity)


def _compute_statistics(source: Source, builder: tfds.core.DatasetBuilder) -> statistics.Statistics:
    from cvae_jax.data.clip_source import READ_ERRORS, parse

    def clips(split: str) -> Iterator[Clip]:
        try:
            records = _records(builder, source.splits[split])
        except (ValueError, KeyError) as error:  # no such split, or none at all
            raise messages.damaged(builder.name, error, builder.data_path) from error
        for clip_id in range(len(records)):
            try:
                yield parse(records[clip_id], source.cameras, slice(1))
            except READ_ERRORS as error:
                what = f"{split} clip {clip_id}"
                raise messages.damaged(what, error, builder.data_path) from error

    return statistics.compute({split: functools.partial(clips, split) for split in source.splits})


def _describe(found: statistics.Statistics) -> str:
    counts = ", ".join(f"{count} {split}" for split, count in found.num_clips.items())
    return f"{counts} clips of {found.num_frames} frames"
