"""What to tell a user whose data set is missing or damaged."""

from __future__ import annotations

import os

from cvae_jax.errors import UserError


def missing(source: str, folder: str | os.PathLike[str]) -> UserError:
    """The data set was never prepared, or not to the end."""
    return UserError(
        f"{source} is not prepared in {folder}; {_prepare()}, or say where it is with "
        "--config.data.dir"
    )


def too_short(what: str, longest: int, folder: os.PathLike[str], clip_length: int) -> UserError:
    """No video or episode gives a clip."""
    return UserError(
        f"--config.data.clip_length={clip_length}: the longest {what} in {folder} has {longest} "
        "frames; set it lower"
    )


def damaged(what: str, why: Exception, folder: str | os.PathLike[str]) -> UserError:
    """A file that cannot be read as it should."""
    reason = " ".join(str(why).split())
    if "permission denied" in reason.lower():
        return UserError(f"{what} cannot be read ({reason}); make the files in {folder} readable")
    return UserError(f"{what} is damaged ({reason}); delete the folder {folder}, then {_prepare()}")


def not_random_access(source: str, folder: str | os.PathLike[str]) -> UserError:
    """TFDS prepared the data set earlier, for another program, in its default format."""
    return UserError(
        f"{source} in {folder} was prepared as tfrecord, which has no random access; delete that "
        f"folder (a download in `downloads` beside it is used again), then {_prepare()}; or choose "
        "another --config.data.dir"
    )


def _prepare() -> str:
    return "run `python main.py --mode=prepare` with the same --config and --config.data overrides"
