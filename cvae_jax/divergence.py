"""Steps that were skipped, since their loss or gradient was not finite: counted, and too many."""

from collections import deque
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from cvae_jax.errors import UserError
from cvae_jax.files import write_json

MAX_IN_ROW = 10
"""After so many steps in a row without a finite loss and gradient the run stops."""
_LAG = 4
"""Steps before a step's count is read, so that reading it does not wait for the device."""
FILE = "not_finite.json"


class _Step(NamedTuple):
    number: int
    clip_ids: np.ndarray
    in_row: Any


class Watch:
    """Follows the steps of a run, and stops it after `MAX_IN_ROW` skipped ones in a row."""

    def __init__(self, workdir: Path):
        self._path = workdir / FILE
        if jax.process_count() > 1:  # each has its own share of a batch's clips
            self._path = workdir / f"not_finite_{jax.process_index()}.json"
        self._latest: deque[_Step] = deque(maxlen=MAX_IN_ROW + _LAG)

    def saw(self, number: int, clip_ids: np.ndarray, in_row: Any) -> None:
        """Takes note of step `number`; `in_row` counts skipped steps up to it, on the device.

        Raises:
          UserError: there are too many; the clips of the batches are in `not_finite.json`.
        """
        self._latest.append(_Step(number, clip_ids, in_row))
        if len(self._latest) > _LAG:
            self._check(self._latest[-1 - _LAG])

    def check(self) -> int:
        """The same for all steps that were seen; waits for the device.

        Returns how many of the last steps, one after another, were skipped.
        """
        in_row = 0
        for step in list(self._latest)[-_LAG:]:
            in_row = self._check(step)
        return in_row

    def _check(self, step: _Step) -> int:
        in_row = int(step.in_row)
        if in_row < MAX_IN_ROW:
            return in_row
        first = step.number - in_row + 1
        skipped = [seen for seen in self._latest if first <= seen.number <= step.number]
        batches = [{"step": seen.number, "clip_ids": seen.clip_ids} for seen in skipped]
        write_json(self._path, batches)
        raise UserError(
            f"{self._path.parent}: the last {in_row} steps, from step {first} on, had a loss or "
            f"gradient that is not finite and were skipped; their clips are in {self._path.name}. "
            "Lower --config.optimizer.learning_rate or set "
            "--config.optimizer.gradient_clip_norm=1, in a new --workdir; "
            "--config.train.debug_nan=true names the layer that it begins in"
        )


def summarise(recent: list[dict[str, Any]]) -> dict[str, float]:
    """What is logged of the steps since the last log line.

    Means, and the largest loss and gradient norm, are over the steps that were not skipped; NaN
    where all were. The learning rate is the last step's, and so is the count of all skipped ones.
    """
    steps = jax.device_get(recent)
    finite = [s for s in steps if np.isfinite(s["loss"] + s["gradient_norm"])]
    names = [name for name in steps[0] if not name.startswith("num_")]
    values = {name: [float(step[name]) for step in finite] or [np.nan] for name in names}
    means = {name: float(np.mean(values[name])) for name in names}
    return means | {
        "learning_rate": float(steps[-1]["learning_rate"]),
        "loss_max": max(values["loss"]),
        "gradient_norm_max": max(values["gradient_norm"]),
        "num_skipped": int(steps[-1]["num_skipped"]),
    }
