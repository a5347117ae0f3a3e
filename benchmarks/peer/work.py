"""SVG-FP's side of benchmarks/speed.py: `python -m benchmarks.peer.work`, told by its parent."""

import numpy as np
import torch

from benchmarks.clips import random_batch
from benchmarks.peer import rollout, train
from benchmarks.worker import MATMUL_SIZE, Work, serve


def make_work(*, kind: str, precision: str = "float32", **settings) -> Work:
    """`training`, `generation`, `evaluation` or `matmul`; see their functions for the settings."""
    torch.manual_seed(0)
    run = _matmul(precision) if kind == "matmul" else _of_model(kind, precision, **settings)
    on_gpu = torch.cuda.is_available()
    about = {
        "device": torch.cuda.get_device_name() if on_gpu else "cpu",
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    peak = (lambda: torch.cuda.max_memory_allocated() / 2**20) if on_gpu else (lambda: None)
    return Work(run, about, peak)


def _matmul(precision):
    """A product of two square matrices, for what the device can do at most."""
    torch.set_float32_matmul_precision("high")  # as the model's
    device = "cuda" if torch.cuda.is_available() else "cpu"
    size = MATMUL_SIZE["cpu" if device == "cpu" else "gpu"]
    a, b = torch.randn(2, size, size, device=device, dtype=getattr(torch, precision))

    def run():
        _ = a @ b
        if device == "cuda":
            torch.cuda.synchronize()

    return run


def _of_model(kind, precision, *, width, compiled=False, **settings):
    model = train.make_model(width=width, compiled=compiled, precision=precision)
    kinds = {"training": _training, "generation": _generation, "evaluation": _evaluation}
    return kinds[kind](model, **settings)


def _training(model, clips, context, predicted, free_running, targets_apart):
    assert context == rollout.NUM_CONTEXT_FRAMES
    batch = random_batch(clips, context + predicted)
    step = train.make_train_step(model, targets_apart=targets_apart)
    return lambda: step(batch, free_running).item()  # waits for the result


def _generation(model, clips, context, predicted, samples):
    video, action, position = random_batch(clips, context + predicted)
    return lambda: rollout.generate(model, video[:, :context], action, position, samples)


def _evaluation(model, clips, batch, context, predicted):
    video, action, position = random_batch(clips, context + predicted)
    parts = [slice(start, start + batch) for start in range(0, clips, batch)]

    def run():
        for part in parts:
            made = rollout.generate(model, video[part, :context], action[part], position[part])
            truth = video[part, context:].astype(np.float32) / 255.0
            error = np.square(made[:, 0] - truth).mean(axis=(-3, -2, -1))
            _ = -10.0 * np.log10(np.maximum(error, 1e-10))

    return run


if __name__ == "__main__":
    serve(make_work)
