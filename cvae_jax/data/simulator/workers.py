"""Simulates clips on all cores: `python -m cvae_jax.data.simulator.workers` is one worker.

Plain subprocesses, since `multiprocessing` would import the caller's main module (and JAX with
it) in every worker or fork a process that runs JAX's threads. A worker whose reader has gone,
however it went, ends at its next write.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator

from cvae_jax import cores
from cvae_jax.data import png
from cvae_jax.data.simulator import record
from cvae_jax.errors import UserError

_CHUNK = 4
"""Clips that a worker hands over at a time, to even out the time they take."""


def example(seed: int) -> dict:
    """A clip as a TFDS example: a list of PNG files, actions (30, 4) and positions (30, 3)."""
    clip = record.clip(seed)
    return {
        "image_main": [png.encode(frame) for frame in clip.video],
        "action": clip.action,
        "endeffector_pos": clip.position,
    }


def examples(seeds: range) -> Iterator[dict]:
    """The examples of consecutive seeds, in order.

    Raises:
        UserError: a worker died, of too little memory perhaps.
    """
    chunks = [seeds[first : first + _CHUNK] for first in range(0, len(seeds), _CHUNK)]
    num_workers = min(len(cores.usable()), len(chunks))
    with contextlib.ExitStack() as stack:
        workers = [
            stack.enter_context(_worker(seeds, index, num_workers)) for index in range(num_workers)
        ]
        for index, chunk in enumerate(chunks):
            worker = workers[index % num_workers]
            assert worker.stdout is not None
            try:
                yield from pickle.load(worker.stdout)
            except (EOFError, pickle.UnpicklingError) as error:
                raise UserError(
                    f"the process that simulates seeds {chunk[0]} to {chunk[-1]} died with exit "
                    f"code {worker.wait()}; if memory ran out free some, then run the same again"
                ) from error


@contextlib.contextmanager
def _worker(seeds: range, index: int, num_workers: int) -> Iterator[subprocess.Popen]:
    numbers = [seeds.start, seeds.stop, index, num_workers]
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, *map(str, numbers)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _work(start: int, stop: int, index: int, num_workers: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stride = _CHUNK * num_workers
    for first in range(start + _CHUNK * index, stop, stride):
        chunk = range(first, min(first + _CHUNK, stop))
        pickle.dump([example(seed) for seed in chunk], sys.stdout.buffer)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    try:
        _work(*map(int, sys.argv[1:]))
    except BrokenPipeError:
        os._exit(1)
