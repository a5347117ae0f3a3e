"""Folders that a user names, in an order that is the same on every machine, and their files."""

from __future__ import annotations

import hashlib
import os
import pathlib
import re
from collections.abc import Iterator, Sequence

from cvae_jax.data.readers import BadClip
from cvae_jax.errors import UserError

SPLITS = ("train", "validation", "test")


def top(path: str) -> pathlib.Path:
    """The folder that `config.data.path` names.

    Raises:
        UserError: it names none.
    """
    if not path:
        raise UserError("--config.data.path: is missing; name the folder that holds your clips")
    if not os.path.isdir(path):
        raise UserError(f"--config.data.path={path}: no such folder; name the one of your clips")
    return pathlib.Path(path)


def walk(folder: pathlib.Path) -> Iterator[tuple[pathlib.Path, list[str]]]:
    """The folder and all below it, each once though links may lead in a circle, and their files.

    Names that begin with a dot are left out; the others come in natural order.

    Raises:
        UserError: a folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise UserError(
            f"--config.data.path={folder}: {error.filename} cannot be read ({error.strerror}); "
            "make it readable, or name another folder"
        ) from error

    seen = set()
    for place, names, files in os.walk(folder, onerror=refuse, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            names.clear()
            continue
        seen.add(real)
        names[:] = sorted((name for name in names if name[0] != "."), key=natural_order)
        yield (
            pathlib.Path(place),
            sorted((name for name in files if name[0] != "."), key=natural_order),
        )


def content(path: pathlib.Path) -> bytes:
    """What a file of a clip holds.

    Raises:
        BadClip: there is no such file, or it cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise BadClip(f"{path.name} is missing") from error
    except OSError as error:
        raise BadClip(f"{path.name} cannot be read ({error.strerror})") from error


def natural_order(name: str) -> tuple[list[str | int], str]:
    """A key that sorts traj_2 before traj_10, and is the same for no two names."""
    parts: list[str | int] = [*re.split(r"([0-9]+)", name)]
    parts[1::2] = map(int, parts[1::2])
    return parts, name


def choose_splits(names: Sequence[str]) -> dict[str, str]:
    """A split for each name: by a hash, a tenth (at least one) to test, another to validation."""
    ranked = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    tenth = max(1, len(ranked) // 10)
    chosen = dict.fromkeys(ranked, "train") | dict.fromkeys(ranked[:tenth], "test")
    return chosen | dict.fromkeys(ranked[tenth : 2 * tenth], "validation")
