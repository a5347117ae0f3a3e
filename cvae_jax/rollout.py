"""The only place with time: how single steps of the CVAE make clips.

Frames are numbered from 0. With C context frames the targets are t = C .. T-1; the prediction of
target t reads representations of t-K .. t-1 (K = model.window), the latent z_t and the
conditions of the same steps. `teacher_forced` and `free_running` are for training, where z_t
comes from the posterior of the true x_t; `generate` sees the context frames alone.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from cvae_jax.models.cvae import CVAE
from cvae_jax.models.gaussian import sample
from cvae_jax.types import Conditions, Gaussian, Motion, Scene

Params = Any


class Rollout(NamedTuple):
    """Predicted frames in [0, 1] and, for each target, where its latent came from."""

    frames: Float[Array, "batch target height width 3"]
    posterior: Gaussian
    prior: Gaussian


def align_conditions(
    action: Float[Array, "batch time action"],
    position: Float[Array, "batch time position"],
    condition: str,
) -> Conditions:
    """What is known of the arm at every frame t, by the name of the protocol.

    `action[:, t]` leads from frame t to t + 1, so c_t holds action[:, t - 1] (zero for t = 0,
    which is never a target) and, with `action_position`, position[:, t].
    """
    if condition == "none":
        return Conditions(action[..., :0], action[..., :0])
    leading = jnp.pad(action[:, :-1], ((0, 0), (1, 0), (0, 0)))
    path = jnp.cumsum(leading, axis=1)
    if condition == "action":
        return Conditions(leading, path)
    return Conditions(jnp.concatenate([leading, position], axis=-1), path)


def teacher_forced(
    model: CVAE,
    params: Params,
    video: Float[Array, "batch time height width 3"],
    conditions: Conditions,
    noise: Float[Array, "batch target z_dim"],
) -> Rollout:
    """Every input frame is known, so every target is predicted at once, without a loop."""
    bound = model.bind({"params": params})
    batch, num_targets = noise.shape[:2]
    h, scene, posterior = _observe(bound, video, conditions, noise)
    num_context = video.shape[1] - num_targets
    windows = _merge(_windows(h, num_context, num_targets, model.config.window, lowest=0))
    steps = _merge(_condition_windows(conditions.step, num_targets, model.config.window))
    prior = bound.prior(windows, steps[:, -1])
    latent = _merge(sample(posterior, noise))
    g = bound.predict(windows, latent, steps)
    split = (batch, num_targets)
    frames = _decode(
        bound, g.reshape(*split, *g.shape[1:]), _motion(conditions, num_targets), scene
    )
    return Rollout(
        frames,
        posterior,
        jax.tree.map(lambda x: x.reshape(*split, -1), prior),
    )


def free_running(
    model: CVAE,
    params: Params,
    video: Float[Array, "batch time height width 3"],
    conditions: Conditions,
    noise: Float[Array, "batch target z_dim"],
    use_true: Bool[Array, "batch target"],
) -> Rollout:
    """The model lives on its own predictions, but for targets that `use_true` replaces.

    use_true[b, i]: whether after target i of clip b the true frame enters the window. All true
    equals `teacher_forced`.
    """
    if model.config.feedback == "frame":  # the loop over time keeps its maps until its way back
        model = model.clone(full_size_again=True)
    bound = model.bind({"params": params})
    num_targets = noise.shape[1]
    num_context = video.shape[1] - num_targets
    h, scene, posterior = _observe(bound, video, conditions, noise)
    if model.config.last_frame_skip:  # the loop starts with those of the last context frame
        scene = jax.tree.map(lambda x: x[::num_targets], scene)
    window = _windows(h, num_context, 1, model.config.window, lowest=0)[:, 0]
    truth = video if model.config.feedback == "frame" else h
    inputs = {
        "latent": sample(posterior, noise),
        "conditions": _condition_windows(conditions.step, num_targets, model.config.window),
        "motion": _motion(conditions, num_targets),
        "use_true": use_true,
        "truth": truth[:, num_context:],
    }
    frames, prior = _loop(bound, window, scene, inputs)
    return Rollout(frames, posterior, prior)


def generate(
    model: CVAE,
    params: Params,
    context: Float[Array, "batch context height width 3"],
    conditions: Conditions,
    noise: Float[Array, "batch sample target z_dim"],
) -> Float[Array, "batch sample target height width 3"]:
    """Predicts from the context frames and the conditions alone; latents come from the prior.

    A clip's samples share the encoding of its context. time = context + target.
    """
    bound = model.bind({"params": params})
    batch, num_samples, num_targets = noise.shape[:3]
    num_context = context.shape[1]
    h, skips = bound.encode(_merge(context))
    h = h.reshape(batch, num_context, *h.shape[1:])
    skips = tuple(s.reshape(batch, num_context, *s.shape[1:])[:, -1] for s in skips)
    scene = Scene(skips, context[:, -1], conditions.step[:, num_context - 1])
    repeat = lambda tree: jax.tree.map(lambda x: jnp.repeat(x, num_samples, axis=0), tree)  # noqa: E731
    if model.config.last_frame_skip:  # from the first step on, the samples' skips differ
        scene = repeat(scene)
    window = repeat(_windows(h, num_context, 1, model.config.window, lowest=0)[:, 0])
    steps = _condition_windows(conditions.step, num_targets, model.config.window)
    inputs = {"conditions": steps, "motion": _motion(conditions, num_targets)}
    inputs = {"noise": _merge(noise), **repeat(inputs)}
    frames, _ = _loop(bound, window, scene, inputs)
    return frames.reshape(batch, num_samples, *frames.shape[1:])


def _observe(bound, video, conditions, noise):
    """Encodes each frame once: h of all, the skips that decoding needs, the targets' posterior."""
    batch, time = video.shape[:2]
    num_targets = noise.shape[1]
    num_context = time - num_targets
    h, skips = bound.encode(_merge(video))
    h = h.reshape(batch, time, *h.shape[1:])
    skips = tuple(s.reshape(batch, time, *s.shape[1:]) for s in skips)
    last = num_context - 1
    scene = Scene(tuple(s[:, last] for s in skips), video[:, last], conditions.step[:, last])
    if bound.config.last_frame_skip:
        scene = jax.tree.map(lambda x: jnp.repeat(x, num_targets, axis=0), scene)
        scene = scene._replace(skips=tuple(_merge(s[:, last:-1]) for s in skips))
    posterior = bound.posterior(
        _merge(h[:, num_context:]),
        _merge(h[:, num_context - 1 : -1]),
        _merge(conditions.step[:, num_context:]),
    )
    posterior = jax.tree.map(lambda x: x.reshape(batch, num_targets, -1), posterior)
    return h, scene, posterior


