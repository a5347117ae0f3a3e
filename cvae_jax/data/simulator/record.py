"""A clip from a seed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32

from cvae_jax.data.clip import Clip
from cvae_jax.data.simulator import arm, drawing, physics, policy, scene

NUM_FRAMES = 30


class Run(NamedTuple):
    """What happened in a simulated clip, for `drawing.draw`, and the actions that did it."""

    layout: scene.Scene
    gripper: Float[np.ndarray, "time 4"]
    objects: Float[np.ndarray, "time prisms 3"]
    action: Float32[np.ndarray, "time 4"]


def clip(seed: int) -> Clip:
    """Simulates and draws one clip of 30 frames, 64x64, as a pure function of its seed.

    The units of action and position are those of `arm.move`.
    """
    run = simulate(seed)
    position = run.gripper[:, :3].astype(np.float32)
    return Clip(drawing.draw(run.layout, run.gripper, run.objects), run.action, position)


def simulate(
    seed: int,
    *,
    hidden_seed: int | None = None,
    action: Float32[np.ndarray, "time 4"] | None = None,
) -> Run:
    """What `clip` draws.

    Args:
        seed: decides everything: scene, arm and hidden physics.
        hidden_seed: another seed for what cannot be seen (masses, frictions, centres of gravity);
            frame 0 does not depend on it.
        action: what the arm does, in the place of its own plans. Where it would press things into
            something they stay for that frame, so that a clip in which it gave in is not repeated.
    """
    seeds = [(seed, 0), (seed, 1), (seed if hidden_seed is None else hidden_seed, 2)]
    scene_rng, policy_rng, hidden_rng = (np.random.default_rng(entropy) for entropy in seeds)
    layout = scene.random_scene(scene_rng)
    world = physics.World(layout)
    world.settle()
    gripper = np.zeros((NUM_FRAMES, 4))
    objects = np.zeros((NUM_FRAMES, len(layout.prisms), 3))
    done = np.zeros((NUM_FRAMES, 4), np.float32)
    gripper[0] = [*layout.gripper[:3].astype(np.float32), layout.gripper[3]]
    objects[0] = world.poses()

    world.draw_hidden(hidden_rng)
    pusher = policy.Pusher(policy_rng, layout.prisms)
    for t in range(NUM_FRAMES):
        done[t] = pusher.choose(gripper[t], objects[t]) if action is None else action[t]
        if t == NUM_FRAMES - 1:
            break
        gripper[t + 1] = _moved(gripper[t], done[t])
        if not world.advance(gripper[t], gripper[t + 1], hidden_rng) and action is None:
            done[t] = pusher.give_up()
            gripper[t + 1] = _moved(gripper[t], done[t])
            world.advance(gripper[t], gripper[t + 1], hidden_rng)
        objects[t + 1] = world.poses()
    return Run(layout, gripper, objects, done)


def _moved(gripper: np.ndarray, action: np.ndarray) -> np.ndarray:
    """The gripper's x, y, z and angle one frame later."""
    position = arm.move(gripper[:3].astype(np.float32), action)
    return np.array([*position, gripper[3] + arm.TURN * float(action[2])])
