"""A clip from a seed."""

from __future__ import annotations

import numpy as np

from cvae_jax.data.clip import Clip
from cvae_jax.data.simulator import arm, drawing, physics, policy, scene

NUM_FRAMES = 30


def clip(seed: int, *, hidden_seed: int | None = None) -> Clip:
    """Simulates and draws one clip of 30 frames, 64x64, as a pure function of its arguments.

    The units of action and position are those of `arm.move`.

    Args:
        seed: decides everything: scene, arm and hidden physics.
        hidden_seed: another seed for what cannot be seen (masses, frictions, centres of gravity);
            frame 0 does not depend on it.
    """
    seeds = [(seed, 0), (seed, 1), (seed if hidden_seed is None else hidden_seed, 2)]
    scene_rng, policy_rng, hidden_rng = (np.random.default_rng(entropy) for entropy in seeds)
    layout = scene.random_scene(scene_rng)
    world = physics.World(layout)
    world.settle()
    gripper = np.zeros((NUM_FRAMES, 4))
    objects = np.zeros((NUM_FRAMES, len(layout.prisms), 3))
    position = np.zeros((NUM_FRAMES, 3), np.float32)
    action = np.zeros((NUM_FRAMES, 4), np.float32)
    position[0] = layout.gripper[:3]
    gripper[0] = [*position[0], layout.gripper[3]]
    objects[0] = world.poses()

    world.draw_hidden(hidden_rng)
    pusher = policy.Pusher(policy_rng, layout.prisms)
    action[0] = pusher.choose(gripper[0], objects[0])
    for t in range(NUM_FRAMES - 1):
        gripper[t + 1] = _moved(gripper[t], action[t])
        if not world.advance(gripper[t], gripper[t + 1], hidden_rng):
            action[t] = pusher.give_up()
            gripper[t + 1] = _moved(gripper[t], action[t])
            world.advance(gripper[t], gripper[t + 1], hidden_rng)
        position[t + 1] = gripper[t + 1, :3]
        objects[t + 1] = world.poses()
        action[t + 1] = pusher.choose(gripper[t + 1], objects[t + 1])
    return Clip(drawing.draw(layout, gripper, objects), action, position)


def _moved(gripper: np.ndarray, action: np.ndarray) -> np.ndarray:
    """The gripper's x, y, z and angle one frame later."""
    position = arm.move(gripper[:3].astype(np.float32), action)
    return np.array([*position, gripper[3] + arm.TURN * float(action[2])])
