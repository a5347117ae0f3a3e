"""Saving and restoring a run with Orbax: the latest checkpoints, and the best by validation."""

import json
import os
import shutil
import sys
import traceback
import zlib
from collections.abc import Mapping
from logging import getLogger
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from orbax.checkpoint import checkpoint_managers

from cvae_jax.errors import UserError, is_out_of_memory
from cvae_jax.run_folder import saved_steps
from cvae_jax.train_state import TrainState

NUM_LATEST = 2
BEST_METRIC = "psnr_mean"
_FAILURES = (ValueError, KeyError, OSError, TypeError, RuntimeError, MemoryError)
"""What Orbax, TensorStore and XLA raise on a disk that refuses or lack of memory."""


_CHECKSUM = "checksum"


class DamagedCheckpoint(UserError):  # noqa: N818
    """A checkpoint that is not, or not any more, what was saved; `reason` tells what is wrong."""

    def __init__(self, message: str, reason: str):
        super().__init__(message)
        self.reason = reason


def _score(metrics: Mapping[str, float]) -> float:
    return metrics[BEST_METRIC]


class Checkpoints:
    """The folder `workdir/checkpoints`: a folder for each kept step.

    The two latest are kept and, of the validated ones, the best by `psnr_mean`. A save goes on
    in the background and is renamed into place when whole; what a killed one left is removed.
    A checkpoint that turns out damaged is moved to `workdir/damaged`.
    """

    def __init__(self, workdir: Path, *, read_only: bool = False):
        logging.set_verbosity(logging.FATAL)  # Orbax tells of saves and failures at length
        # What fails is raised here, once; asyncio would repeat each part.
        getLogger("asyncio").setLevel("CRITICAL")
        sys.unraisablehook = _but_for_parts_of_failures
        best = checkpoint_managers.BestN(
            get_metric_fn=_score, n=1, keep_checkpoints_without_metrics=False
        )
        latest = checkpoint_managers.LatestN(n=NUM_LATEST)
        self.folder = (workdir / "checkpoints").absolute()
        if not read_only:
            self.folder.mkdir(parents=True, exist_ok=True)  # Orbax would not, for one of several
        for step, reason in _unreadable_metrics(self.folder).items():
            if read_only:
                raise self._damaged(step, reason)
            self._set_aside(step, reason)
        self._manager = ocp.CheckpointManager(
            self.folder,
            options=ocp.CheckpointManagerOptions(
                best_fn=_score,
                multiprocessing_options=_this_process_alone(),
                preservation_policy=checkpoint_managers.AnyPreservationPolicy([latest, best]),
                create=False,
                read_only=read_only,
                cleanup_tmp_directories=not read_only,
            ),
            item_names=("state", "run"),
        )

    def save(
        self,
        step: int,
        state: TrainState,
        run: dict[str, Any],
        validation: Mapping[str, float] | None,
    ) -> None:
        """Saves what a later step or another machine needs; `validation` if it was measured.

        One whose score is not finite is never the best.

        `run` is what `restore` returns with the state; JSON has to be able to say it.

        Raises:
          UserError: this save, or the one before it that went on in the background, failed.
        """
        # Orbax would cut an array of several devices into shards, one program for each shape, and
        # takes arrays of one of several processes for a mistake.
        state = jax.device_get(state)
        run = run | {_CHECKSUM: _checksum(state, run)}
        items = ocp.args.Composite(state=ocp.args.StandardSave(state), run=ocp.args.JsonSave(run))
        if validation and not np.isfinite(_score(validation)):
            validation = None  # to order by NaN would let any step be the best
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
          DamagedCheckpoint: it is not what was saved, or of a model of other shapes.
          UserError: it cannot be read, or there is not enough memory.
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
        except Exception as error:  # Orbax raises just that where a file is missing
            reason, remedy = _reason(error), _remedy(error)
            if remedy:
                message = f"{self.folder / str(step)}: cannot be restored ({reason}); {remedy}"
                raise UserError(message) from error
            raise self._damaged(step, reason) from error
        state, run = restored["state"], restored["run"]
        saved = run.pop(_CHECKSUM, None)
        if saved not in (None, _checksum(state, run)):  # older checkpoints have none
            raise self._damaged(step, "its checksum is wrong")
        return state, run

    def restore_latest(self, like: TrainState) -> tuple[TrainState, dict[str, Any], int] | None:
        """The latest checkpoint that is whole, and its step; None before the first save.

        Damaged ones after it are told of, and moved out of the way.

        Raises:
          UserError: there are checkpoints, and none can be restored; all stay where they are.
        """
        damaged: list[tuple[int, DamagedCheckpoint]] = []
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                state, run = self.restore(step, like)
            except DamagedCheckpoint as error:
                damaged.append((step, error))
                continue
            for bad, told in damaged:
                self._set_aside(bad, told.reason)
            self._manager.reload()
            return state, run, step
        if damaged:
            raise damaged[0][1]
        return None

    def _set_aside(self, step: int, reason: str) -> None:
        """Moves a damaged checkpoint to where nothing takes it for one, in place of an older."""
        place = self.folder.parent / "damaged" / str(step)
        shutil.rmtree(place, ignore_errors=True)
        place.parent.mkdir(exist_ok=True)
        (self.folder / str(step)).rename(place)
        print(
            f"{self.folder / str(step)}: damaged ({reason}); moved to {place}, and the checkpoint "
            "before it is used",
            file=sys.stderr,
        )

    def _damaged(self, step: int, reason: str) -> DamagedCheckpoint:
        return DamagedCheckpoint(
            f"{self.folder / str(step)}: cannot be restored ({reason}); if it is damaged, move "
            "that folder away to use the checkpoint before it",
            reason,
        )

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
        steps = ", ".join(map(str, saved_steps(self.folder.parent)))
        return UserError(
            f"{self.folder}: a checkpoint could not be saved ({_reason(error)}); "
            + (f"those of steps {steps} are whole; " if steps else "there is none before it; ")
            + "free disk space or change the folder's permissions, then run the same command to go "
            "on from there"
        )


