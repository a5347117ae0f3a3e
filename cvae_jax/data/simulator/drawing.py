"""Draws a clip: soft shadows on the bin, then prisms and arm from back to front."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFilter

from cvae_jax.data.simulator import arm, background, camera, faces, scene

_SHADOW_BLUR = ImageFilter.BoxBlur(1.5)


def draw(
    layout: scene.Scene,
    gripper: Float[np.ndarray, "time 4"],
    objects: Float[np.ndarray, "time prisms 3"],
) -> UInt8[np.ndarray, "time height width 3"]:
    """Draws the frames of a clip.

    Args:
        layout: the scene.
        gripper: x, y, z (in units of a position) and angle at each frame.
        objects: x, y and angle of each of the scene's prisms at each frame.
    """
    prisms = [*layout.prisms, *_gripper_prisms(layout)]
    num_arm = len(prisms) - len(layout.prisms)
    poses = np.concatenate([objects, np.repeat(gripper[:, None, [0, 1, 3]], num_arm, 1)], 1)
    lifts = np.zeros(poses.shape[:2])
    tip = arm.LIFT_HEIGHT * gripper[:, 2]
    above = arm.FINGER_LENGTH
    lifts[:, -num_arm:] = tip[:, None] + [0.0, 0.0, above, above + arm.PALM_HEIGHT]
    shapes = faces.project(layout, prisms, poses, lifts)
    strips = _project_link(layout, gripper)
    order = _back_to_front(layout.prisms, poses[:, :-2], tip)

    lit = background.draw_bin(layout)
    lit_bin, dark_bin = (
        Image.fromarray(faces.to_uint8(shade * lit)) for shade in (1.0, 1.0 - layout.shadow)
    )
    frames = np.empty((len(gripper), camera.FRAME_SIZE, camera.FRAME_SIZE, 3), np.uint8)
    for t in range(len(gripper)):
        canvas = Image.composite(dark_bin, lit_bin, _shadow(shapes, t))
        pen = ImageDraw.Draw(canvas)
        for prism in order[t]:
            _draw_prism(pen, shapes, t, prism)
        for strip, colour in strips:
            pen.polygon(strip[t].ravel().tolist(), fill=colour)
        frames[t] = np.asarray(canvas.reduce(camera.OVERSAMPLING))
    return frames


def _gripper_prisms(layout: scene.Scene) -> list[scene.Prism]:
    angles = np.arange(10) * 2 * np.pi / 10
    wrist = np.stack([np.cos(angles), np.sin(angles)], 1) * arm.WRIST_RADIUS
    parts = [(finger, arm.FINGER_LENGTH, 0.8) for finger in arm.FINGERS]
    parts += [(arm.PALM, arm.PALM_HEIGHT, 1.0), (wrist, arm.WRIST_HEIGHT, 0.85)]
    return [
        scene.Prism(footprint, np.full(len(footprint), height), layout.arm_colour * shade)
        for footprint, height, shade in parts
    ]


def _project_link(
    layout: scene.Scene, gripper: np.ndarray
) -> list[tuple[np.ndarray, tuple[int, ...]]]:
    """The link from wrist to shoulder: bands along a cylinder, dark to bright to dark."""
    wrist = gripper[:, :3].copy()
    wrist[:, 2] = arm.LIFT_HEIGHT * gripper[:, 2] + arm.FINGER_LENGTH + arm.PALM_HEIGHT
    wrist[:, 2] += arm.WRIST_HEIGHT
    shoulder = np.broadcast_to(layout.shoulder, wrist.shape)
    ends = np.stack([wrist, shoulder], axis=1)
    flat = camera.project(ends)
    along = flat[:, 1] - flat[:, 0]
    along /= np.linalg.norm(along, axis=-1, keepdims=True)
    across = np.stack([along[:, 1], -along[:, 0]], -1)[:, None]
    flat[:, 0] -= along * 6
    radius = arm.LINK_RADIUS * camera.pixels_per_unit(ends)[..., None]
    strips = []
    for low, high, shade in [(-1, -0.55, 0.5), (-0.55, 0.1, 0.8), (0.1, 0.5, 1.1), (0.5, 1, 0.7)]:
        left, right = flat + across * radius * low, flat + across * radius * high
        quad = np.stack([left[:, 0], left[:, 1], right[:, 1], right[:, 0]], axis=1)
        colour = faces.lit(layout, layout.arm_colour * shade, 0.6)
        strips.append((quad, tuple(colour.tolist())))
    return strips


def _back_to_front(
    prisms: tuple[scene.Prism, ...], poses: np.ndarray, tip: np.ndarray
) -> list[list[int]]:
    """For each frame the order in which objects, fingers, palm and wrist are drawn."""
    num_objects = len(prisms)
    depth = poses[..., 1].copy()
    for finger, footprint in enumerate(arm.FINGERS):
        middle = footprint.mean(axis=0)
        angle = poses[:, num_objects + finger, 2]
        depth[:, num_objects + finger] += np.sin(angle) * middle[0] + np.cos(angle) * middle[1]
    gaps = poses[:, :num_objects, :2] - poses[:, num_objects, None, :2]
    radii = np.array([prism.radius for prism in prisms])
    heights = np.array([prism.heights.max() for prism in prisms])
    below = (np.linalg.norm(gaps, axis=-1) < radii + 0.25) & (heights <= tip[:, None])
    nearest = np.where(below, depth[:, :num_objects], np.inf).min(axis=1) - 1e-3
    depth[:, num_objects:] = np.minimum(depth[:, num_objects:], nearest[:, None])
    order = np.argsort(-depth, axis=1, kind="stable").tolist()
    return [[*frame, num_objects + 2, num_objects + 3] for frame in order]


def _shadow(shapes: faces.Faces, t: int) -> Image.Image:
    mask = Image.new("L", (faces.SHADOW_SIZE, faces.SHADOW_SIZE))
    pen = ImageDraw.Draw(mask)
    bottoms = shapes.shadow_bottoms[t]
    for start, end in zip(shapes.first[:-1], shapes.first[1:], strict=True):
        pen.polygon(bottoms[start:end].ravel().tolist(), fill=255)
    for side in shapes.shadow_sides[t][shapes.shadow_visible[t]].reshape(-1, 8).tolist():
        pen.polygon(side, fill=255)
    size = (camera.CANVAS_SIZE, camera.CANVAS_SIZE)
    return mask.filter(_SHADOW_BLUR).resize(size, Image.Resampling.BILINEAR)


def _draw_prism(pen: ImageDraw.ImageDraw, shapes: faces.Faces, t: int, prism: int) -> None:
    start, end = shapes.first[prism], shapes.first[prism + 1]
    for corner in range(start, end):
        if shapes.side_visible[t, corner]:
            colour = tuple(shapes.side_colours[t, corner].tolist())
            pen.polygon(shapes.sides[t, corner].ravel().tolist(), fill=colour)
    if shapes.top_visible[t, prism]:
        colour = tuple(shapes.top_colours[t, prism].tolist())
        pen.polygon(shapes.tops[t, start:end].ravel().tolist(), fill=colour)
        if shapes.mark_colours[prism] is not None:
            pen.polygon(
                shapes.marks[t, start:end].ravel().tolist(), fill=shapes.mark_colours[prism]
            )
