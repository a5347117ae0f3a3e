"""Which actions the arm takes: half aimless, but drawn to objects, which it pushes."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Float32

from cvae_jax.data.simulator import arm, scene

HOLD = 2
"""Frames for which an action is repeated."""
RAISED, LOWERED = 0.95, 0.05
CLEAR = 0.3
"""Position z above which the finger tips may be over an object rather than against it."""
GIVE_IN = np.array([0.0, 0.0, 0.0, 1.0], np.float32)
"""Straight up: what the arm does when it presses something against something else."""


class Pusher:
    """Chooses actions by what can be seen; a new plan after each push.

    A plan is a place beside some object, reached on the floor or lifted above everything, then a
    push through the object, as a rule towards the middle of the bin.
    """

    def __init__(self, rng: np.random.Generator, prisms: tuple[scene.Prism, ...]):
        self._rng = rng
        self._radii = np.array([prism.radius for prism in prisms])
        self._stops: list[tuple[np.ndarray, float]] = []
        self._held = np.zeros(4, np.float32)
        self._frames_left = 0

    def give_up(self) -> Float32[np.ndarray, "4"]:
        """Drops the plan, for a gripper that is stuck; returns the action that frees it."""
        self._stops.clear()
        self._frames_left = 0
        return GIVE_IN

    def choose(
        self, pose: Float[np.ndarray, "4"], objects: Float[np.ndarray, "prisms 3"]
    ) -> Float32[np.ndarray, "4"]:
        """The next action, given the gripper's x, y, z, angle and the objects' x, y, angle."""
        if self._frames_left == 0:
            self._held = self._next_action(pose, objects)
            self._frames_left = HOLD
        self._frames_left -= 1
        return self._held

    def _next_action(self, pose: np.ndarray, objects: np.ndarray) -> np.ndarray:
        reached = 0.5 * HOLD * arm.TRAVEL
        while self._stops and np.linalg.norm(self._stops[0][0] - pose[:2]) < reached:
            self._stops.pop(0)
        if not self._stops:
            self._plan(pose, objects)
        stop, height = self._stops[0]
        way = stop - pose[:2]
        distance = float(np.linalg.norm(way))
        heading = math.atan2(way[1], way[0]) + self._rng.normal(0.0, 0.2)
        speed = min(self._rng.uniform(0.5, 1.0), distance / float(HOLD * arm.TRAVEL))
        if pose[2] > CLEAR and height < pose[2] and self._is_above_object(pose, objects):
            height = pose[2]
        lift = np.clip((height - pose[2]) / (HOLD * arm.LIFT), -1.0, 1.0)
        # The gripper looks the same turned by half a circle; it pushes best broadside.
        askew = float((heading - pose[3]) % math.pi - math.pi / 2)
        turn = np.clip(0.5 * askew / (HOLD * arm.TURN) + self._rng.normal(0.0, 0.25), -1, 1)
        action = [speed * math.cos(heading), speed * math.sin(heading), turn, lift]
        return np.array(action, np.float32)

    def _plan(self, pose: np.ndarray, objects: np.ndarray) -> None:
        """Picks an object, nearer ones rather than far ones, and a direction to push it."""
        distances = np.linalg.norm(objects[:, :2] - pose[:2], axis=1)
        weights = np.exp(-distances / 0.5)
        target = int(self._rng.choice(len(objects), p=weights / weights.sum()))
        centre = objects[target, :2]
        inward = math.atan2(-centre[1], -centre[0])
        spread = 0.5 + 1.5 * max(0.0, 0.9 - float(np.linalg.norm(centre)))
        heading = inward + self._rng.normal(0.0, spread)
        direction = np.array([math.cos(heading), math.sin(heading)])
        gap = self._radii[target] + 0.14
        start = np.clip(centre - direction * gap, -1.0, 1.0)
        end = np.clip(centre + direction * self._rng.uniform(0.3, 0.8), -1.0, 1.0)
        travel_height = RAISED if self._rng.random() < 0.25 else LOWERED
        self._stops = [(start, travel_height), (end, LOWERED)]

    def _is_above_object(self, pose: np.ndarray, objects: np.ndarray) -> bool:
        cos, sin = math.cos(pose[3]), math.sin(pose[3])
        for x, y in (finger.mean(axis=0) for finger in arm.FINGERS):
            finger = pose[:2] + np.array([cos * x - sin * y, sin * x + cos * y])
            gaps = np.linalg.norm(objects[:, :2] - finger, axis=1) - self._radii
            if gaps.min() < 0.08:
                return True
        return False
