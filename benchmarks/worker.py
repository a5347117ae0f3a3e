"""Processes that work when they are told to, so that several sides take turns on one machine.

Knows the standard library alone: the side that has PyTorch has nothing else of this project.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
MATMUL_SIZE = {"cpu": 2048, "gpu": 8192}
"""Rows and columns of the matrices whose product shows what a device can do."""


class Work(NamedTuple):
    """What a worker does when asked, once for each call, until the result is there.

    `about` is told at the start; `device_peak_mib` is the GPU's peak memory, None on a CPU.
    """

    run: Callable[[], None]
    about: dict[str, Any]
    device_peak_mib: Callable[[], float | None]


def serve(make_work: Callable[..., Work]) -> None:
    """Reads what work to prepare, then again and again how often to do it, and answers in JSON.

    Whatever the work prints goes to standard error.
    """
    with os.fdopen(os.dup(1), "w") as replies:
        os.dup2(2, 1)

        def reply(**values) -> None:
            print(json.dumps(values), file=replies, flush=True)

        work = make_work(**json.loads(sys.stdin.readline()))
        reply(**work.about)
        for line in sys.stdin:
            times = json.loads(line)
            cpu, start = time.process_time(), time.perf_counter()
            for _ in range(times):
                work.run()
            seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
            peak = work.device_peak_mib()
            reply(
                seconds=seconds / times,
                cpu_seconds=cpu_seconds / times,
                peak_mib=_host_peak_mib() if peak is None else peak,
            )


def _host_peak_mib() -> float:
    """The most that this process has had in memory; unlike ru_maxrss, not its parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


class Worker:
    """A process that serves; leaving the context ends it.

    `about`: what it said of its work. Raises RuntimeError with its last words if it dies.
    """

    def __init__(self, command: list[str], environment: dict[str, str], **request: Any):
        self._command = command
        pipes: dict[str, Any] = {name: subprocess.PIPE for name in ("stdin", "stdout")}
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | environment, text=True, **pipes
        )
        self.about = self._ask(request)

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_) -> None:
        self._process.stdin.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def __call__(self, times: int) -> dict[str, float]:
        """Does the work so often; seconds and processor seconds of one, and peak MiB so far."""
        return self._ask(times)

    def _ask(self, question: Any) -> dict[str, Any]:
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            code = self._process.wait()
            hint = "; out of memory? lower --widths or --batches" if code == -9 else ""
            raise RuntimeError(f"{' '.join(self._command)} ended with {code}{hint}") from None
