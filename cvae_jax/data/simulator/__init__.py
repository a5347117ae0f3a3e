"""A simulated arm that pushes objects about a bin: `clip(seed)`."""

from cvae_jax.data.simulator.arm import move
from cvae_jax.data.simulator.record import NUM_FRAMES, clip

__all__ = ["NUM_FRAMES", "clip", "move"]
