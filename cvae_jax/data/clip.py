"""What every source of data gives."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8


class Clip(NamedTuple):
    """A video and what the arm did in it: `action[t]` leads from frame t to frame t + 1.

    The last action leads out of the clip and is unused. Action and position are in the source's
    own units.
    """

    video: UInt8[np.ndarray, "time height width 3"]
    action: Float32[np.ndarray, "time action_dim"]
    position: Float32[np.ndarray, "time position_dim"]
