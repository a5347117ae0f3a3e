"""What an interrupted evaluation has measured so far, so that the same command goes on from it."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cvae_jax.files import atomic_path, plain, read_arrays

Figures = dict[str, np.ndarray]
"""By name, with a leading axis of clips."""


class Kept:
    """The figures of the first clips, a file for each batch, in `folder`.

    A file is named after its first clip, so the batch size may change in between.
    """

    def __init__(self, folder: Path):
        """Of the evaluation that `folder` is named after; see `folder_name`."""
        self._folder = folder

    def load(self) -> list[Figures]:
        """The batches that follow one another from clip 0 on."""
        batches: list[Figures] = []
        first = 0
        while (path := self._path(first)).exists():
            try:
                batch = read_arrays(path)
            except (OSError, ValueError):
                break  # measured again, and replaced
            batches.append(batch)
            first += num_clips(batch)
        return batches

    def save(self, first: int, batch: Figures) -> None:
        """Keeps the figures of clips first, first + 1, ...

        Raises:
          UserError: the disk refuses.
        """
        with atomic_path(self._path(first)) as path:
            np.savez(path, **batch)  # type: ignore[arg-type]  # of its other keywords

    def clear(self) -> None:
        """Deletes them, once the result is written."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, first: int) -> Path:
        return self._folder / f"{first:08}.npz"


def num_clips(batch: Figures) -> int:
    """How many clips the figures of a batch are of."""
    return len(next(iter(batch.values())))


def folder_name(protocol: dict[str, Any], params: Any) -> str:
    """A name for all that decides the figures: protocol, seed and data in it, parameters, JAX."""
    digest = hashlib.sha256(json.dumps([plain(protocol), jax.__version__]).encode())
    for leaf in jax.tree.leaves(params):
        digest.update(np.asarray(leaf).tobytes())
    return f"unfinished-{digest.hexdigest()[:16]}"
