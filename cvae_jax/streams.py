"""Standard output and error whose reader may go before the work is done."""

import errno
import io
import os
import sys
from typing import TextIO


class _Stream(io.FileIO):
    """What is written where nobody reads any more goes nowhere."""

    def write(self, data) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):  # of a pipe, of a terminal
                raise
            return len(data)


def open_stream(descriptor: int, encoding: str) -> TextIO:
    """A stream to a file descriptor that sends each line on at once.

    Where nobody reads it, work goes on. A letter that `encoding` lacks is told by its number.
    """
    stream = io.BufferedWriter(_Stream(descriptor, "w", closefd=False))
    return io.TextIOWrapper(stream, encoding, "backslashreplace", line_buffering=True)


def outlive_readers() -> None:
    """Makes both of the process such streams; one that the shell has closed (`>&-`) goes nowhere.

    So a run whose messages are piped, as to `tee`, can still save when Ctrl-C ends the reader too.
    """
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        was = getattr(sys, name)
        if was is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  until the process ends
        else:
            setattr(sys, name, open_stream(descriptor, was.encoding))
