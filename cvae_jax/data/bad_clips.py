"""Clips that cannot be used: counted, named, and refused when they are too many."""

from __future__ import annotations

import pathlib
import sys

import tqdm

from cvae_jax.errors import UserError

MAX_BAD_FRACTION = 0.01
_NUM_NAMED = 3
_NUM_TOLD = 20
"""At most, before it is refused: of few clips a user learns of all that are bad at once."""


class BadClips:
    """The bad clips so far.

    Attributes:
        num_clips: good and bad, in the whole data set.
    """

    def __init__(self, num_clips: int, strict: bool, where: str):
        self.num_clips = num_clips
        self._limit = 0 if strict else num_clips * MAX_BAD_FRACTION
        self._strict = strict
        self._where = where
        self._found: list[str] = []

    def add(self, what: str, reason: str) -> None:
        """Counts a clip.

        Raises:
            UserError: it is one too many, and there is no use in going on to tell of more.
        """
        self._found.append(f"{what} ({reason})")
        tqdm.tqdm.write(f"skipped: {self._found[-1]}", file=sys.stderr)
        if self._strict or len(self._found) > max(self._limit, _NUM_TOLD):
            self.check()

    def check(self) -> None:
        """Raises UserError if there are too many."""
        if len(self._found) > self._limit:
            rule = (
                "none may be with --config.data.strict=True"
                if self._strict
                else f"more than {MAX_BAD_FRACTION:.0%} of {self.num_clips} clips"
            )
            raise UserError(
                f"{self._where}: {len(self._found)} bad clip(s), {rule}: {self._named()}; repair "
                "or remove them, then run the same command again"
            )

    def summarise(self, note: pathlib.Path) -> None:
        """Says how many clips were skipped, if any were; `note` is the file that names them all."""
        if self._found:
            print(
                f"{len(self._found)} of {self.num_clips} clips were bad and skipped: "
                f"{self._named()}; all of them stand in {note}"
            )

    def _named(self) -> str:
        more = len(self._found) - _NUM_NAMED
        return ", ".join(self._found[:_NUM_NAMED]) + (f" and {more} more" if more > 0 else "")
