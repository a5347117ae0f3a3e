"""SIGTERM, SIGHUP, Ctrl-C: in training the first ends well and the next at once; elsewhere at once.

A thread of its own hears the signals: Python's handlers wait for the end of what runs in C, which
may be minutes where XLA compiles. Nor is KeyboardInterrupt raised, which JAX's callbacks may print
and forget, or crash at.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence

EXIT_CODE = 128 + signal.SIGINT
"""Of a command that was stopped before its end."""
STOPPED = "stopped; nothing saved is lost: the same command goes on from it or starts again"


def at_once() -> contextlib.AbstractContextManager[None]:
    """Ctrl-C ends the process at once while the block runs, with a line and EXIT_CODE.

    For the main thread, as the others here; they may be nested.
    """
    return _heard((signal.SIGINT,), lambda _: _end(STOPPED))


@contextlib.contextmanager
def by_exception() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt in the block, for code that then tidies up; without JAX."""
    handlers = _taken((signal.SIGINT,), signal.default_int_handler)
    descriptor = signal.set_wakeup_fd(-1)
    try:
        yield
    finally:
        _restore(handlers, descriptor)


@contextlib.contextmanager
def on_signal() -> Iterator[threading.Event]:
    """Yields an event that SIGTERM, SIGHUP or Ctrl-C sets; a second Ctrl-C ends it all at once.

    SIGHUP comes where a terminal is closed or a connection is lost.
    """
    asked = threading.Event()

    def hear(number: int) -> None:
        if not asked.is_set():
            text = "finishing, then saving; Ctrl-C (again) stops at once"
            print(f"\n{text}", file=sys.stderr, flush=True)
            asked.set()  # after the words, which the end of the process would cut off
        elif number == signal.SIGINT:
            _end("stopped at once; the same command goes on from the last checkpoint")

    with _heard((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), hear):
        yield asked


@contextlib.contextmanager
def _heard(numbers: Sequence[int], hear: Callable[[int], None]) -> Iterator[None]:
    """Calls `hear` with each signal of `numbers`, in a thread."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    descriptor = signal.set_wakeup_fd(writer)  # of every signal that Python handles
    handlers = _taken(numbers, lambda *_: None)
    threading.Thread(target=_listen, args=(reader, numbers, hear), daemon=True).start()
    try:
        yield
    finally:
        _restore(handlers, descriptor)
        os.close(writer)


def _listen(reader: int, numbers: Sequence[int], hear: Callable[[int], None]) -> None:
    """Reads the number of each signal until the other end is closed."""
    with open(reader, "rb", buffering=0) as received:
        while number := received.read(1):
            if number[0] in numbers:
                hear(number[0])


def _taken(numbers, handler):
    """Sets the handler of signals, but of ignored ones as behind &; returns what was set."""
    heeded = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in heeded}


def _restore(handlers, descriptor):
    signal.set_wakeup_fd(descriptor)
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _end(text: str) -> None:
    print(f"\n{text}", file=sys.stderr, flush=True)
    os._exit(EXIT_CODE)  # as after SIGKILL, nothing half done counts