def _this_process_alone() -> ocp.options.MultiprocessingOptions:
    """Of several processes, the one that opens the folder reads and writes it without the rest."""
    own = jax.process_index()
    alone = {own} if jax.process_count() > 1 else None
    prefix = f"process_{own}" if alone else None
    return ocp.options.MultiprocessingOptions(
        primary_host=own, active_processes=alone, barrier_sync_key_prefix=prefix
    )


def _checksum(state: TrainState, run: Mapping[str, Any]) -> int:
    """CRC-32 of all that is saved; Orbax takes arrays with changed bytes for good."""
    crc = zlib.crc32(json.dumps(run, sort_keys=True).encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        crc = zlib.crc32(jax.tree_util.keystr(path).encode(), crc)
        crc = zlib.crc32(np.asarray(leaf).tobytes(), crc)
    return crc


def _unreadable_metrics(folder: Path) -> dict[int, str]:
    """Steps whose figures are damaged, at which Orbax would stop, and the reason."""
    found = {}
    for path in folder.glob("*/metrics/metrics"):
        if path.parts[-3].isdecimal():
            try:
                _score(json.loads(path.read_text()))
            except FileNotFoundError:  # pruned meanwhile by the run that writes here
                continue
            except (ValueError, KeyError, TypeError) as error:
                found[int(path.parts[-3])] = f"{path.name}: {_reason(error)}"
    return found


def _but_for_parts_of_failures(unraisable: Any) -> None:
    """The rest of a failed save or restore ends late: in a closed loop, or when it is collected."""
    frames = traceback.walk_tb(unraisable.exc_traceback)
    of_orbax = any(f"{os.sep}orbax{os.sep}" in frame.f_code.co_filename for frame, _ in frames)
    if not of_orbax and str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


def _reason(error: BaseException) -> str:
    """The first line of what an exception says, or its name if it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def _remedy(error: BaseException) -> str | None:
    """What a user can do about a checkpoint that may be whole; None if it is damaged."""
    if is_out_of_memory(error):
        return "close other programs or use a machine with more memory; the checkpoint may be whole"
    if isinstance(error, PermissionError) or "permission" in str(error).lower():
        return "make it readable for you; the checkpoint may be whole"
    return None
