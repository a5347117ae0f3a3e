"""SIGTERM and Ctrl-C: the first lets a run end well, a second Ctrl-C ends it at once."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def on_signal() -> Iterator[threading.Event]:
    """Yields an event that SIGTERM or Ctrl-C sets; a second Ctrl-C ends the process at once.

    For the main thread. A thread of its own hears the signals: Python's handlers wait for the end
    of what runs in C, which may be minutes where XLA compiles.
    """
    asked = threading.Event()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    handlers = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
    descriptor = signal.set_wakeup_fd(writer)
    threading.Thread(target=_listen, args=(reader, asked), daemon=True).start()
    try:
        yield asked
    finally:
        signal.set_wakeup_fd(descriptor)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.close(writer)


def _listen(reader: int, asked: threading.Event) -> None:
    """Reads the number of each signal until the other end is closed."""
    with open(reader, "rb", buffering=0) as numbers:
        while number := numbers.read(1):
            if not asked.is_set():
                text = "finishing this step, then saving; Ctrl-C (again) stops at once"
                print(f"\n{text}", file=sys.stderr, flush=True)
                asked.set()  # after the words, which the end of the process would cut off
            elif number[0] == signal.SIGINT:
                text = "stopped at once; the same command goes on from the last checkpoint"
                print(f"\n{text}", file=sys.stderr, flush=True)
                os._exit(128 + signal.SIGINT)  # as after SIGKILL, nothing half done counts
