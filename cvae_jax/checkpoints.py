"""Saving and restoring a run with Orbax: the latest checkpoints, and the best by validation."""

from collections.abc import Mapping
from logging import getLogger
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import orbax.checkpoint as ocp
from absl import logging
from orbax.checkpoint import checkpoint_managers

from cvae_jax.errors import UserError
from cvae_jax.train_state import TrainState

NUM_LATEST = 2
BEST_METRIC = "psnr_mean"
_FAILURES = (ValueError, KeyError, OSError, TypeError, RuntimeError, MemoryError)
"""What Orbax, TensorStore and XLA raise on a disk that refuses, damage or lack of memory."""


def _score(metrics: Mapping[str, float]) -> float:
    return metrics[BEST_METRIC]


class Checkpoints:
    """The folder `workdir/checkpoints`: a folder for each kept step.

    The two latest are kept and, of the validated ones, the best by `psnr_mean`. A save goes on
    in the background and is renamed into place when whole.
    """

    def __init__(self, workdir: Path, *, read_only: bool = False):
        logging.set_verbosity(logging.FATAL)  # Orbax tells of saves and failures at length
        # A failed save is raised here; asyncio would repeat each part.
        getLogger("asyncio").setLevel("CRITICAL")
        best = checkpoint_managers.BestN(
            get_metric_fn=_score, n=1, keep_checkpoints_without_metrics=False
        )
        latest = checkpoint_managers.LatestN(n=NUM_LATEST)
        self.folder = (workdir / "checkpoints").absolute()
        if not read_only:
            self.folder.mkdir(parents=True, exist_ok=True)  # Orbax would not, for one of several
        self._manager = ocp.CheckpointManager(
            self.folder,
            options=ocp.CheckpointManagerOptions(
                best_fn=_score,
                multiprocessing_options=_this_process_alone(),
                preservation_policy=checkpoint_managers.AnyPreservationPolicy([latest, best]),
                create=False,
                read_only=read_only,
            ),
            item_names=("state", "run"),
        )

    def latest_step(self) -> int | None:
        """The last saved step, or None before the first save."""
        return self._manager.latest_step()

    def save(
        self,
        step: int,
        state: TrainState,
        run: dict[str, Any],
        validation: Mapping[str, float] | None,
    ) -> None:
        """Saves what a later step or another machine needs; `validation` if it was measured.

        Raises:
          UserError: this save, or the one before it that went on in the background, failed.
        """
        if jax.process_count() > 1:  # Orbax takes arrays of one process's devices for a mistake
            state = jax.device_get(state)
        items = ocp.args.Composite(state=ocp.args.StandardSave(state), run=ocp.args.JsonSave(run))
        try:
            self._manager.save(step, args=items, metrics=validation)
        except _FAILURES as error:
            raise self._not_saved(error) from error

    def choose(self, which: str) -> int:
        """The step that `latest`, `best` or a number means.

        Raises:
          UserError: no such checkpoint, with those that there are.
        """
        steps = sorted(self._manager.all_steps())
        if not steps:
            raise UserError(f"{self.folder}: no checkpoint; run --mode=train first")
        if which == "latest":
            return steps[-1]
        if which == "best":
            best = self._manager.best_step()
            return steps[-1] if best is None else best
        if which.isdecimal() and int(which) in steps:
            return int(which)
        raise UserError(
            f"--checkpoint={which}: {self.folder} has {', '.join(map(str, steps))}; "
            "name one of them, best or latest"
        )

    def restore(self, step: int, like: TrainState) -> tuple[TrainState, dict[str, Any]]:
        """The state of `step` on this process's first device, and what was saved beside it.

        `like` has the shapes and types that the config of this run asks for.

        Raises:
          UserError: the checkpoint is damaged, cannot be read, or is of a model of other shapes.
        """
        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        abstract = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), like
        )
        items = ocp.args.Composite(
            state=ocp.args.StandardRestore(abstract), run=ocp.args.JsonRestore()
        )
        try:
            restored = self._manager.restore(step, args=items)
        except _FAILURES as error:
            folder = self.folder / str(step)
            raise UserError(
                f"{folder}: cannot be restored ({_reason(error)}); {_advice(error)}"
            ) from error
        return restored["state"], restored["run"]

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Waits for a save under way; raises UserError if it failed and nothing else had."""
        try:
            self._manager.close()
        except _FAILURES as failure:
            if error is None:
                raise self._not_saved(failure) from failure

    def _not_saved(self, error: BaseException) -> UserError:
        return UserError(
            f"{self.folder}: a checkpoint could not be saved ({_reason(error)}); free disk space "
            "or change the folder's permissions, then run the same command to go on from the last "
            "whole checkpoint"
        )


def _this_process_alone() -> ocp.options.MultiprocessingOptions:
    """Of several processes, the one that opens the folder reads and writes it without the rest."""
    own = jax.process_index()
    alone = {own} if jax.process_count() > 1 else None
    prefix = f"process_{own}" if alone else None
    return ocp.options.MultiprocessingOptions(
        primary_host=own, active_processes=alone, barrier_sync_key_prefix=prefix
    )


def _reason(error: BaseException) -> str:
    """The first line of what an exception says, or its name if it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def _advice(error: BaseException) -> str:
    """What a user can do about a checkpoint that cannot be restored."""
    text = str(error).lower()
    if isinstance(error, MemoryError) or "out of memory" in text or "resource_exhausted" in text:
        return "close other programs or use a machine with more memory; the checkpoint may be whole"
    if isinstance(error, PermissionError) or "permission" in text:
        return "make it readable for you; the checkpoint may be whole"
    return "if it is damaged, move that folder away to go on from the checkpoint before it"
