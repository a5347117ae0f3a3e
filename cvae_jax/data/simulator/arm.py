"""The arm: how it moves when told to, and its shape.

World units: the bin's floor is the plane z = 0, x runs right, y runs away from the camera, and
1.0 is the reach of the arm in x and y to either side of the bin's middle.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

TRAVEL = np.float32(0.16)
"""Distance in world units per frame that an action component dx or dy of 1 moves."""
LIFT = np.float32(0.25)
"""Change of the position's z per frame for a lift of 1."""
TURN = 0.35
"""Radians per frame, counter-clockwise from above, for a turn of 1."""
REACH_LOW = np.array([-1.0, -1.0, 0.0], np.float32)
REACH_HIGH = np.array([1.0, 1.0, 1.0], np.float32)
LIFT_HEIGHT = 0.45
"""Height in world units of the finger tips above the floor at z = 1."""

FINGER_LENGTH = 0.36
FINGERS = tuple(
    np.array([[x - 0.05, -0.07], [x + 0.05, -0.07], [x + 0.05, 0.07], [x - 0.05, 0.07]])
    for x in (-0.14, 0.14)
)
"""Footprints of the two fingers in the gripper's own frame, counter-clockwise."""
PALM = np.array([[-0.23, -0.09], [0.23, -0.09], [0.23, 0.09], [-0.23, 0.09]])
PALM_HEIGHT = 0.12
WRIST_RADIUS = 0.09
WRIST_HEIGHT = 0.18
LINK_RADIUS = 0.12


def move(
    position: Float32[np.ndarray, "*batch 3"], action: Float32[np.ndarray, "*batch 4"]
) -> Float32[np.ndarray, "*batch 3"]:
    """Where the gripper is one frame later.

    Args:
        position: (x, y, z); x and y in [-1, 1] are the arm's reach, z in [0, 1] goes from
            touching the floor to above every object.
        action: (dx, dy, turn, lift), each in [-1, 1], in units of `TRAVEL`, `TRAVEL`, `TURN` and
            `LIFT` per frame. The turn leaves the position as it is.

    Returns:
        The position at the next frame, exact to the last bit; the arm stops at its reach.
    """
    step = np.stack(
        [action[..., 0] * TRAVEL, action[..., 1] * TRAVEL, action[..., 3] * LIFT], axis=-1
    )
    return np.clip(position + step, REACH_LOW, REACH_HIGH)


def tip_height(z: float) -> float:
    """Height in world units of the finger tips above the floor, for a position's z."""
    return LIFT_HEIGHT * float(z)
