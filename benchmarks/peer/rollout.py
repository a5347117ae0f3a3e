"""SVG-FP over time: the loops of training and of generation.

Frames are numbered from 0; all but the first are targets. Videos are uint8
(batch, time, 64, 64, 3), `action[:, t]` leads from frame t to frame t + 1.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.peer.model import SVG

NUM_CONTEXT_FRAMES = 2


class Rollout(NamedTuple):
    """Predictions and posteriors of the targets, a list over time each."""

    frames: list[Tensor]
    means: list[Tensor]
    logvars: list[Tensor]


def as_frames(video: np.ndarray, device: torch.device) -> list[Tensor]:
    """Each time's frames, (batch, 3, height, width) in [0, 1], channels innermost in memory."""
    frames = torch.from_numpy(np.ascontiguousarray(video.swapaxes(0, 1))).to(device)
    return list((frames.float() / 255.0).permute(0, 1, 4, 2, 3).unbind())


def as_conditions(action: np.ndarray, position: np.ndarray, device: torch.device) -> list[Tensor]:
    """Each time's action that led to the frame (none to the first) and position at the frame."""
    leading = np.concatenate([np.zeros_like(action[:, :1]), action[:, :-1]], axis=1)
    conditions = np.concatenate([leading, position], axis=-1).astype(np.float32)
    return list(torch.from_numpy(conditions.swapaxes(0, 1).copy()).to(device).unbind())


def training_rollout(
    model: SVG,
    video: list[Tensor],
    conditions: list[Tensor],
    *,
    free_running: bool,
    targets_apart: bool,
) -> Rollout:
    """Predicts frames 1 .. T-1 with latents from the posterior.

    With `free_running` the predicted frame is encoded, after the context, in place of the true
    one. With `targets_apart` every target is encoded for the posterior and, one step later, once
    more as an input (the lab's code); otherwise each true frame is encoded once (as published).
    """
    result = Rollout([], [], [])
    predictor_state, posterior_state = model.initial_states(len(video[0]))
    known = [] if targets_apart else [model.encoder(frame) for frame in video]
    frame, skips = video[0], []
    for time in range(1, len(video)):
        in_context = time <= NUM_CONTEXT_FRAMES
        if known and (in_context or not free_running):
            h, latest_skips = known[time - 1]
        else:
            h, latest_skips = model.encoder(frame)
        skips = latest_skips if in_context else skips
        target_h = known[time][0] if known else model.encoder(video[time])[0]

        condition = conditions[time]
        given = torch.cat([target_h, condition], dim=1)
        mean, logvar, posterior_state = model.posterior(given, posterior_state)
        z = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)
        g, predictor_state = model.predictor(torch.cat([h, z, condition], dim=1), predictor_state)
        prediction = model.decoder(g, skips)

        for values, value in zip(result, (prediction, mean, logvar), strict=True):
            values.append(value)
        frame = video[time] if time < NUM_CONTEXT_FRAMES or not free_running else prediction
    return result


@torch.inference_mode()
def generate(
    model: SVG, context: np.ndarray, action: np.ndarray, position: np.ndarray, num_samples=1
) -> np.ndarray:
    """(batch, sample, target, 64, 64, 3) in [0, 1] after the context, latents from N(0, I).

    The networks read the context once for all samples, with the posterior's mean as the latent;
    then each predicted frame is encoded, as the authors' generate_svg_fp.py does. `action` and
    `position` are as long as context and targets together.
    """
    model.eval()
    with model.autocast():
        return _generate(model, context, action, position, num_samples)


def _generate(model, context, action, position, num_samples):
    device = next(model.parameters()).device
    video, conditions = as_frames(context, device), as_conditions(action, position, device)
    predictor_state, posterior_state = model.initial_states(len(context))
    encoded = [model.encoder(frame) for frame in video]
    for time in range(1, len(video)):
        given = torch.cat([encoded[time][0], conditions[time]], dim=1)
        mean, _, posterior_state = model.posterior(given, posterior_state)
        given = torch.cat([encoded[time - 1][0], mean, conditions[time]], dim=1)
        _, predictor_state = model.predictor(given, predictor_state)

    def for_samples(x: Tensor) -> Tensor:
        return x.repeat_interleave(num_samples, dim=0)

    h, skips = encoded[-1]
    h, skips = for_samples(h), [for_samples(skip) for skip in skips]
    state = [(for_samples(out), for_samples(memory)) for out, memory in predictor_state]
    frames = []
    for condition in map(for_samples, conditions[len(video) :]):
        h = model.encoder(frames[-1])[0] if frames else h
        z = torch.randn(len(h), model.z_dim, device=device)
        g, state = model.predictor(torch.cat([h, z, condition], dim=1), state)
        frames.append(model.decoder(g, skips))
    made = torch.stack(frames, dim=1).permute(0, 1, 3, 4, 2)  # (batch * sample, target, ...)
    return made.unflatten(0, (len(context), num_samples)).float().cpu().numpy()
