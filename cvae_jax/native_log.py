"""What JAX's C++ writes when it ends a process of several, in one line that a user understands.

When it loses a process or cannot find one, it writes pages to file descriptor 2 and aborts; Python
gets no say. So that descriptor leads through a small process that runs this file and outlives
the first.
"""

import re
import subprocess
import sys
from typing import BinaryIO

LOST = (
    "error: another process of this run was lost (killed, stopped by an error of its own, or cut "
    "off); start the same command in all processes again to go on from the last checkpoint\n"
)
NOT_JOINED = (
    "error: --initialization_timeout: not all processes have joined in time; start as many as "
    "--num_processes says with the same --coordinator_address, or raise it\n"
)
_OF_COORDINATION = re.compile(
    r"[IWEF]\d{4} \S+ +\d+ (coordination_service|preemption_sync_manager|client\.h)"
)


def divert() -> None:
    """Sends what this process's C++ writes to descriptor 2 through `condense`; Python is spared."""
    import os

    from cvae_jax import streams  # which the file, run alone, does without

    errors = os.dup(2)
    reader = subprocess.Popen(
        [sys.executable, "-I", __file__],
        stdin=subprocess.PIPE,
        stdout=errors,
        start_new_session=True,  # Ctrl-C is not for it; it ends with what it reads
    )
    assert reader.stdin is not None
    os.dup2(reader.stdin.fileno(), 2)
    reader.stdin.close()
    sys.stderr = streams.open_stream(errors, "utf-8")


def condense(source: BinaryIO, sink: BinaryIO) -> None:
    """Copies lines; from the coordination's first on, keeps them and gives one message at the end.

    If they were no cause to stop, they are given as they are.
    """
    kept: list[str] = []
    for raw in source:
        line = raw.decode(errors="replace")
        if kept or line == LOST or _OF_COORDINATION.match(line):
            kept.append(line)
        elif not line.startswith("[Gloo] Rank"):
            sink.write(raw)
            sink.flush()
    text = "".join(kept)
    if "Terminating process" in text and "RegisterTask" in text:
        text = NOT_JOINED
    elif "Terminating process" in text or LOST in text:
        text = LOST
    sink.write(text.encode())
    sink.flush()


if __name__ == "__main__":
    condense(sys.stdin.buffer, sys.stdout.buffer)
