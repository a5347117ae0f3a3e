"""The empty bin: textured floor and walls, drawn once for each clip."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw

from cvae_jax.data.simulator import camera, faces, scene

_TEXTURE_SIZE = 128


def draw_bin(layout: scene.Scene) -> Float[np.ndarray, "canvas canvas 3"]:
    """The lit, empty bin with values in [0, 1]."""
    rng = np.random.default_rng(layout.floor_seed)
    floor = Image.fromarray(faces.to_uint8(_texture(rng, layout)))
    size = (camera.CANVAS_SIZE, camera.CANVAS_SIZE)
    canvas = floor.transform(
        size,
        Image.Transform.PERSPECTIVE,
        _FLOOR_COEFFICIENTS,
        Image.Resampling.BILINEAR,
        fillcolor=tuple(faces.to_uint8(layout.table_colour * layout.tint).tolist()),
    )
    draw = ImageDraw.Draw(canvas)
    for corners, normal in _WALLS:
        lit = faces.lit(layout, layout.wall_colour, normal @ layout.light)
        draw.polygon([tuple(p) for p in camera.project(corners)], fill=tuple(lit.tolist()))
        rim = [tuple(p) for p in camera.project(corners[2:])]
        bright = faces.to_uint8(layout.wall_colour * layout.tint * 1.15)
        draw.line(rim, fill=tuple(bright.tolist()), width=5)
    return np.asarray(canvas, np.float32) / 255 * _brightness(rng)


def _texture(rng: np.random.Generator, layout: scene.Scene) -> np.ndarray:
    """The floor seen from above, lit, with values in [0, 1]."""
    x, y = np.meshgrid(*[np.arange(_TEXTURE_SIZE, dtype=np.float32)] * 2)
    if layout.floor_pattern == "planks":
        width = int(rng.integers(12, 22))
        plank = (x // width).astype(int)
        shades = rng.normal(0.0, 0.07, plank.max() + 1)[plank] - 0.12 * (x % width < 1)
        pattern = shades + 0.08 * _smooth_noise(rng, (6, 72))
    elif layout.floor_pattern == "weave":
        phase = 2 * np.pi / rng.uniform(4.5, 8.0)
        pattern = 0.06 * np.sin(phase * x) * np.sin(phase * y) + 0.03 * np.sin(0.5 * phase * x)
    else:
        pattern = 0.09 * _smooth_noise(rng, (48, 48))
    pattern = pattern + 0.06 * _smooth_noise(rng, (5, 5))
    hue_shift = rng.normal(0.0, 0.15, 3)
    lit = (layout.ambient + (1 - layout.ambient) * layout.light[2]) * layout.tint
    colour = (layout.floor_colour * lit).astype(np.float32)
    contrast = ((1 + hue_shift) * lit).astype(np.float32)
    return colour + pattern.astype(np.float32)[..., None] * contrast


def _smooth_noise(rng: np.random.Generator, cells: tuple[int, int]) -> np.ndarray:
    grid = Image.fromarray(rng.normal(size=cells).astype(np.float32))
    size = (_TEXTURE_SIZE, _TEXTURE_SIZE)
    return np.asarray(grid.resize(size, Image.Resampling.BICUBIC))


def _brightness(rng: np.random.Generator) -> np.ndarray:
    """Light that falls off to one side of the picture."""
    direction, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0.0, 0.18)
    axis = np.linspace(-1, 1, camera.CANVAS_SIZE, dtype=np.float32)
    slope = axis[None, :] * np.cos(direction) + axis[:, None] * np.sin(direction)
    return (1 + strength * slope)[..., None].astype(np.float32)


def _floor_coefficients() -> list[float]:
    """Pillow's perspective: for each pixel of the canvas, the texture's pixel."""
    (left, near), (right, far) = scene.BIN_LOW, scene.BIN_HIGH
    end = _TEXTURE_SIZE
    world = np.array([[left, far, 0], [right, far, 0], [right, near, 0], [left, near, 0]])
    texture = [(0, 0), (end, 0), (end, end), (0, end)]
    rows, values = [], []
    for (x, y), (u, v) in zip(camera.project(world), texture, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    return np.linalg.solve(np.array(rows), np.array(values)).tolist()


def _walls() -> list[tuple[np.ndarray, np.ndarray]]:
    """Corners (bottom two first) and inward normal of the walls behind, left and right."""
    (left, near), (right, far) = scene.BIN_LOW, scene.BIN_HIGH
    ends = [((left, far), (right, far)), ((left, near), (left, far)), ((right, far), (right, near))]
    normals = [(0.0, -1.0, 0.0), (1.0, 0.0, 0.0), (-1.0, 0.0, 0.0)]
    walls = []
    for ((x0, y0), (x1, y1)), normal in zip(ends, normals, strict=True):
        top = scene.WALL_HEIGHT
        corners = [(x0, y0, 0), (x1, y1, 0), (x1, y1, top), (x0, y0, top)]
        walls.append((np.array(corners, float), np.array(normal)))
    return walls


_FLOOR_COEFFICIENTS = _floor_coefficients()
_WALLS = _walls()
