"""What a run says as it goes: metrics to JSON lines and TensorBoard, progress to the terminal."""

import contextlib
import io
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from tqdm import tqdm

from cvae_jax.errors import UserError
from cvae_jax.files import plain, write_atomically
from cvae_jax.tensorboard import TensorBoard

METRICS_FILE = "metrics.jsonl"
SECONDS_BETWEEN_LINES = 10.0

Stream = TextIO | io.TextIOBase


class MetricsLog:
    """Appends metrics to `workdir/metrics.jsonl` and to TensorBoard's files in `workdir`.

    A run that goes on from a checkpoint forgets what was logged after it, so that no step is there
    twice: lines of later steps, and a last line that was cut off, are dropped on opening. Every
    line is handed to the operating system at once; write a step's metrics before its checkpoint
    is saved, and none is missing either.
    """

    def __init__(self, workdir: Path, start_step: int = 0):
        """Opens the log of a run whose first `start_step` steps are done."""
        path = workdir / METRICS_FILE
        kept = [line for line in _read_lines(path) if line["step"] <= start_step]
        write_atomically(path, "".join(json.dumps(line) + "\n" for line in kept))
        self._path = path
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115  until close()
        self._tensorboard = TensorBoard(workdir, start_step)

    def write(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Logs scalars by names such as `train/mse`; what is not finite becomes null.

        Raises:
            UserError: the disk refuses.
        """
        scalars = plain({name: float(value) for name, value in metrics.items()})
        try:
            self._file.write(json.dumps({"step": int(step), **scalars}) + "\n")
            self._file.flush()
            self._tensorboard.write(step, scalars)
        except OSError as error:
            raise UserError(
                f"{self._path}: step {step} cannot be logged ({error.strerror or error}); free "
                "disk space, then run the same command to go on from the last checkpoint"
            ) from error

    def close(self) -> None:
        """Closes all files, which are complete already unless a write was refused."""
        for file in (self._file, self._tensorboard):
            with contextlib.suppress(OSError):  # they try again what was refused
                file.close()

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def read_metrics(workdir: Path) -> list[dict[str, Any]]:
    """Reads the logged lines in order; a last line that was cut off is left out.

    Raises:
        UserError: there is no log in `workdir`, or it is damaged before its last line.
    """
    path = workdir / METRICS_FILE
    if not path.exists():
        raise UserError(f"{path}: no such file; run --mode=train with a --config there first")
    return _read_lines(path)


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a log, or none where there is no file."""
    if not path.exists():
        return []
    *complete, _ = path.read_bytes().split(b"\n")
    lines = []
    for number, text in enumerate(complete, 1):
        try:
            line = json.loads(text)
            line["step"] = int(line["step"])
        except (ValueError, TypeError, KeyError) as error:
            found = text.decode(errors="replace")[:60]
            raise UserError(
                f"{path}: line {number} is damaged ({found!r}); delete that line and run again"
            ) from error
        lines.append(line)
    return lines


class Progress(tqdm):
    """A progress bar: `with Progress(...) as bar`, then `bar.advance(loss=0.01)` per step.

    Shows steps done of `total`, frames per second, the latest figures and the time left. Where
    standard error is not a terminal (a file, a scheduler's log) it writes a whole line every ten
    seconds instead of redrawing one, and nothing for what is done sooner.
    """

    def __init__(
        self,
        total: int,
        start: int = 0,
        description: str = "train",
        frames_per_step: int = 1,
        stream: Stream | None = None,
        silent: bool = False,
    ):
        """Starts at step `start`; `frames_per_step` counts the frames that one step processes."""
        sink: Stream = stream or sys.stderr
        alive = sink.isatty()
        self.frames_per_step = frames_per_step
        self.figures: dict[str, int | float] = {}
        bar = "|{bar}| " if alive else ""
        super().__init__(
            total=total,
            disable=silent,
            initial=start,
            desc=description,
            bar_format="{desc} {percentage:3.0f}% "
            + bar
            + "step {n_fmt}/{total_fmt}, {remaining} left, {frames_per_second} frames/s{postfix}",
            file=sink if alive else _Lines(sink),
            mininterval=0.2 if alive else SECONDS_BETWEEN_LINES,
            miniters=1,
            delay=0 if alive else SECONDS_BETWEEN_LINES,
            position=None if alive else 0,
            leave=None,  # of bars within a bar, none stays
            ncols=_columns(sink) if alive else None,
        )
        self._time = time.monotonic  # tqdm's is the wall clock, which may jump
        self.start_t = self.last_print_t = self._time()

    @property
    def format_dict(self) -> dict[str, Any]:
        """What `bar_format` may name; tqdm's own, with the frames per second added."""
        values = super().format_dict
        steps_per_second = values["rate"]
        if steps_per_second is None and values["elapsed"] > 0:
            steps_per_second = (values["n"] - values["initial"]) / values["elapsed"]
        frames = (steps_per_second or 0) * self.frames_per_step
        return {**values, "frames_per_second": f"{frames:,.0f}"}

    def advance(self, num_steps: int = 1, **figures: int | float) -> None:
        """Counts steps as done; figures such as `loss` and `psnr` are shown until they change."""
        self.figures.update(figures)
        shown = ", ".join(f"{name} {value:.4g}" for name, value in self.figures.items())
        self.set_postfix_str(shown, refresh=False)
        self.update(num_steps)


def _columns(stream: Stream) -> int:
    """Width of a terminal; 80 where it does not say, as some in containers."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except OSError:
        return 80


class _Lines(io.TextIOBase):
    """A stream on which what tqdm redraws becomes lines."""

    def __init__(self, stream: Stream):
        self._stream = stream

    def write(self, text: str) -> int:
        if text.strip():
            self._stream.write(text.strip() + "\n")
        return len(text)

    def flush(self) -> None:
        self._stream.flush()
