"""The oblique view: world units to pixels of the canvas."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

FRAME_SIZE = 64
OVERSAMPLING = 3
CANVAS_SIZE = FRAME_SIZE * OVERSAMPLING

_EYE = np.array([0.0, -4.4, 5.4])
_FOCUS = np.zeros(3)
_FOCUS_ON_CANVAS = np.array([0.5, 0.63]) * CANVAS_SIZE
_ZOOM = 0.345
"""What part of the canvas a length of 1 spans at the focus."""

_DISTANCE = np.linalg.norm(_FOCUS - _EYE)
_FORWARD = (_FOCUS - _EYE) / _DISTANCE
_RIGHT = np.array([1.0, 0.0, 0.0])
_UP = np.cross(_RIGHT, _FORWARD)


def project(points: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 2"]:
    """Pixels (right, down) of the canvas at which points of the world appear."""
    offset = points - _EYE
    right, up = offset @ _RIGHT, offset @ _UP
    return _FOCUS_ON_CANVAS + pixels_per_unit(points)[..., None] * np.stack([right, -up], axis=-1)


def pixels_per_unit(points: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch"]:
    """How many pixels of the canvas a length of 1 spans at points of the world."""
    return CANVAS_SIZE * _ZOOM * _DISTANCE / ((points - _EYE) @ _FORWARD)
