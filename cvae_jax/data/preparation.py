"""`--mode=prepare`: from a name, or from what a user already has, to a prepared data set."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
import os
import pathlib
import urllib.error
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from absl import logging

from cvae_jax import stopping
from cvae_jax.data import messages, sources, statistics
from cvae_jax.data.readers import DataSettings
from cvae_jax.errors import UserError
from cvae_jax.files import lock, read_json

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

    from cvae_jax.data.clip import Clip


INSTALL_TENSORFLOW = "pip install 'tensorflow>=2.20,<3'"
"""What TFDS needs to prepare a data set itself, in a release that knows every Python we run on."""


def prepare(config: DataSettings) -> None:
    """Makes the data set ready for reading; only says so if it is already.

    Raises:
        UserError: the folder cannot be written, what is there is damaged or made from something
            else, the input is no good, or a download fails.
    """
    source = sources.SOURCES[config.source]
    if config.path and source.reader is None:
        raise UserError(
            f"--config.data.path={config.path}: {config.source} is made without; leave it out"
        )
    try:
        folder = sources.folder_of(config)
        if _is_prepared(config, folder):
            return
        with lock(pathlib.Path(config.dir), "choose another --config.data.dir"):
            if _is_prepared(config, folder):  # by the process that held it
                return
            if not folder.exists():
                if source.reader and (config.path or not source.builder):
                    convert(config)
                else:
                    _download_and_prepare(config.source, sources.builder_of(config))
            found = _compute_statistics(source, sources.builder_of(config))
            statistics.save(found, folder)
    except ImportError as error:
        raise _needs_tensorflow(config.source, error) from error
    except (OSError, RuntimeError) as error:  # TFDS's writer raises RuntimeError on a full disk.
        raise UserError(
            f"--config.data.dir={config.dir}: cannot prepare {config.source} there ({error}); "
            "choose a folder that can be written and has room with --config.data.dir"
        ) from error
    print(f"prepared {config.source} in {folder} ({_describe(found)})")
    if found.num_clips.get("test") == 1:
        print(f"an evaluation of test needs two clips: add some, delete {folder}, prepare again")


def _is_prepared(config: DataSettings, folder: pathlib.Path) -> bool:
    _check_origin(config, folder)
    if not (folder / statistics.FILE_NAME).exists():
        return False
    found = statistics.load(folder)
    print(f"{config.source} is already prepared in {folder} ({_describe(found)})")
    if config.path:
        print(f"what has changed since in {config.path} is not there; delete {folder} to renew it")
    return True


def _needs_tensorflow(name: str, why: object) -> UserError:
    own = ", or name what you have in --config.data.path" if sources.SOURCES[name].reader else ""
    return UserError(
        f"{name}: to prepare it TFDS needs TensorFlow ({why}); {INSTALL_TENSORFLOW}, prepare, and "
        f"remove it again if you like: training does not need it{own}"
    )


def _made_from(config: DataSettings) -> dict[str, Any]:
    """What a conversion is made from, as far as the user chooses it."""
    made_from: dict[str, Any] = {"path": os.path.realpath(config.path) if config.path else ""}
    if sources.SOURCES[config.source].num_frames is None:
        made_from["clip_length"] = config.clip_length
    return made_from


def _check_origin(config: DataSettings, folder: pathlib.Path) -> None:
    """Raises UserError if the data set that is there was made from something else.

    Or, under `strict`, without its bad clips.
    """
    from cvae_jax.data import conversion

    note = folder / conversion.PROGRESS_FILE
    if not config.path or not note.exists():
        return
    noted = read_json(note, f"delete the folder {folder}")
    had = noted.get("made_from", {})
    for field, asked in _made_from(config).items():
        if asked != had.get(field):
            raise UserError(
                f"--config.data.{field}={asked}: {folder} was made with {had.get(field)!r}; delete "
                "that folder or choose another --config.data.dir"
            )
    left_out = sum(len(shard["bad"]) for shard in noted.get("shards", {}).values())
    if config.strict and left_out:
        raise UserError(
            f"--config.data.strict=True: {folder} was made without {left_out} bad clips; repair "
            "them, delete that folder and prepare again"
        )


def convert(config: DataSettings) -> None:
    """Converts what `config.path` names, for a source that has a reader; without statistics."""
    from cvae_jax.data import conversion

    source = sources.SOURCES[config.source]
    assert source.reader
    conversion.convert(
        sources.load(source.reader)(config),
        sources.folder_of(config),
        name=config.source,
        made_from=_made_from(config),
        strict=config.strict,
    )


def _download_and_prepare(name: str, builder: tfds.core.DatasetBuilder) -> None:
    """Lets TFDS write its files: into a temporary folder that it renames once all are there."""
    import requests
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import download_manager, util

    if sources.SOURCES[name].downloads and importlib.util.find_spec("tensorflow") is None:
        raise _needs_tensorflow(name, "which is not installed")  # or it fails after the download
    folder = pathlib.Path(builder.data_path)
    for left in sorted(folder.parent.glob(f"incomplete.??????_{folder.name}")):
        print(
            f"{left}: a call that was killed left it, unless another program is at work there; "
            "delete it to free its room"
        )
    failures = (
        util.DownloadError,
        *(requests.RequestException, urllib.error.URLError, ConnectionError, TimeoutError),
    )
    if not sources.SOURCES[name].downloads:
        tfds.disable_progress_bar()
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), stopping.by_exception():
            builder.download_and_prepare()
    except download_manager.NonMatchingChecksumError as error:
        reason = " ".join(str(error).partition("To debug")[0].split())
        raise UserError(
            f"{name}: {reason}; delete that file, or put the right one there"
        ) from error
    except failures as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{name}: the download failed ({reason}); check the network and run the same command "
            "again"
        ) from error
    finally:
        logging.set_verbosity(verbosity)


def _compute_statistics(
    source: sources.Source, builder: tfds.core.DatasetBuilder
) -> statistics.Statistics:
    from cvae_jax.data.clip_source import READ_ERRORS, parse

    def clips(split: str) -> Iterator[Clip]:
        try:
            records = sources.records_of(builder, source.splits[split])
        except (ValueError, KeyError) as error:  # no such split, or none at all
            if source.reader:
                raise UserError(
                    f"{builder.data_path}: too few clips for {split} = {source.splits[split]} "
                    f"({error}); delete that folder and prepare more clips"
                ) from error
            raise messages.damaged(builder.name, error, builder.data_path) from error
        for clip_id in range(len(records)):
            try:
                yield parse(records[clip_id], source.cameras, slice(1))
            except READ_ERRORS as error:
                what = f"{split} clip {clip_id}"
                raise messages.damaged(what, error, builder.data_path) from error

    there = [
        split
        for split, expression in source.splits.items()
        if source.reader is None or expression.partition("[")[0] in builder.info.splits
    ]
    return statistics.compute({split: functools.partial(clips, split) for split in there})


def _describe(found: statistics.Statistics) -> str:
    counts = ", ".join(f"{count} {split}" for split, count in found.num_clips.items())
    return f"{counts} clips of {found.num_frames} frames"
