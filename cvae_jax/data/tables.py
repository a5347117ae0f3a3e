"""Tables of numbers, a row for each frame, from CSV and NPZ files."""

from __future__ import annotations

import math
import pathlib

import numpy as np
from jaxtyping import Float32

from cvae_jax.data import folders
from cvae_jax.data.readers import BadClip
from cvae_jax.files import read_arrays

Table = Float32[np.ndarray, "rows columns"]


def read_csv(path: pathlib.Path) -> Table:
    """Numbers between commas; a first line without any number is a heading.

    So may be the columns' numbers, from 0 on, which are refused where there are three or more.

    Raises:
        BadClip: it cannot be read, is empty, has rows of unequal length, what is no number, or
            the numbers of the columns for a heading.
    """
    try:
        text = folders.content(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadClip(f"{path.name} is no text ({error.reason})") from error
    lines = [(i + 1, line.split(",")) for i, line in enumerate(text.split("\n")) if line.strip()]
    named = bool(lines) and not any(_is_number(cell) for cell in lines[0][1])
    lines = lines[1:] if named else lines
    if not lines:
        raise BadClip(f"{path.name} has no rows of numbers")
    width = len(lines[0][1])
    first = [cell.strip() for cell in lines[0][1]]
    if not named and width > 2 and first == [str(column) for column in range(width)]:
        raise BadClip(
            f"{path.name}, line {lines[0][0]}: {','.join(first)} are numbers of "
            "columns; leave that heading out, or write 0.0 for 0 if they are values"
        )
    rows = []
    for number, cells in lines:
        where = f"{path.name}, line {number}"
        if len(cells) != width:
            raise BadClip(f"{where}: {len(cells)} columns, but {width} above")
        for cell in cells:
            if not _is_number(cell):
                raise BadClip(f"{where}: {cell.strip()[:20]!r} is no number")
        rows.append([float(cell) for cell in cells])
    return _finite(np.array(rows), path.name)


def read_npz(path: pathlib.Path, names: tuple[str, ...]) -> dict[str, Table]:
    """The named arrays that the archive has, each (rows, columns) or (rows,); never pickles.

    Raises:
        BadClip: it is damaged, or an array is none of numbers.
    """
    try:
        arrays = read_arrays(path, names)
    except (OSError, ValueError) as error:
        raise BadClip(f"{path.name} is not a whole .npz of numbers ({error})") from error
    for name, array in arrays.items():
        where = f"{path.name}, array {name}"
        if array.dtype.kind not in "fiub" or array.ndim not in (1, 2):
            raise BadClip(f"{where}: shape {array.shape} of {array.dtype}; must be rows of numbers")
        arrays[name] = _finite(array.reshape(len(array), math.prod(array.shape[1:])), where)
    return arrays


def per_frame(
    table: Float32[np.ndarray, "_ columns"], num_frames: int, what: str, *, of_actions: bool
) -> Float32[np.ndarray, "{num_frames} columns"]:
    """The table with one row for each frame.

    Of actions the last row may be left out, since nothing follows it; the one before is repeated.

    Raises:
        BadClip: another number of rows.
    """
    if of_actions and len(table) == num_frames - 1 and len(table):
        return np.concatenate([table, table[-1:]])
    if len(table) != num_frames:
        raise BadClip(f"{what}: {len(table)} rows, but there are {num_frames} frames")
    return table


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _finite(array: np.ndarray, where: str) -> Table:
    with np.errstate(over="ignore"):
        table = array.astype(np.float32)
    if not np.isfinite(table).all():
        row, column = np.argwhere(~np.isfinite(table))[0]
        value = array[row, column]
        raise BadClip(
            f"{where}: row {row + 1}, column {column + 1} is {value}, not a finite number"
        )
    return table
