"""TensorBoard's file of a run, written by the thread that logs.

tensorboardX's own writer hands records to another thread, which keeps them for up to two minutes
of the wall clock (a killed run loses them) and whose death on a full disk blocks the run for ever.
"""

import socket
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import RecordWriter
from tensorboardX.summary import scalar


class TensorBoard:
    """Appends scalars to a new file in `workdir`, each at once."""

    def __init__(self, workdir: Path, start_step: int):
        """Lets TensorBoard forget what earlier files hold of the steps after `start_step`."""
        self._writer = RecordWriter(str(_new_file(workdir)))
        self._write(Event(file_version="brain.Event:2"))
        start = SessionLog(status=SessionLog.START)
        self._write(Event(step=start_step + 1, session_log=start))
        self._writer.flush()

    def write(self, step: int, scalars: Mapping[str, float | None]) -> None:
        """Adds what is not None.

        Raises:
            OSError: the disk refuses.
        """
        for name, value in scalars.items():
            if value is not None:
                self._write(Event(step=step, summary=scalar(name, value)))
        self._writer.flush()

    def close(self) -> None:
        """Closes the file, which is complete already."""
        self._writer.close()

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()  # what TensorBoard shows as the time of day
        self._writer.write(event.SerializeToString())


def _new_file(workdir: Path) -> Path:
    """A name after those of earlier files, as TensorBoard reads them in order, whatever the clock.

    The name begins as TensorBoard's own do, with the time in ten digits.
    """
    names = [path.name.split(".") for path in workdir.glob("events.out.tfevents.*")]
    taken = [int(parts[3]) for parts in names if parts[3].isdecimal()]
    number = max([int(time.time()), *(each + 1 for each in taken)])
    return workdir / f"events.out.tfevents.{number:010}.{socket.gethostname()}"
