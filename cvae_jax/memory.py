"""Whether training fits into memory: before anything is compiled, and once a program is there."""

import math
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import psutil

from cvae_jax import parallel
from cvae_jax.config import Config
from cvae_jax.data.frames import FRAME_SIZE
from cvae_jax.errors import UserError
from cvae_jax.train_state import TrainState

_STEP_FIELDS = ("train.batch_size", "data.num_predicted_frames", "model.width")


def check_state(config: Config, state: TrainState, free: float) -> None:
    """Checks what any step holds, by the shapes of the state and of a batch.

    Raises:
      UserError: it is more than the bytes that are free.
    """
    gradient = state.params
    held = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves((state, gradient)))
    held *= parallel.copies_of_the_state()
    if held > free:  # before hours of compilation
        fields = ("model.width", "model.predictor_width", "model.g_dim")
        raise _too_large("parameters, gradient and moments", held, free, config, fields)
    if (maps := _first_maps(config)) > free:  # the gradient keeps them
        raise _too_large("the encoder's first map of each frame", maps, free, config, _STEP_FIELDS)


def check_step(config: Config, what: str, need: int, free: float) -> str:
    """A line that tells the bytes that a step needs, beside those that were free.

    Raises:
      UserError: it needs more.
    """
    if need > free:
        raise _too_large(what, need, free, config, _STEP_FIELDS, _remedy(config))
    there = "" if math.isinf(free) else f" of {_gib(free)} GiB free"
    return f"{what} needs {_gib(need)} GiB{there}"


def too_large_to_compile(config: Config, what: str, error: Exception) -> UserError:
    """That the compiler of a step ran out of memory."""
    reason = str(error).splitlines()[0]
    return UserError(
        f"{_values(config, _STEP_FIELDS)}: {what} could not be compiled ({reason}); "
        f"{_remedy(config)}"
    )


def _remedy(config: Config) -> str:
    """For a step; its workdir is there already, and holds the fields of `_STEP_FIELDS` fixed."""
    more = "" if config.model.rematerialize else ", or set --config.model.rematerialize=True"
    return f"lower one of them in a new --workdir{more}"


def _first_maps(config: Config) -> int:
    """Bytes of the first convolution's output for a batch, of which any step needs many times."""
    data, model = config.data, config.model
    num_frames = data.num_context_frames + data.num_predicted_frames
    values = config.train.batch_size * num_frames * FRAME_SIZE**2 * model.width
    share = parallel.copies_of_the_state() / jax.device_count()
    return int(values * jnp.dtype(model.dtype).itemsize * share)


def available() -> float:
    """Bytes that are free on a device, or for this process on a CPU; inf where nobody says."""
    if jax.default_backend() != "cpu":
        stats = jax.local_devices()[0].memory_stats() or {}
        return float(stats.get("bytes_limit", math.inf) - stats.get("bytes_in_use", 0))
    return float(min(psutil.virtual_memory().available, *_left_of_cgroups()))


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
    what: str,
    need: int,
    free: float,
    config: Config,
    fields: tuple[str, ...],
    remedy: str = "lower one of them",
) -> UserError:
    return UserError(
        f"{_values(config, fields)}: {what} needs {_gib(need)} GiB, but {_gib(free)} GiB are "
        f"free; {remedy}"
    )


def _values(config: Config, fields: tuple[str, ...]) -> str:
    values = []
    for path in fields:
        section, _, name = path.partition(".")
        values.append(f"--config.{path}={getattr(getattr(config, section), name)}")
    return " ".join(values)


def _gib(size: int | float) -> str:
    return f"{size / 2**30:.2f}"
