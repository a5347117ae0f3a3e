"""Compiles what training runs, and tells whether it fits into memory."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import psutil

from cvae_jax import hosts, parallel
from cvae_jax.config import Config
from cvae_jax.errors import UserError
from cvae_jax.logs import Progress
from cvae_jax.train_state import FRAME_SIZE, TrainState
from cvae_jax.train_step import TrainStep

_COPIES = 4
"""Of the parameters that any step holds: themselves, the gradient and Adam's two moments."""
_STEP_FIELDS = ("train.batch_size", "data.num_predicted_frames", "model.width")


def check_state(config: Config, state: TrainState) -> int | None:
    """Bytes that are free before anything is allocated; None where nobody says.

    Raises:
      UserError: what any step holds, by the shapes of the state and of a batch, is above that.
    """
    free = available()
    if free is None:
        return None
    held = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state.params))
    held *= _COPIES * parallel.copies_of_the_state()
    if held > free:  # before hours of compilation
        fields = ("model.width", "model.predictor_width", "model.g_dim")
        raise _too_large("parameters, gradient and Adam's moments", held, free, config, fields)
    if (maps := _first_maps(config)) > free:  # the gradient keeps them
        raise _too_large("the encoder's first map of each frame", maps, free, config, _STEP_FIELDS)
    return free


class Programs:
    """The programs of a run, compiled in the background in the order in which they are needed.

    The first step waits for its own alone. The other one begins with the second step, as it would
    share the cores with the first. As a context, it ends when nothing is being compiled any more.
    """

    def __init__(
        self,
        config: Config,
        step: TrainStep,
        state: TrainState,
        ways: list[bool],
        dims: tuple[int, int],
        free: int | None,
    ):
        """Begins to compile.

        Args:
          config: of the run.
          step: keeps the compiled programs.
          state: shapes of the state.
          ways: which programs, teacher-forced (True) and free-running (False), the first one first.
          dims: numbers of an action and of a position.
          free: bytes that were free before anything was allocated, if known.
        """
        self._config, self._step, self._state = config, step, state
        self._dims, self._free = dims, free
        self._threads = ThreadPoolExecutor(max_workers=1)
        self._jobs: dict[bool, Future] = {}
        self._begin(ways[:1])
        self._others, self._num_steps = ways[1:], 0

    def __enter__(self) -> "Programs":
        return self

    def __exit__(self, *_) -> None:
        self._threads.shutdown(cancel_futures=True)

    def wait_for(self, forced: bool) -> None:
        """Before each step: waits for its program, if that is one of them.

        Raises:
          UserError: it, or one that is there by now, needs more than was free.
        """
        self._num_steps += 1
        if self._num_steps == 2:
            self._begin(self._others)
        for way, job in self._jobs.items():
            if way == forced or job.done():
                job.result()

    def _begin(self, ways):
        self._jobs |= {forced: self._threads.submit(self._compile, forced) for forced in ways}

    def _compile(self, forced):
        need = parallel.memory_of(self._step.compile(self._state, forced, *self._dims))
        what = f"a {'teacher-forced' if forced else 'free-running'} step"
        if self._free is not None and need > self._free:
            raise _too_large(what, need, self._free, self._config, _STEP_FIELDS)
        there = "" if self._free is None else f" of {_gib(self._free)} GiB free"
        with Progress.external_write_mode():
            hosts.say(f"{what} needs {_gib(need)} GiB{there}")


def _first_maps(config: Config) -> int:
    """Bytes of the first convolution's output for a batch, of which any step needs many times."""
    data, model = config.data, config.model
    num_frames = data.num_context_frames + data.num_predicted_frames
    values = config.train.batch_size * num_frames * FRAME_SIZE**2 * model.width
    share = parallel.copies_of_the_state() / jax.device_count()
    return int(values * jnp.dtype(model.dtype).itemsize * share)


def available() -> int | None:
    """Bytes that are free on a device, or for this process on a CPU; None where nobody says."""
    if jax.default_backend() != "cpu":
        stats = jax.local_devices()[0].memory_stats() or {}
        limit = stats.get("bytes_limit")
        return None if limit is None else limit - stats.get("bytes_in_use", 0)
    return min(psutil.virtual_memory().available, *_left_of_cgroups())


def _left_of_cgroups() -> Iterator[int]:
    """What containers and schedulers leave this process, version 1 and 2."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, kind, path = line.split(":", 2)
        if kind not in ("", "memory"):
            continue
        root = Path("/sys/fs/cgroup", kind)
        names = ("memory.max", "memory.current") if not kind else _VERSION_1
        own = root / path.strip("/")
        for folder in (own, *own.parents):
            if folder.is_relative_to(root):
                yield from _left(folder, *names)
    yield psutil.virtual_memory().total


_VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes")


def _left(folder: Path, limit: str, used: str) -> Iterator[int]:
    """What a group may still take; cached files are given back when memory is asked for."""
    try:
        most, now = (folder / limit).read_text(), int((folder / used).read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        if most.strip() != "max":
            yield max(int(most) - now + int(stat.get("inactive_file", 0)), 0)
    except (OSError, ValueError):  # not a group with memory, or one that is not shown here
        return


def _too_large(
    what: str, need: int, free: int, config: Config, fields: tuple[str, ...]
) -> UserError:
    values = []
    for path in fields:
        section, _, name = path.partition(".")
        values.append(f"--config.{path}={getattr(getattr(config, section), name)}")
    return UserError(
        f"{' '.join(values)}: {what} needs {_gib(need)} GiB, but {_gib(free)} GiB are free; "
        "lower one of them"
    )


def _gib(size: int) -> str:
    return f"{size / 2**30:.2f}"
