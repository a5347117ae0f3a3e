"""Whether a model ranks plans of what the arm may do as what they lead to ranks them.

    python -m benchmarks.planning                       # the model that comes with the project
    python -m benchmarks.planning --workdir=runs/mine

This is visual foresight (Finn & Levine 2017) on simulated clips of the test split: of several plans
that is chosen whose last predicted frame is nearest to a goal frame, by squared error. All plans
are then carried out in the simulator, with the clip's hidden physics. The goal is what the clip's
own actions lead to. They are none of the plans: half are variations of them, half the actions of
other clips.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Float32, UInt8
from scipy import stats

from benchmarks import timing
from benchmarks.worker import ROOT
from cvae_jax import trained, video
from cvae_jax.data import simulator
from cvae_jax.data.simulated_push import split_seeds
from cvae_jax.data.simulator import drawing, record
from cvae_jax.errors import UserError
from cvae_jax.files import write_json
from cvae_jax.logs import Progress
from cvae_jax.types import to_uint8

RESULTS = Path(__file__).parent / "results" / "planning.json"
PICTURE = ROOT / "docs" / "planning.png"
NUM_CONTEXT, LENGTH = 2, 12
HOLD = 4
"""Frames for which a variation stays the same, as the simulator's own plans do."""
VARIATION = 0.6
"""Its standard deviation; a part of an action is within -1 and 1."""
NUM_SHOWN = 8

Plans = Float32[np.ndarray, "plan time 4"]


class Outcome(NamedTuple):
    """What actions lead to: the last frame, the things' places at it, and all of the arm's."""

    frame: UInt8[np.ndarray, "height width 3"]
    things: Float[np.ndarray, "prisms 2"]
    position: Float32[np.ndarray, "time 3"]


class Choice(NamedTuple):
    """How good the plan is that was chosen in a clip.

    num_better: how many plans have a smaller error. Errors are squared ones of the frame that a
    plan leads to, from the goal; distances those of the things from their places at the goal, in
    sum, where 1 is the reach of the arm. `best` is the plan of the least error, `mean` is over all
    plans.
    """

    rank_correlation: float
    num_better: float
    error_chosen: float
    error_best: float
    error_mean: float
    distance_chosen: float
    distance_best: float
    distance_mean: float


def main() -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workdir", help="of a run; else the model that comes with the project")
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--plans", type=int, default=48, help="in each clip")
    asked = parser.parse_args()
    try:
        print(measure(asked.workdir, asked.clips, asked.plans))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def measure(workdir: str | None, num_clips: int, num_plans: int) -> str:
    """Chooses in the first test clips; writes figures and picture, returns a line for each figure.

    Raises:
      UserError: no run there, or one that was not trained on simulated_push; too few clips or
        plans.
    """
    if num_clips < 1 or num_plans < 2:
        raise UserError(f"--clips={num_clips} --plans={num_plans}: 1 clip and 2 plans at least")
    machine = timing.machine()
    model = trained.load(workdir)
    if model.config.data.source != "simulated_push":
        raise UserError(
            f"--workdir={workdir}: was trained on {model.config.data.source}, not simulated_push"
        )
    seeds = split_seeds({"train": 0, "validation": 0, "test": 2 * num_clips})["test"]
    others = np.stack([record.simulate(seed).action[:LENGTH] for seed in seeds[num_clips:]])
    predict, choices, pictures = make_predict(model), [], []
    with Progress(num_clips, description="choose", frames_per_step=num_plans * LENGTH) as bar:
        for seed in seeds[:num_clips]:
            choice, picture = choose(predict, seed, make_plans(seed, others, num_plans))
            choices.append(choice)
            pictures.append(picture)
            bar.advance()
    figures = {
        "share_of_clips_with_the_best_chosen": np.mean([c.num_better == 0 for c in choices]).item(),
        **Choice(*np.mean(choices, axis=0).tolist())._asdict(),
    }
    about = {"machine": machine, "checkpoint_step": model.step}
    write_json(RESULTS, {**about, "num_clips": num_clips, "num_plans": num_plans, **figures})
    video.write_png(PICTURE, np.concatenate(pictures[:NUM_SHOWN], axis=1))
    return "\n".join(f"{name.replace('_', ' ')}: {value:.4f}" for name, value in figures.items())


