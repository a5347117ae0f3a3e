"""The programs of a training run, compiled beside it in the order in which it needs them."""

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax

from cvae_jax import hosts, memory, parallel
from cvae_jax.config import Config
from cvae_jax.errors import UserError, is_out_of_memory
from cvae_jax.logs import Progress
from cvae_jax.train_state import TrainState
from cvae_jax.train_step import TrainStep


class Programs:
    """Takes the steps of a run, each with its program, which is compiled in the background.

    The first step waits for its own program alone. The other one is compiled from the second step
    on, as it would share the cores with the first. Used as a context: entering begins to compile,
    leaving waits for what is being compiled.
    """

    def __init__(
        self,
        config: Config,
        train_step: TrainStep,
        state: TrainState,
        ways: Sequence[bool],
        dims: tuple[int, int],
        free: float,
    ):
        """Compiles nothing yet.

        Args:
          config: of the run.
          train_step: keeps the compiled programs.
          state: shapes of the state.
          ways: which programs are foreseen, teacher-forced (True) and free-running (False), the
            first one first. If none is, every step leaves it to `train_step` to compile.
          dims: numbers of an action and of a position.
          free: bytes that were free before anything was allocated, as `memory.available` has it.
        """
        self._config, self._train_step, self._state = config, train_step, state
        self._ways, self._dims, self._free = ways, dims, free
        self._threads = ThreadPoolExecutor(max_workers=1)
        self._jobs: dict[bool, Future] = {}
        self._metrics: Any = None
        self._waited = 0.0

    def __enter__(self) -> "Programs":
        self._begin(self._ways[:1])
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if any(job.running() for job in self._jobs.values()):
            after = f", then ends: {error}" if isinstance(error, UserError) else ""
            with Progress.external_write_mode():
                hosts.say(f"waiting for a program that is being compiled{after}")
        self._threads.shutdown(cancel_futures=True)
        for job in self._jobs.values():
            if error is None and not job.cancelled() and (found := job.exception()):
                hosts.say(str(found))  # of a program that no step has asked for

    def step(self, state: TrainState, batch: Any, use_true: Any, kl_weight: Any) -> Any:
        """One training step, as `TrainStep` takes it, once its program is there.

        Raises:
          UserError: its program, or another one that is there by now, needs more memory than was
            free.
        """
        forced = bool(use_true.all())
        if self._metrics is not None and len(self._jobs) < len(self._ways):
            jax.block_until_ready(self._metrics)
            self._begin(self._ways[1:])
        start = time.monotonic()
        if self._ways and forced not in self._jobs:
            self._begin([forced])
        for way, job in self._jobs.items():
            if way == forced or job.done():
                job.result()
        self._waited += time.monotonic() - start
        state, self._metrics = self._train_step(state, batch, use_true, kl_weight)
        return state, self._metrics

    def take_waited(self) -> float:
        """Seconds that steps have waited for their programs since this was last asked."""
        waited, self._waited = self._waited, 0.0
        return waited

    def _begin(self, ways):
        for forced in ways:
            self._jobs[forced] = self._threads.submit(self._compile, forced)

    def _compile(self, forced):
        what = f"a {'teacher-forced' if forced else 'free-running'} step"
        try:
            compiled = self._train_step.compile(self._state, forced, *self._dims)
        except jax.errors.JaxRuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise memory.too_large_to_compile(self._config, what, error) from error
        told = memory.check_step(self._config, what, parallel.memory_of(compiled), self._free)
        with Progress.external_write_mode():
            hosts.say(told)
