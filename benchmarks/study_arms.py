"""What the study compares: a baseline, and arms that change one thing of it each."""

from collections.abc import Mapping
from typing import Any, NamedTuple

BASELINE = "baseline"


class Arm(NamedTuple):
    """A variant of configs/study.py; `changes` holds the fields that are not the baseline's."""

    name: str
    question: str
    """Empty for the baseline, which belongs to all questions."""
    label: str
    changes: Mapping[str, Any]


def _arms() -> list[Arm]:
    forcing, weight, schedule = "Teacher forcing", "KL weight", "KL schedule"
    start, decay = "teacher_forcing.start_decay_step", "teacher_forcing.decay_steps"
    lower, beta, rate = "teacher_forcing.lower_bound", "kl.weight", "optimizer.learning_rate"
    return [
        Arm(BASELINE, "", "baseline", {}),
        Arm("forcing_never", forcing, "never (free running)", {start: 0, decay: 0}),
        Arm("forcing_always", forcing, "always", {lower: 1.0}),
        Arm("forcing_half", forcing, "falls to 0.5", {lower: 0.5}),
        Arm("forcing_early", forcing, "falls from the first step", {start: 0}),
        Arm("beta_1e-6", weight, "β = 1e-6", {beta: 1e-6}),
        Arm("beta_1e-5", weight, "β = 1e-5", {beta: 1e-5}),
        Arm("beta_1e-2", weight, "β = 1e-2", {beta: 1e-2}),
        Arm("beta_linear", schedule, "linear", {"kl.schedule": "linear"}),
        Arm("beta_cyclical", schedule, "cyclical", {"kl.schedule": "cyclical"}),
        Arm("rate_5e-4", "Learning rate", "5e-4", {rate: 5e-4}),
        Arm("rate_5e-3", "Learning rate", "5e-3", {rate: 5e-3}),
        Arm("prior_learned", "Prior", "learned", {"model.prior": "learned"}),
        Arm("skip_latest", "Skips", "of the latest frame", {"model.last_frame_skip": True}),
    ]


ARMS = _arms()
"""The baseline first."""
BASELINE_LABELS = {
    "Teacher forcing": "from 1 to 0 over the middle third",
    "KL weight": "β = 1e-4",
    "KL schedule": "constant",
    "Learning rate": "2e-3",
    "Prior": "fixed",
    "Skips": "of the last context frame",
}
"""What the baseline is, in the terms of each question."""
