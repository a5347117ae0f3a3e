"""A file from the network, whole or not at all."""

from __future__ import annotations

import urllib.request
from http.client import HTTPException
from pathlib import Path

import tqdm

from cvae_jax.errors import UserError
from cvae_jax.files import atomic_path

_TIMEOUT_SECONDS = 60
_PIECE = 2**18
_FAILURES = (OSError, HTTPException)
"""What a network raises: URLError, TimeoutError and ssl.SSLError among the first."""


def fetch(url: str, path: Path) -> None:
    """Downloads `url` to `path`, unless it is there.

    Raises:
        UserError: the network, the server or the disk refuses, or the file comes shorter than the
            server said.
    """
    if path.exists():
        return
    with atomic_path(path) as temporary:
        try:
            request = urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS)
        except _FAILURES as error:
            raise _failed(url, path, error) from error
        with request as answer, open(temporary, "wb") as file:
            size = int(answer.headers["Content-Length"] or 0) or None
            bar = tqdm.tqdm(total=size, desc=f"fetching {path.name}", unit="B", unit_scale=True)
            while piece := _read(answer, url, path):
                file.write(piece)
                bar.update(len(piece))
            bar.close()
            if size not in (None, bar.n):
                raise _failed(url, path, f"{bar.n} of {size} bytes came")


def _read(answer, url, path) -> bytes:
    try:
        return answer.read(_PIECE)
    except _FAILURES as error:
        raise _failed(url, path, error) from error


def _failed(url: str, path: Path, why: object) -> UserError:
    reason = " ".join(str(why).split())
    return UserError(
        f"{url}: cannot be fetched ({reason}); run the same command again, or fetch it yourself "
        f"to {path}"
    )
