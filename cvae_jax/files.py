"""Write files so that no reader, killed run or second process ever meets half of one."""

import contextlib
import errno
import fcntl
import json
import lzma
import math
import os
import struct
import sys
import tempfile
import tokenize
import uuid
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cvae_jax.errors import UserError

_DAMAGED_ARCHIVE = (
    *(ValueError, KeyError, EOFError, RuntimeError, MemoryError, SyntaxError, OverflowError),
    *(TypeError, zipfile.BadZipFile, zlib.error, struct.error, lzma.LZMAError),
    tokenize.TokenError,
)
"""What NumPy may raise as it reads one."""
_MAX_ARRAY_BYTES = 2**28
"""Far beyond any array of ours; an archive of a few kilobytes may unpack to more than there is
memory."""


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path` that takes its place when the block ends well.

    For writers that insist on opening the file themselves. The temporary name keeps the suffix
    of `path`, since encoders choose the format by it. Missing parent folders are made. When the
    block fails, `path` is as it was and the temporary file is gone.

    Raises:
        UserError: the disk refuses (full, read-only, not a folder).
    """
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise _refusal(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


@contextlib.contextmanager
def lock(folder: Path, remedy: str) -> Iterator[None]:
    """Keeps other processes that ask for the same lock out of `folder` until the block ends.

    The kernel lets go when the process dies, however it dies, so the file `.lock` that stays
    behind means nothing by itself. A file system without locks is only warned of.

    Args:
        folder: made if it is missing.
        remedy: what a user whose command is refused may do, but for waiting.

    Raises:
        UserError: another process holds it.
        OSError: the disk refuses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"{folder}: another process is at work there; wait for its end, or {remedy}"
            ) from error
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise
            print(f"{folder}: has no locks; see that nothing else works there", file=sys.stderr)
        yield


def write_atomically(path: Path, data: bytes | str) -> None:
    """Replaces the content of `path` by `data` (text as UTF-8), all of it or nothing."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def check_writable(folder: Path) -> None:
    """Makes `folder` and tries to write in it, to fail before long work rather than after it.

    Raises:
        UserError: the disk refuses.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder, buffering=0) as probe:
            probe.write(bytes(4096))
            os.fsync(probe.fileno())
    except OSError as error:
        raise _refusal(folder, error) from error


def _refusal(path: Path, error: OSError) -> UserError:
    return UserError(
        f"{path}: cannot be written ({error.strerror or error}); free disk space, change its "
        "permissions, or choose another folder (--workdir, to evaluate or draw that of a copy of "
        "the run; --config.data.dir for data)"
    )


def plain(value: Any) -> Any:
    """Turns `value` into what JSON can say: arrays into lists, NaN and infinities into None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):  # NumPy and JAX arrays and scalars
        return plain(value.tolist())
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{value!r} of type {type(value).__name__} has no form in JSON")


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON, keys in their given order, NaN and infinities as null."""
    text = json.dumps(plain(value), indent=2, allow_nan=False, ensure_ascii=False)
    write_atomically(path, text + "\n")


def read_json(path: Path, remedy: str = "run the command that makes it") -> Any:
    """Reads a JSON file; `remedy` tells the user how to get it where it is missing or damaged.

    Raises:
        UserError: there is no such file, or it is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; {remedy}") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); {remedy}") from error
    except ValueError as error:  # not JSON, or not UTF-8
        raise UserError(f"{path}: damaged, not JSON ({error}); delete it and {remedy}") from error


def read_object(path: Path, parts: Collection[str], remedy: str) -> dict[str, Any]:
    """Reads a JSON object whose `parts` are objects too; an empty one where there is no file.

    Raises:
        UserError: it is something else; `remedy` tells how to get it.
    """
    value = read_json(path, remedy) if path.exists() else {}
    if not isinstance(value, dict):
        raise UserError(f"{path}: must be a JSON object, is {value!r:.60}; delete it and {remedy}")
    for part in parts:
        if not isinstance(value.get(part, {}), dict):
            raise UserError(
                f"{path}: {part} must be a JSON object, is {value[part]!r:.60}; "
                f"delete the file and {remedy}"
            )
    return value


def read_arrays(path: Path, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of an .npz archive by name, of `names` those that it has; never unpickles.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged, in one line of at most 100 characters.
    """
    try:
        with open(path, "rb") as file:
            if not zipfile.is_zipfile(file):
                raise ValueError("no .npz archive")
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                wanted = [name for name in archive.files if names is None or name in names]
                for entry in archive.zip.infolist():
                    read = entry.filename.removesuffix(".npy") in wanted
                    if read and entry.file_size > _MAX_ARRAY_BYTES:
                        raise ValueError(f"{entry.filename} unpacks to {entry.file_size} bytes")
                return {name: archive[name] for name in wanted}
    except _DAMAGED_ARCHIVE as error:
        raise ValueError(" ".join(str(error).split())[:100]) from error
