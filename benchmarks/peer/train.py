"""Training of SVG-FP: the loss of the paper, Adam, one step or as many as fit in a time."""

import time
from collections.abc import Callable, Iterator

import numpy as np
import torch

from benchmarks.peer import rollout
from benchmarks.peer.model import SVG

LEARNING_RATE = 2e-3
KL_WEIGHT = 1e-4
Batch = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Video uint8 (batch, time, 64, 64, 3), action (batch, time, 4), position (batch, time, 3)."""


def make_model(*, width: int, compiled: bool, precision="float32", **dims: int) -> SVG:
    """SVG on the GPU if there is one; `compiled`: its networks run through torch.compile.

    A GPU tries cuDNN's algorithms and keeps the fastest; products of float32 are TF32 there.
    """
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    model = SVG(width, precision=precision, **dims)
    model = model.to("cuda" if torch.cuda.is_available() else "cpu")
    if compiled:
        for network in model.children():
            network.compile()
    return model


def loss_of(result: rollout.Rollout, video: list[torch.Tensor]) -> torch.Tensor:
    """Mean squared error + beta * KL, both summed over time (Denton & Fergus 2018, eq. 2).

    The error is a mean over clips, pixels and channels; KL is summed over the latent's
    dimensions and a mean over clips.
    """
    error = sum(map(torch.nn.functional.mse_loss, result.frames, video[1:]))
    mean, logvar = torch.stack(result.means), torch.stack(result.logvars)
    kl = -0.5 * (1.0 + logvar - mean.square() - logvar.exp()).sum(dim=(0, 2)).mean()
    return error + KL_WEIGHT * kl


def make_train_step(model: SVG, *, targets_apart: bool) -> Callable[..., torch.Tensor]:
    """`step(batch, free_running)` updates the model and returns the loss, still on the device."""
    device = next(model.parameters()).device
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)

    def step(batch: Batch, free_running: bool) -> torch.Tensor:
        model.train()
        video, action, position = batch
        frames = rollout.as_frames(video, device)
        with model.autocast():
            result = rollout.training_rollout(
                model,
                frames,
                rollout.as_conditions(action, position, device),
                free_running=free_running,
                targets_apart=targets_apart,
            )
            loss = loss_of(result, frames)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def train(
    step: Callable[..., torch.Tensor],
    batches: Iterator[Batch],
    seconds: float,
) -> list[float]:
    """Teacher-forced steps, as published, until the time is over; every step's loss."""
    losses, end = [], time.monotonic() + seconds
    for batch in batches:
        if time.monotonic() >= end:
            break
        losses.append(float(step(batch, False)))
    return losses
