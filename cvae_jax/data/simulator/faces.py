"""The faces of all prisms and of their shadows, for every frame of a clip at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from cvae_jax.data.simulator import camera, scene

SHADOW_SIZE = 96
"""Width and height of the canvas that shadows are drawn on."""


class Faces(NamedTuple):
    """Polygons in pixels. A prism's corners are first[prism] to first[prism + 1] - 1."""

    first: list[int]
    sides: Float[np.ndarray, "time corners 4 2"]
    """The side between each corner and the next one."""
    side_colours: UInt8[np.ndarray, "time corners 3"]
    side_visible: Bool[np.ndarray, "time corners"]
    tops: Float[np.ndarray, "time corners 2"]
    top_colours: UInt8[np.ndarray, "time prisms 3"]
    top_visible: Bool[np.ndarray, "time prisms"]
    marks: Float[np.ndarray, "time corners 2"]
    mark_colours: list[tuple[int, ...] | None]
    shadow_bottoms: Float[np.ndarray, "time corners 2"]
    shadow_sides: Float[np.ndarray, "time corners 4 2"]
    shadow_visible: Bool[np.ndarray, "time corners"]


def project(
    layout: scene.Scene,
    prisms: list[scene.Prism],
    poses: Float[np.ndarray, "time prisms 3"],
    lifts: Float[np.ndarray, "time prisms"],
) -> Faces:
    """Projects and lights prisms.

    Args:
        layout: gives the light.
        prisms: the shapes, those of the gripper among them.
        poses: x, y and angle of each prism at each frame.
        lifts: height of each prism's bottom above the floor.
    """
    counts = [len(prism.footprint) for prism in prisms]
    first = np.concatenate([[0], np.cumsum(counts)])
    owner = np.repeat(np.arange(len(prisms)), counts)
    following = np.arange(len(owner)) + 1
    following[first[1:] - 1] = first[:-1]
    bottoms, tops = _corners(prisms, poses[:, owner], lifts[:, owner])
    flat_bottoms, flat_tops = camera.project(bottoms), camera.project(tops)
    sides = _quads(flat_bottoms, flat_tops, following)
    middles = np.add.reduceat(flat_tops, first[:-1], axis=1) / np.array(counts)[:, None]
    marks = middles[:, owner] + 0.55 * (flat_tops - middles[:, owner])
    cast_bottoms, cast_tops = _cast(bottoms, layout.light), _cast(tops, layout.light)
    shadow_sides = _quads(cast_bottoms, cast_tops, following)

    edges = bottoms[:, following] - bottoms
    side_normals = _unit(np.cross(edges, [0.0, 0.0, 1.0]))
    corner = tops[:, first[:-1]]
    rim = [tops[:, first[:-1] + offset] - corner for offset in (1, 2)]
    top_normals = _unit(np.cross(*rim))
    triangles = np.stack([flat_tops[:, first[:-1] + offset] for offset in (0, 1, 2)], axis=2)
    colours = np.array([prism.colour for prism in prisms])
    return Faces(
        first=first.tolist(),
        sides=sides,
        side_colours=lit(layout, colours[owner], side_normals @ layout.light),
        side_visible=_faces_camera(sides),
        tops=flat_tops,
        top_colours=lit(layout, colours, top_normals @ layout.light),
        top_visible=_faces_camera(triangles),
        marks=marks,
        mark_colours=[
            None if p.mark is None else tuple(lit(layout, p.mark, layout.light[2]).tolist())
            for p in prisms
        ],
        shadow_bottoms=cast_bottoms,
        shadow_sides=shadow_sides,
        shadow_visible=_faces_camera(shadow_sides),
    )


def lit(
    layout: scene.Scene, colour: Float[np.ndarray, "*batch 3"], facing: np.ndarray | float
) -> UInt8[np.ndarray, "*lit 3"]:
    """Colour of faces whose normals make angles with the light of which `facing` is the cosine."""
    light = layout.ambient + (1 - layout.ambient) * np.maximum(facing, 0.0)
    shaded = colour * np.asarray(light)[..., None] * layout.tint
    return to_uint8(shaded)


def to_uint8(colour: Float[np.ndarray, "*size 3"]) -> UInt8[np.ndarray, "*size 3"]:
    """A colour with values in [0, 1], cut off beyond, as Pillow takes it."""
    return (np.clip(colour, 0, 1) * 255).astype(np.uint8)


def _corners(
    prisms: list[scene.Prism], poses: np.ndarray, lifts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Bottom and top corners (time, corners, 3) in the world, given each corner's prism's pose."""
    local = np.concatenate([prism.footprint for prism in prisms])
    heights = np.concatenate([prism.heights for prism in prisms])
    cos, sin = np.cos(poses[..., 2]), np.sin(poses[..., 2])
    x = poses[..., 0] + cos * local[:, 0] - sin * local[:, 1]
    y = poses[..., 1] + sin * local[:, 0] + cos * local[:, 1]
    return np.stack([x, y, lifts], axis=-1), np.stack([x, y, lifts + heights], axis=-1)


def _quads(bottoms: np.ndarray, tops: np.ndarray, following: np.ndarray) -> np.ndarray:
    return np.stack([bottoms, bottoms[:, following], tops[:, following], tops], axis=2)


def _faces_camera(polygons: Float[np.ndarray, "*batch corners 2"]) -> Bool[np.ndarray, "*batch"]:
    """Whether corners that run counter-clockwise seen from outside do so on the canvas."""
    x, y = polygons[..., 0], polygons[..., 1]
    return (x * np.roll(y, -1, -1) - np.roll(x, -1, -1) * y).sum(-1) < 0


def _cast(points: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Where the shadows of points fall on the floor, in pixels of the shadows' canvas."""
    floor = points - points[..., 2:] * light / light[2]
    return camera.project(floor) * (SHADOW_SIZE / camera.CANVAS_SIZE)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
