"""SVG-FP's side of benchmarks/quality.py: learns for a time, then predicts.

    python -m benchmarks.peer.learn --data=FOLDER --out=FOLDER --seconds=600

FOLDER holds the clips as arrays (benchmarks/clips.py). The clock runs from the first step on;
starting Python and reading the files come before it.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from benchmarks import clips
from benchmarks.peer import rollout, train

_CLIPS_AT_ONCE = 8


def main() -> None:
    """Trains; `predictions_NAME.npy` and `learned.json` are what is left of it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch_size", type=int, default=12)
    parser.add_argument("--predicted", type=int, default=10, help="frames in training")
    parser.add_argument("--predictions", type=json.loads, required=True, help="a list of objects")
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    action_dim, position_dim = (clips.load(arguments.data, "train")[n].shape[-1] for n in (1, 2))
    model = train.make_model(
        width=arguments.width, compiled=False, condition_dim=action_dim + position_dim
    )
    frames = rollout.NUM_CONTEXT_FRAMES + arguments.predicted
    batches = _batches(arguments.data, arguments.batch_size, frames, arguments.seed)
    step = train.make_train_step(model, targets_apart=False)
    start = time.monotonic()
    losses = train.train(step, batches, arguments.seconds)
    minutes = (time.monotonic() - start) / 60.0
    learned = {"steps": len(losses), "minutes": minutes, "last_loss": float(losses[-1])}
    (arguments.out / "learned.json").write_text(json.dumps(learned))
    for one in arguments.predictions:
        predicted = _predict(model, clips.load(arguments.data, one["split"]), **one)
        np.save(arguments.out / f"predictions_{one['name']}.npy", predicted)


def _batches(folder: Path, size: int, frames: int, seed: int) -> Iterator[train.Batch]:
    """Endless batches of random clips, in a new order every epoch, from a random frame on."""
    arrays = clips.load(folder, "train")
    count, length = arrays[0].shape[:2]
    rng = np.random.default_rng(seed)
    order = np.empty(0, np.int64)
    while True:
        while len(order) < size:
            order = np.concatenate([order, rng.permutation(count)])
        chosen, order = order[:size], order[size:]
        starts = rng.integers(length - frames + 1, size=size)
        places = chosen[:, None], starts[:, None] + np.arange(frames)
        video, action, position = (array[places] for array in arrays)
        yield video, action, position


def _predict(model, arrays, *, num_clips, num_samples, predicted, **_) -> np.ndarray:
    """uint8 (clip, sample, target, 64, 64, 3) after the context, latents from the prior."""
    length = rollout.NUM_CONTEXT_FRAMES + predicted
    found = []
    for start in range(0, num_clips, _CLIPS_AT_ONCE):
        part = slice(start, min(start + _CLIPS_AT_ONCE, num_clips))
        video, action, position = (array[part, :length] for array in arrays)
        context = video[:, : rollout.NUM_CONTEXT_FRAMES]
        made = rollout.generate(model, context, action, position, num_samples)
        found.append(np.round(made.clip(0.0, 1.0) * 255.0).astype(np.uint8))
    return np.concatenate(found)


if __name__ == "__main__":
    main()
