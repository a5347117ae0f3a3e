"""Measures the PyTorch peer and prints JSON; run by test_peer.py with a Python that has PyTorch."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import clips
from benchmarks.peer import learn, rollout, train
from benchmarks.peer.model import SVG


def _multiply_adds(network, *arguments):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(*arguments)
    return counter.get_total_flops() // 2


def _counts(width):
    model = SVG(width)
    frame = torch.rand(1, 3, 64, 64)
    skips = [torch.rand(1, w * width, 64 // w, 64 // w) for w in (1, 2, 4, 8)]
    predictor_state, posterior_state = model.initial_states(1)
    arguments = {
        "encoder": (frame,),
        "decoder": (torch.rand(1, 128), skips),
        "predictor": (torch.rand(1, 128 + 64 + 7), predictor_state),
        "posterior": (torch.rand(1, 128 + 7), posterior_state),
    }
    return {
        name: {
            "parameters": sum(p.numel() for p in getattr(model, name).parameters()),
            "multiply_adds": _multiply_adds(getattr(model, name), *values),
        }
        for name, values in arguments.items()
    }


def _batch(clips, frames):
    rng = np.random.default_rng(0)
    video = np.full((clips, frames, 64, 64, 3), 60, np.uint8)
    for time in range(frames):
        video[:, time, 20:40, 8 * time : 8 * time + 16] = 220
    action, position = (rng.normal(size=(clips, frames, n)).astype(np.float32) for n in (4, 3))
    return video, action, position


class _Counted:
    """How many batches of frames pass a network in one step, and gradients of its results back."""

    def __init__(self, network):
        self.forward = self.backward = 0
        network.register_forward_hook(self._count)

    def _count(self, _, inputs, outputs):
        self.forward += 1
        result = outputs[0] if isinstance(outputs, tuple) else outputs
        self.type = str(result.dtype)
        if result.requires_grad:
            result.register_hook(self._count_backward)

    def _count_backward(self, _):
        self.backward += 1


def _step(*, targets_apart, free_running, precision="float32"):
    """One training step, and 15 more, of a small model."""
    torch.manual_seed(0)
    model = train.make_model(width=4, compiled=False, precision=precision)
    encoded, decoded = _Counted(model.encoder), _Counted(model.decoder)
    before = [p.detach().clone() for p in model.parameters()]
    step = train.make_train_step(model, targets_apart=targets_apart)
    batch = _batch(3, 6)
    losses = [float(step(batch, free_running))]
    calls = [encoded.forward, decoded.forward, encoded.backward, decoded.backward]
    gradients = {name: float(p.grad.abs().max()) for name, p in model.named_parameters()}
    moved = all((a != b).any() for a, b in zip(before, model.parameters(), strict=True))
    losses += [float(step(batch, free_running)) for _ in range(15)]
    return {
        "calls": calls,
        "without_gradient": [name for name, size in gradients.items() if not 0 < size < 1e9],
        "moved": moved,
        "losses": losses,
        "types": [encoded.type, decoded.type, *{str(p.dtype) for p in model.parameters()}],
    }


def _generated():
    torch.manual_seed(0)
    model = train.make_model(width=4, compiled=False)
    video, action, position = _batch(2, 6)
    step = train.make_train_step(model, targets_apart=False)
    for _ in range(40):  # until BatchNorm's running averages suit the weights
        step((video, action, position), False)
    frames = rollout.generate(model, video[:, :2], action, position, num_samples=3)
    return {
        "shape": frames.shape,
        "range": [float(frames.min()), float(frames.max())],
        "samples_differ": bool((frames[:, 0] != frames[:, 1]).any()),
    }


def _conditions():
    action = np.arange(1, 5, dtype=np.float32).reshape(1, 4, 1)
    conditions = rollout.as_conditions(action, 10 * action, torch.device("cpu"))
    return torch.stack(conditions, dim=1).tolist()


def _what_changes(targets_apart):
    """Whether the last target's pixels change earlier predictions and its own, and other noise."""
    video, action, position = _batch(2, 6)
    changed = video.copy()
    changed[:, -1] = 255 - changed[:, -1]
    predictions = []
    for clip, noise_seed in ((video, 1), (changed, 1), (video, 2)):
        torch.manual_seed(0)
        model = train.make_model(width=4, compiled=False)
        device = next(model.parameters()).device
        torch.manual_seed(noise_seed)
        with torch.no_grad():
            result = rollout.training_rollout(
                model,
                rollout.as_frames(clip, device),
                rollout.as_conditions(action, position, device),
                free_running=False,
                targets_apart=targets_apart,
            )
        predictions.append(torch.stack(result.frames))
    first, second, resampled = predictions
    return {
        "earlier": bool((first[:-1] != second[:-1]).any()),
        "last": bool((first[-1] != second[-1]).any()),
        "noise": bool((first != resampled).any()),
    }


def _learned():
    """What the peer's side of benchmarks/quality.py leaves, and where its windows come from."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for split, count in (("train", 5), ("test", 3)):
            for kind, array in zip(clips.NAMES, clips.random_batch(count, 8), strict=True):
                np.save(clips.path(folder, split, kind), array)
        asked = {"name": "a", "split": "test", "num_clips": 3, "num_samples": 2, "predicted": 4}
        command = [sys.executable, "-m", "benchmarks.peer.learn", f"--data={name}", f"--out={name}"]
        command += ["--seconds=1", "--width=4", "--batch_size=2", "--predicted=3"]
        subprocess.run([*command, f"--predictions={json.dumps([asked])}"], check=True)
        predicted = np.load(folder / "predictions_a.npy")
        arrays = clips.load(folder, "train")
        batch = next(learn._batches(folder, 5, 6, seed=0))
        learned = json.loads((folder / "learned.json").read_text())
    places = [_place(window, arrays) for window in zip(*batch, strict=True)]
    return {
        "learned": learned,
        "shape": predicted.shape,
        "type": predicted.dtype.name,
        "clips": sorted(clip for clip, _ in places),
        "starts": sorted({start for _, start in places}),
    }


def _place(window, arrays):
    """Clip and first frame of a window, the same in all arrays."""
    length = len(window[0])
    (place,) = [
        (clip, start)
        for clip in range(len(arrays[0]))
        for start in range(arrays[0].shape[1] - length + 1)
        if all(
            np.array_equal(part, whole[clip, start : start + length])
            for part, whole in zip(window, arrays, strict=True)
        )
    ]
    return place


def main():
    """Everything, as one line."""
    torch.set_num_threads(1)
    ways = [(apart, free) for apart in (False, True) for free in (False, True)]
    measured = {
        "counts": {width: _counts(width) for width in (64, 16)},
        "steps": {
            f"{'lab' if apart else 'published'}, {'free' if free else 'forced'}": _step(
                targets_apart=apart, free_running=free
            )
            for apart, free in ways
        }
        | {"bfloat16": _step(targets_apart=False, free_running=False, precision="bfloat16")},
        "generated": _generated(),
        "learned": _learned(),
        "conditions": _conditions(),
        "changes": [_what_changes(apart) for apart in (False, True)],
    }
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
