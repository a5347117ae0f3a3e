"""How much of a model's error on simulated clips is chance, and how much is what the arm pushes.

    python -m benchmarks.chance --workdir=runs/pretrained

A simulated clip can be run again: the same scene and the same actions, but other masses, frictions
(which vary from frame to frame too) and centres of gravity. How much the runs differ is what nobody
can know who sees all of frame 0. Where the arm would press things into something, they stay.

And it can be drawn with its things where they are not: left where they lay in the last context
frame (where that differs from the truth, pushed things are, or were); in each frame carried by the
arm's whole step or resting, by the best such choices; or where they truly go. In none of them they
turn.
"""

import argparse
import dataclasses
import itertools
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from benchmarks import timing
from cvae_jax import evaluate, run_folder, sample, validation
from cvae_jax.config import EvalConfig, SampleConfig
from cvae_jax.data import pipeline
from cvae_jax.data.simulated_push import split_seeds
from cvae_jax.data.simulator import drawing, record
from cvae_jax.errors import UserError
from cvae_jax.files import write_json
from cvae_jax.logs import Progress

RESULTS = Path(__file__).parent / "results" / "chance.json"
NUM_CONTEXT, NUM_TARGETS = 2, 10
TARGETS = slice(NUM_CONTEXT, NUM_CONTEXT + NUM_TARGETS)
SPLIT = "test"
CHANGED = 0.05
"""A pixel is changed by a pushed thing where a channel differs by more, of a range of 1."""

Frames = UInt8[np.ndarray, "target height width 3"]


class Errors(NamedTuple):
    """Squared errors of a clip's targets, over the number of all pixels; pixels: a share."""

    model: float
    chance: float
    model_where_things_moved: float
    things_left_where_things_moved: float
    things_carried_where_things_moved: float
    things_not_turned_where_things_moved: float
    chance_where_things_moved: float
    pixels_where_things_moved: float


def main() -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--runs", type=int, default=8, help="with other hidden physics, of a clip")
    asked = parser.parse_args()
    try:
        print(measure(asked.workdir, asked.clips, asked.runs))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def measure(workdir: Path, num_clips: int, num_runs: int) -> str:
    """Measures the best checkpoint on the first test clips; a line for each figure.

    Raises:
      UserError: no run there, one that was not trained on simulated_push, or one whose predictions
        are not finite; or too few clips or runs.
    """
    if num_clips < 1 or num_runs < 2:
        raise UserError(f"--clips={num_clips} --runs={num_runs}: 1 clip and 2 runs at least")
    machine = timing.machine()
    run_info = run_folder.load(workdir)
    config = validation.from_config_dict(run_info["config"])
    config = dataclasses.replace(
        config,
        eval=EvalConfig(
            split=SPLIT, num_context_frames=NUM_CONTEXT, num_predicted_frames=NUM_TARGETS
        ),
        sample=SampleConfig(num_samples=1),
    )
    if config.data.source != "simulated_push":
        raise UserError(f"{workdir}: was trained on {config.data.source}, not simulated_push")
    source = run_folder.open_clips(run_info, config)
    num_clips = min(num_clips, len(source))
    seeds = split_seeds({"train": 0, "validation": 0, SPLIT: num_clips})[SPLIT]
    state, step = evaluate.restore(workdir, config, "best")
    batch = pipeline.read_clips(source, range(num_clips), num_frames=TARGETS.stop)
    found = []
    with Progress(num_clips, description="run again", frames_per_step=TARGETS.stop) as bar:
        predicted = sample.make_predict(config)(state.params, batch)
        try:
            for seed, truth, samples in zip(seeds, batch.video, predicted, strict=True):
                found.append(of_clip(seed, truth, samples[0], num_runs))
                bar.advance()
        except FloatingPointError as error:
            raise evaluate.not_finite(workdir, step, str(error)) from error
    means = Errors(*np.mean(found, axis=0).tolist())
    about = {
        "machine": machine,
        "checkpoint_step": step,
        "num_clips": num_clips,
        "num_runs": num_runs,
    }
    write_json(RESULTS, about | means._asdict())
    *errors, pixels = means._asdict().items()
    lines = [f"{name.replace('_', ' ')}: {value * 1e4:.2f}e-4" for name, value in errors]
    return "\n".join([*lines, f"{pixels[0].replace('_', ' ')}: {pixels[1]:.1%}"])


def of_clip(
    seed: int, truth: UInt8[np.ndarray, "time _ _ 3"], predicted: Frames, num_runs: int
) -> Errors:
    """The errors of one clip, whose `truth` is that of the simulator's `seed`.

    Raises:
      UserError: it is not.
    """
    happened = record.simulate(seed)
    true = _drawn(happened)
    if not np.array_equal(true, truth[NUM_CONTEXT:]):
        raise UserError(f"simulated_push: the clip of seed {seed} is another one than in the data")
    left, carried, not_turned = (
        _drawn(happened._replace(objects=objects))
        for objects in (_left(happened), _carried(happened), _not_turned(happened))
    )
    runs = np.stack(
        [
            _drawn(record.simulate(seed, hidden_seed=number, action=happened.action))
            for number in _hidden_seeds(seed, num_runs)
        ]
    )
    model, wrong_left, *wrong = (
        np.square((frames.astype(float) - true) / 255.0)
        for frames in (predicted, left, carried, not_turned)
    )
    variance = (runs / 255.0).var(axis=0, ddof=1)
    moved = (wrong_left > CHANGED**2).any(axis=-1, keepdims=True)
    where_moved = [(error * moved).mean() for error in (model, wrong_left, *wrong, variance)]
    return Errors(model.mean(), variance.mean(), *where_moved, moved.mean())


def _left(run):
    """Where things are if they stay as they are in the last context frame."""
    objects = run.objects.copy()
    objects[NUM_CONTEXT:] = objects[NUM_CONTEXT - 1]
    return objects


def _carried(run):
    """Where they are if each goes in each frame by the arm's step in x and y, or rests.

    Of all such choices those that bring a thing nearest to its true places (least squares).
    """
    arm = np.diff(_ways(run.gripper), axis=0, prepend=0.0)
    choices = np.array(list(itertools.product((0.0, 1.0), repeat=NUM_TARGETS)))
    carried = np.cumsum(choices[..., None] * arm, axis=1)
    objects = _left(run)
    for thing, true in enumerate(_ways(run.objects).swapaxes(0, 1)):
        best = np.square(carried - true).sum(axis=(1, 2)).argmin()
        objects[TARGETS, thing, :2] += carried[best]
    return objects


def _not_turned(run):
    """Where they are if they go where they truly go, held as in the last context frame."""
    objects = run.objects.copy()
    objects[NUM_CONTEXT:, :, 2] = objects[NUM_CONTEXT - 1, :, 2]
    return objects


def _ways(poses):
    """The way in x and y from the last context frame to each target."""
    return poses[TARGETS, ..., :2] - poses[NUM_CONTEXT - 1, ..., :2]


def _hidden_seeds(seed, count):
    """Seeds that no clip has."""
    first = 10**9 + seed * count
    return range(first, first + count)


def _drawn(run: record.Run) -> Frames:
    """The targets of a run."""
    return drawing.draw(run.layout, run.gripper[TARGETS], run.objects[TARGETS])


if __name__ == "__main__":
    sys.exit(main())
