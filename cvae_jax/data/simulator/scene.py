"""What can be seen before anything moves: shapes, colours, places, light and floor."""

from __future__ import annotations

import colorsys
import dataclasses
import math

import numpy as np
from jaxtyping import Float

BIN_LOW = (-1.28, -1.16)
BIN_HIGH = (1.28, 1.3)
WALL_HEIGHT = 0.36
MIN_OBJECTS, MAX_OBJECTS = 5, 9
GRIPPER_RADIUS = 0.27
"""Distance from the gripper's middle within which no object lies at frame 0."""
MAX_HEIGHT = 0.32
"""Height of the highest object; the fingers are longer, so the palm passes above everything."""


@dataclasses.dataclass(frozen=True)
class Prism:
    """An upright prism: a convex footprint with a height at each of its corners."""

    footprint: Float[np.ndarray, "corners 2"]
    heights: Float[np.ndarray, "corners"]
    colour: Float[np.ndarray, "3"]
    mark: Float[np.ndarray, "3"] | None = None
    """Colour of a patch on the top face that shows how the prism turns."""

    @property
    def radius(self) -> float:
        """Distance from the middle to the farthest corner."""
        return float(np.linalg.norm(self.footprint, axis=1).max())


@dataclasses.dataclass(frozen=True)
class Scene:
    """Everything visible that a clip's seed decides before the first frame."""

    prisms: tuple[Prism, ...]
    places: Float[np.ndarray, "prisms 3"]
    """x, y and angle of each prism, roughly: physics settles them."""
    gripper: Float[np.ndarray, "4"]
    """x, y, z and angle of the gripper at frame 0."""
    arm_colour: Float[np.ndarray, "3"]
    shoulder: Float[np.ndarray, "3"]
    light: Float[np.ndarray, "3"]
    """Unit vector towards the light."""
    ambient: float
    tint: Float[np.ndarray, "3"]
    shadow: float
    """How much light a shadow takes away, 0 to 1."""
    floor_colour: Float[np.ndarray, "3"]
    wall_colour: Float[np.ndarray, "3"]
    table_colour: Float[np.ndarray, "3"]
    floor_pattern: str
    floor_seed: int


def random_scene(rng: np.random.Generator) -> Scene:
    """Draws a scene: five to nine prisms, a gripper beside them, light and a textured bin."""
    gripper = np.array(
        [rng.uniform(-0.8, 0.8), rng.uniform(-0.8, 0.8), 0.05, rng.uniform(0, math.pi)]
    )
    gripper[2] = rng.uniform(0.5, 1.0) if rng.random() < 0.15 else 0.05
    prisms, places = _random_objects(rng, int(rng.integers(MIN_OBJECTS, MAX_OBJECTS + 1)), gripper)
    azimuth, elevation = rng.uniform(0, 2 * math.pi), rng.uniform(0.75, 1.2)
    light = np.array(
        [
            math.cos(azimuth) * math.cos(elevation),
            math.sin(azimuth) * math.cos(elevation),
            math.sin(elevation),
        ]
    )
    grey = rng.uniform(0.35, 0.75)
    return Scene(
        prisms=prisms,
        places=places,
        gripper=gripper,
        arm_colour=_colour(rng.normal(0.0, 0.012) % 1, rng.uniform(0.75, 0.9), 0.85),
        shoulder=np.array([rng.uniform(-0.5, 0.5), 2.3, 1.7]),
        light=light,
        ambient=rng.uniform(0.45, 0.6),
        tint=rng.uniform(0.9, 1.05, 3) * rng.uniform(0.85, 1.1),
        shadow=rng.uniform(0.3, 0.55),
        floor_colour=_colour(rng.random(), rng.uniform(0.05, 0.3), grey),
        wall_colour=_colour(rng.random(), rng.uniform(0.05, 0.3), rng.uniform(0.3, 0.8)),
        table_colour=_colour(rng.random(), rng.uniform(0.0, 0.25), rng.uniform(0.1, 0.5)),
        floor_pattern=str(rng.choice(["speckle", "planks", "weave"])),
        floor_seed=int(rng.integers(2**31)),
    )


def _random_prism(rng: np.random.Generator) -> Prism:
    kind = rng.choice(["box", "cylinder", "wedge", "polygon"], p=[0.4, 0.25, 0.15, 0.2])
    width = rng.uniform(0.24, 0.5)
    depth = min(rng.uniform(0.24, 0.5), 0.12 / width * 1.2)
    height = rng.uniform(0.12, MAX_HEIGHT)
    if kind in ("box", "wedge"):
        footprint = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [width / 2, depth / 2]
    else:
        corners = 14 if kind == "cylinder" else int(rng.choice([3, 5, 6]))
        angles = np.arange(corners) * 2 * math.pi / corners
        footprint = np.stack([np.cos(angles), np.sin(angles)], 1) * rng.uniform(0.14, 0.23)
    heights = np.full(len(footprint), height)
    if kind == "wedge":
        heights[[0, 3]] = 0.35 * height
    # Red is left to the arm, so that the two can be told apart.
    colour = _colour(rng.uniform(0.07, 0.92), rng.uniform(0.45, 0.95), rng.uniform(0.55, 1.0))
    mark = None
    if rng.random() < 0.5:
        mark = _colour(rng.random(), rng.uniform(0.0, 0.5), rng.uniform(0.15, 1.0))
    return Prism(footprint, heights, colour, mark)


def _random_objects(
    rng: np.random.Generator, count: int, gripper: np.ndarray
) -> tuple[tuple[Prism, ...], np.ndarray]:
    """Prisms, and places off the gripper; they may overlap a little until they settle."""
    prisms: list[Prism] = []
    places: list[np.ndarray] = []
    while len(prisms) < count:
        prism = _random_prism(rng)
        place = _random_place(rng, prism, prisms, places, gripper)
        if place is not None:
            prisms.append(prism)
            places.append(place)
        elif len(prisms) >= MIN_OBJECTS:
            break
        else:
            prisms.clear()
            places.clear()
    return tuple(prisms), np.array(places)


def _random_place(
    rng: np.random.Generator,
    prism: Prism,
    prisms: list[Prism],
    places: list[np.ndarray],
    gripper: np.ndarray,
) -> np.ndarray | None:
    """A free place for one more prism; None if 100 tries find none."""
    margin = prism.radius + 0.03
    low, high = np.array(BIN_LOW) + margin, np.array(BIN_HIGH) - margin
    radii = np.array([GRIPPER_RADIUS, *(other.radius for other in prisms)])
    centres = np.array([gripper[:2], *(other[:2] for other in places)])
    for _ in range(100):
        centre = rng.uniform(low, high)
        gaps = np.linalg.norm(centre - centres, axis=1) - radii - prism.radius
        if gaps[0] > 0.01 and gaps.min() > -0.06:
            return np.array([*centre, rng.uniform(0, 2 * math.pi)])
    return None


def _colour(hue: float, saturation: float, value: float) -> np.ndarray:
    return np.array(colorsys.hsv_to_rgb(hue, saturation, value))