def _loop(bound, window, scene, inputs):
    """Steps through the targets; `inputs` have (batch, target, ...), with `latent` or `noise`.

    With feedback=latent the loop holds the predictor alone and all frames are decoded after it.
    """
    config = bound.config
    on_frames = config.feedback == "frame"
    pushed, filling = _start_pushing(bound, scene, len(window)) if on_frames else (None, None)

    def step(carry, now):
        window, scene, pushed = carry
        prior = bound.prior(window, now["conditions"][:, -1])
        latent = now["latent"] if "latent" in now else sample(prior, now["noise"])
        g = bound.predict(window, latent, now["conditions"])
        made = g
        if on_frames:
            arm = bound.hold(g, now["motion"], scene)
            pushed, things = _push(bound, pushed, filling, arm)
            made = bound.decode(g, scene, arm, things)
        entering = made
        if "use_true" in now:
            chosen = now["use_true"].reshape(-1, *[1] * (made.ndim - 1))
            entering = jnp.where(chosen, now["truth"], made)
        if on_frames:
            entering, latest = bound.encode(entering)
            scene = scene._replace(skips=latest) if config.last_frame_skip else scene
        window = jnp.concatenate([window[:, 1:], entering[:, None]], axis=1)
        return (window, scene, pushed), (made, prior)

    time_first = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), inputs)
    _, outputs = jax.lax.scan(step, (window, scene, pushed), time_first)
    made, prior = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), outputs)
    if on_frames:
        return made, prior
    return _decode(bound, made, inputs["motion"], scene), prior


def _decode(bound, g, motion, scene):
    """The frames of g (batch, target, ...), all at once but for what the arm pushes."""
    batch, num_targets = g.shape[:2]
    arm = bound.hold(_merge(g), jax.tree.map(_merge, motion), scene)
    first = scene if len(scene.frame) <= batch else jax.tree.map(lambda x: x[::num_targets], scene)
    pushed, filling = _start_pushing(bound, first, batch)
    time_first = jax.tree.map(
        lambda x: jnp.swapaxes(x.reshape(batch, num_targets, *x.shape[1:]), 0, 1), arm
    )
    _, things = jax.lax.scan(
        lambda pushed, arm: _push(bound, pushed, filling, arm), pushed, time_first, num_targets
    )
    things = jax.tree.map(lambda x: _merge(jnp.swapaxes(x, 0, 1)), things)
    frames = bound.decode(_merge(g), scene, arm, things)
    return frames.reshape(batch, num_targets, *frames.shape[1:])


def _start_pushing(bound, scene, rows):
    """The things of a scene, and what lies beneath, for each of `rows`; None without an arm."""
    if not bound.has_arm:
        return None, None
    return jax.tree.map(
        lambda x: jnp.repeat(x, rows // len(scene.frame), axis=0), bound.start_pushing(scene)
    )


def _push(bound, pushed, filling, arm):
    return (None, None) if arm is None else bound.push(pushed, filling, arm)


def _windows(x, first, count, window, *, lowest):
    """x[:, t-window .. t-1] for targets t = first .. ; times below `lowest` repeat it."""
    targets = np.arange(first, first + count)
    times = np.maximum(targets[:, None] + np.arange(-window, 0), lowest)
    return x[:, times]  # (batch, target, window, ...)


def _condition_windows(conditions, num_targets, window):
    """C of t-window+1 .. t for each target; c_0 has no action, so c_1 is the earliest."""
    first = conditions.shape[1] - num_targets
    return _windows(conditions, first + 1, num_targets, window, lowest=1)


def _motion(conditions, num_targets):
    """How the arm stands at each target: c_t, and its path since the last context frame."""
    start = conditions.path[:, -num_targets - 1, None]
    return Motion(conditions.step[:, -num_targets:], conditions.path[:, -num_targets:] - start)


def _merge(x):
    """(batch, time, ...) as (batch * time, ...)."""
    return x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])
