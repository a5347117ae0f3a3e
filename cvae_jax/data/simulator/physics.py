"""Objects on the bin's floor, seen from above, and the gripper that pushes them (pymunk)."""

from __future__ import annotations

import numpy as np
import pymunk
from jaxtyping import Float

from cvae_jax.data.simulator import arm, scene

SCALE = 100.0
"""pymunk units per world unit; its tolerances suit objects some tens of units large."""
SUBSTEPS = 8
GRAVITY = 34.0
"""Units per frame^2: friction 0.5 stops an object pushed at full speed in about a frame."""
MAX_OVERLAP = 2.5
"""Units by which bodies may press into each other (0.6 pixels) before the arm must give in."""


class World:
    """The state of the physics between two frames.

    Until `draw_hidden` is called every object has the same friction and density, so nothing
    visible tells them apart.
    """

    def __init__(self, layout: scene.Scene):
        self._prisms = layout.prisms
        self._space = pymunk.Space()
        self._space.iterations = 12
        self._space.collision_slop = 0.05
        self._bodies: list[pymunk.Body] = []
        self._slides: list[pymunk.PivotJoint] = []
        self._spins: list[pymunk.GearJoint] = []
        self._friction = np.full(len(layout.prisms), 0.5)
        self._add_walls()
        for index, (prism, place) in enumerate(zip(layout.prisms, layout.places, strict=True)):
            self._add_object(index, prism, place)
        self._gripper = pymunk.Body(body_type=pymunk.Body.KINEMATIC)
        self._fingers = [
            pymunk.Poly(self._gripper, [tuple(corner) for corner in finger * SCALE])
            for finger in arm.FINGERS
        ]
        for finger in self._fingers:
            finger.friction = 0.5
        self._space.add(self._gripper, *self._fingers)
        self.place_gripper(layout.gripper)

    def _add_walls(self) -> None:
        (left, near), (right, far) = np.array([scene.BIN_LOW, scene.BIN_HIGH]) * SCALE
        corners = [(left, near), (right, near), (right, far), (left, far)]
        outward = [(0, -20), (20, 0), (0, 20), (-20, 0)]
        for side in range(4):
            shift = np.array(outward[side])
            start, end = np.array(corners[side]), np.array(corners[(side + 1) % 4])
            along = (end - start) / np.linalg.norm(end - start) * 20
            wall = pymunk.Segment(
                self._space.static_body,
                tuple(start + shift - along),
                tuple(end + shift + along),
                20.0,
            )
            wall.friction = 0.3
            self._space.add(wall)

    def _add_object(self, index: int, prism: scene.Prism, place: np.ndarray) -> None:
        corners = [tuple(corner) for corner in prism.footprint * SCALE]
        body = pymunk.Body(1.0, pymunk.moment_for_poly(1.0, corners))
        body.position = tuple(place[:2] * SCALE)
        body.angle = float(place[2])
        shape = pymunk.Poly(body, corners)
        shape.friction = 0.3
        shape.filter = pymunk.ShapeFilter(categories=1 << (index + 1))
        # Friction with the floor: joints to the ground that give way above a force.
        slide = pymunk.PivotJoint(self._space.static_body, body, (0, 0), (0, 0))
        spin = pymunk.GearJoint(self._space.static_body, body, 0.0, 1.0)
        slide.max_bias = spin.max_bias = 0.0
        self._space.add(body, shape, slide, spin)
        self._bodies.append(body)
        self._slides.append(slide)
        self._spins.append(spin)
        self._set_friction(index, self._friction[index])

    def _set_friction(self, index: int, friction: float) -> None:
        force = friction * GRAVITY * self._bodies[index].mass
        self._slides[index].max_force = force
        self._spins[index].max_force = 0.6 * force * self._prisms[index].radius * SCALE

    def place_gripper(self, pose: Float[np.ndarray, "4"]) -> None:
        """Puts the gripper at x, y, z and angle, at rest, exactly."""
        self._gripper.position = (float(pose[0]) * SCALE, float(pose[1]) * SCALE)
        self._gripper.angle = float(pose[3])
        self._gripper.velocity = (0.0, 0.0)
        self._gripper.angular_velocity = 0.0

    def poses(self) -> Float[np.ndarray, "prisms 3"]:
        """x, y and angle of every object, in world units and radians."""
        return np.array(
            [(b.position.x / SCALE, b.position.y / SCALE, b.angle) for b in self._bodies]
        )

    def settle(self) -> None:
        """Lets touching objects come to rest, before anything hidden is drawn."""
        for _ in range(3 * SUBSTEPS):
            self._space.step(1.0 / SUBSTEPS)
        for body in self._bodies:
            body.velocity, body.angular_velocity = (0.0, 0.0), 0.0

    def draw_hidden(self, rng: np.random.Generator) -> None:
        """Gives every object its own mass, friction and centre of gravity."""
        for index, body in enumerate(self._bodies):
            prism = self._prisms[index]
            mass = float(np.exp(rng.uniform(np.log(0.4), np.log(2.5))))
            body.moment *= mass / body.mass
            body.mass = mass
            inner = 0.5 * np.abs(prism.footprint).min(axis=0).clip(0.03)
            centre = tuple(rng.uniform(-1, 1, 2) * inner * SCALE)
            place = body.position
            body.center_of_gravity = centre
            # Chipmunk holds on to where the centre of gravity is, so the object would jump.
            body.position = place
            self._slides[index].anchor_b = centre
            self._friction[index] = rng.uniform(0.25, 1.0)

    def advance(
        self,
        start: Float[np.ndarray, "4"],
        end: Float[np.ndarray, "4"],
        rng: np.random.Generator,
    ) -> bool:
        """Moves the gripper from one pose (x, y, z, angle) to another during one frame.

        Returns:
            True; or False, with every object back where it was, if the gripper would press an
            object into a wall, another object or itself.
        """
        before = [
            (body.angle, body.position, body.velocity, body.angular_velocity)
            for body in self._bodies
        ]
        for index, noise in enumerate(np.exp(rng.normal(0.0, 0.25, len(self._bodies)))):
            self._set_friction(index, self._friction[index] * noise)
        self._touch_objects_above(min(arm.tip_height(start[2]), arm.tip_height(end[2])))
        self.place_gripper(start)
        dx, dy = (float(d) * SCALE for d in end[:2] - start[:2])
        self._gripper.velocity = (dx, dy)
        self._gripper.angular_velocity = float(end[3] - start[3])
        for _ in range(SUBSTEPS):
            self._space.step(1.0 / SUBSTEPS)
        self.place_gripper(end)
        if self._deepest_overlap() <= MAX_OVERLAP:
            return True
        for body, state in zip(self._bodies, before, strict=True):
            # The angle first: turning moves the position about the centre of gravity.
            body.angle, body.position, body.velocity, body.angular_velocity = state
        return False

    def _touch_objects_above(self, height: float) -> None:
        mask = 0
        for index, prism in enumerate(self._prisms):
            if prism.heights.max() > height:
                mask |= 1 << (index + 1)
        for finger in self._fingers:
            finger.filter = pymunk.ShapeFilter(mask=mask)

    def _deepest_overlap(self) -> float:
        depths = [0.0]

        def note(arbiter: pymunk.Arbiter) -> None:
            depths.extend(-point.distance for point in arbiter.contact_point_set.points)

        for body in self._bodies:
            body.each_arbiter(note)
        return max(depths)
