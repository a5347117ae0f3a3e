"""Whether predictions rank plans of what the arm may do as what the plans lead to ranks them.

    python -m benchmarks.planning                       # the model that comes with the project
    python -m benchmarks.planning --workdir=runs/mine   # prints only

This is visual foresight (Finn & Levine 2017) on simulated clips of the test split: the plan is
taken whose last predicted frame is nearest to a goal frame, by squared error. The goal is what the
clip's own actions lead to, and the plans are variations of them. All are then carried out in the
simulator, with the clip's hidden physics. Beside the model stand who draws the arm where each plan
leads it and leaves all objects where they lay, and who knows the true frames.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, UInt8
from scipy import stats

from benchmarks import timing
from benchmarks.worker import ROOT
from cvae_jax import summary, trained, video
from cvae_jax.data import simulator
from cvae_jax.data.simulated_push import split_seeds
from cvae_jax.data.simulator import drawing, record
from cvae_jax.errors import UserError
from cvae_jax.files import write_json
from cvae_jax.logs import Progress
from cvae_jax.types import to_uint8, to_unit_range

RESULTS = Path(__file__).parent / "results" / "planning.json"
PICTURE = ROOT / "docs" / "planning.png"
NUM_CONTEXT_FRAMES, NUM_FRAMES = 2, 12
HOLD = 4
"""Frames for which a variation stays the same."""
VARIATION = 0.6
"""Its standard deviation; a part of an action is within -1 and 1."""
NUM_SHOWN = 8

Plans = Float32[np.ndarray, "plan time 4"]


class Outcome(NamedTuple):
    """What a plan leads to in a clip.

    frame: the last one; left: the same, had no object moved after the context. objects: their
    places at it, in world units; start: at the last context frame. position: the arm's.
    """

    frame: UInt8[np.ndarray, "height width 3"]
    left: UInt8[np.ndarray, "height width 3"]
    objects: Float[np.ndarray, "objects 2"]
    start: Float[np.ndarray, "objects 2"]
    position: Float32[np.ndarray, "time 3"]


def main() -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workdir", help="of a run; else the model that comes with the project")
    parser.add_argument("--clips", type=int, default=256)
    parser.add_argument("--plans", type=int, default=48, help="in each clip")
    asked = parser.parse_args()
    try:
        print(measure(asked.workdir, asked.clips, asked.plans))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def measure(workdir: str | None, num_clips: int, num_plans: int) -> str:
    """Chooses in the first test clips; returns a line for each figure.

    With the 95 % interval, over clips, of how much nearer the model's choice brings objects to
    their places than that by the arm alone. Figures and picture are written too, if they are of
    the model that comes with the project.

    Raises:
      UserError: no run there, or one that was not trained on simulated_push; too few clips or
        plans.
    """
    if num_clips < 2 or num_plans < 2:
        raise UserError(f"--clips={num_clips} --plans={num_plans}: 2 clips and 2 plans at least")
    machine = timing.machine()
    model = trained.load(workdir)
    if model.config.data.source != "simulated_push":
        raise UserError(
            f"--workdir={workdir}: was trained on {model.config.data.source}, not simulated_push"
        )
    seeds = split_seeds({"train": 0, "validation": 0, "test": num_clips})["test"]
    predict, choices, pictures = make_predict(model), [], []
    with Progress(num_clips, description="choose", frames_per_step=num_plans * NUM_FRAMES) as bar:
        for seed in seeds:
            choice, picture = choose(predict, seed, make_plans(seed, num_plans))
            choices.append(choice)
            pictures.append(picture)
            bar.advance()
    figures = jax.tree.map(lambda *values: float(np.mean(values)), *choices)
    gain = np.array([c["objects_left"]["distance"] - c["model"]["distance"] for c in choices])
    low, high = summary.interval(gain).tolist()
    figures["gain_over_objects_left"] = {
        "distance": float(gain.mean()),
        "distance_low": low,
        "distance_high": high,
    }
    if workdir is None:
        about = {"machine": machine, "checkpoint_step": model.step}
        write_json(RESULTS, {**about, "num_clips": num_clips, "num_plans": num_plans, **figures})
        video.write_png(PICTURE, np.concatenate(pictures[:NUM_SHOWN], axis=1))
    return "\n".join(
        f"{who.replace('_', ' ')}: {what.replace('_', ' ')} {value:.4f}"
        for who, found in figures.items()
        for what, value in found.items()
    )


def make_predict(model: trained.Trained) -> Callable[..., Float[Array, "plan height width 3"]]:
    """`predict(context, plans, positions)`: the last frame of each, all by the same latents."""

    def of_plan(context, plan, position):
        return model.predict(jax.random.key(0), context[None], plan[None], position[None])[0, 0, -1]

    return jax.jit(jax.vmap(of_plan, in_axes=(None, 0, 0)))


def make_plans(seed: int, count: int) -> Plans:
    """Variations of what is done in the simulator's clip; all lead to the same context."""
    own = record.simulate(seed).action[:NUM_FRAMES]
    rng = np.random.default_rng(seed)
    changes = rng.normal(0.0, VARIATION, (count, NUM_FRAMES // HOLD, own.shape[1]))
    plans = np.clip(own + changes.repeat(HOLD, axis=1), -1.0, 1.0).astype(np.float32)
    plans[:, : NUM_CONTEXT_FRAMES - 1] = own[: NUM_CONTEXT_FRAMES - 1]
    return plans


def choose(
    predict: Callable, seed: int, plans: Plans
) -> tuple[dict[str, dict[str, Any]], video.Picture]:
    """Takes a plan in the simulator's clip as `make_predict` tells, and carries all of them out.

    Of the plan that each takes: the squared error of the frame that it leads to, from the goal;
    how many plans have a smaller one; and the objects' distances from their places at the goal, in
    sum and world units. Of all plans: the correlation of their ranks by what is expected and by
    what comes.

    The picture has, from above, the last context frame, the goal, and what the plan that is taken
    leads to: as predicted, and in truth.
    """
    own = record.simulate(seed)
    context = drawing.draw(
        own.layout, own.gripper[:NUM_CONTEXT_FRAMES], own.objects[:NUM_CONTEXT_FRAMES]
    )
    goal, outcomes = carry_out(seed, own.action), [carry_out(seed, plan) for plan in plans]
    predicted = predict(context, plans, np.stack([outcome.position for outcome in outcomes]))
    predicted = np.asarray(to_uint8(predicted))
    errors = _errors([outcome.frame for outcome in outcomes], goal)
    distances = np.array([_distance(outcome.objects, goal) for outcome in outcomes])

    def taken(expected):
        plan = expected.argmin()
        better = (errors < errors[plan]).sum()
        return {
            "rank_correlation": stats.spearmanr(expected, errors).statistic,
            "best_taken": better == 0,
            "num_better": better,
            "squared_error": errors[plan],
            "distance": distances[plan],
        }

    expected = _errors(predicted, goal)
    found = {
        "model": taken(expected),
        "objects_left": taken(_errors([outcome.left for outcome in outcomes], goal)),
        "true_frames": taken(errors),
        "any_plan": {"squared_error": errors.mean(), "distance": distances.mean()},
        "nearest_objects": {"distance": distances.min()},
        "context": {"distance": _distance(goal.start, goal)},
    }
    chosen = expected.argmin()
    rows = [
        (context[-1], video.GREEN),
        (goal.frame, video.GREY),
        (predicted[chosen], video.RED),
        (outcomes[chosen].frame, video.GREY),
    ]
    return found, np.concatenate(
        [video.panel(frame[None], 0, colour, scale=2)[0] for frame, colour in rows]
    )


def carry_out(seed: int, plan: Float32[np.ndarray, "_ 4"]) -> Outcome:
    """What the first actions of a plan lead to in the simulator's clip."""
    action = np.zeros((simulator.NUM_FRAMES, plan.shape[1]), np.float32)
    action[:NUM_FRAMES] = plan[:NUM_FRAMES]
    run = record.simulate(seed, action=action)
    gripper, end, start = run.gripper[:NUM_FRAMES], NUM_FRAMES - 1, NUM_CONTEXT_FRAMES - 1
    frame, left = drawing.draw(run.layout, gripper[[end, end]], run.objects[[end, start]])
    places = run.objects[..., :2]
    return Outcome(frame, left, places[end], places[start], gripper[:, :3].astype(np.float32))


def _distance(objects, goal):
    return np.linalg.norm(objects - goal.objects, axis=1).sum()


def _errors(frames, goal):
    frames, wanted = (to_unit_range(jnp.asarray(x)) for x in (np.stack(frames), goal.frame))
    return np.asarray(jnp.square(frames - wanted).mean(axis=(1, 2, 3)))


if __name__ == "__main__":
    sys.exit(main())