def make_plans(seed: int, others: Plans, count: int) -> Plans:
    """Half variations of what is done in the simulator's clip, half actions of `others`.

    All begin with the clip's own first action, which led to the last context frame.
    """
    rng = np.random.default_rng(seed)
    own = record.simulate(seed).action[:LENGTH]
    changes = rng.normal(0.0, VARIATION, (count - count // 2, LENGTH // HOLD, own.shape[1]))
    varied = np.clip(own + changes.repeat(HOLD, axis=1), -1.0, 1.0)
    plans = np.concatenate([varied, others[rng.integers(len(others), size=count // 2)]])
    plans[:, : NUM_CONTEXT - 1] = own[: NUM_CONTEXT - 1]
    return plans.astype(np.float32)


def make_predict(model: trained.Trained) -> Callable[..., Float[Array, "plan height width 3"]]:
    """`predict(context, plans, positions)`: the last frame of each, all by the same latents."""

    def of_plan(context, plan, position):
        return model.predict(jax.random.key(0), context[None], plan[None], position[None])[0, 0, -1]

    return jax.jit(jax.vmap(of_plan, in_axes=(None, 0, 0)))


def choose(predict: Callable, seed: int, plans: Plans) -> tuple[Choice, video.Picture]:
    """Chooses a plan in the simulator's clip by `make_predict`, and carries all of them out.

    The picture has, from above, the last context frame, the goal, and what the chosen plan leads
    to: as predicted, and in truth.
    """
    own = record.simulate(seed)
    context = drawing.draw(own.layout, own.gripper[:NUM_CONTEXT], own.objects[:NUM_CONTEXT])
    goal, outcomes = carry_out(seed, own.action), [carry_out(seed, plan) for plan in plans]
    predicted = predict(context, plans, np.stack([outcome.position for outcome in outcomes]))
    expected = _errors(to_uint8(predicted), goal)
    errors = _errors([outcome.frame for outcome in outcomes], goal)
    distances = np.array(
        [np.linalg.norm(outcome.things - goal.things, axis=1).sum() for outcome in outcomes]
    )
    chosen, best = expected.argmin(), errors.argmin()
    choice = Choice(
        stats.spearmanr(expected, errors).statistic,
        (errors < errors[chosen]).sum(),
        *(errors[chosen], errors[best], errors.mean()),
        *(distances[chosen], distances[best], distances.mean()),
    )
    told = np.asarray(to_uint8(predicted[chosen]))
    rows = [
        (context[-1], video.GREEN),
        (goal.frame, video.GREY),
        (told, video.RED),
        (outcomes[chosen].frame, video.GREY),
    ]
    return choice, np.concatenate([_framed(frame, colour) for frame, colour in rows])


def carry_out(seed: int, plan: Float32[np.ndarray, "_ 4"]) -> Outcome:
    """What the first actions of a plan lead to in the simulator's clip."""
    action = np.zeros((simulator.NUM_FRAMES, plan.shape[1]), np.float32)
    action[:LENGTH] = plan[:LENGTH]
    run = record.simulate(seed, action=action)
    gripper, things = run.gripper[:LENGTH], run.objects[:LENGTH]
    (frame,) = drawing.draw(run.layout, gripper[-1:], things[-1:])
    return Outcome(frame, things[-1, :, :2], gripper[:, :3].astype(np.float32))


def _framed(frame, colour):
    enlarged = frame.repeat(2, axis=0).repeat(2, axis=1)
    return video.frame_with_border(enlarged[None], 0, colour)[0]


def _errors(frames, goal):
    difference = (np.asarray(frames, np.float32) - goal.frame) / 255.0
    return np.square(difference).mean(axis=(1, 2, 3))


if __name__ == "__main__":
    sys.exit(main())
