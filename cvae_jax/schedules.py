"""What changes over training, one value a step, computed before the first step."""

import numpy as np
import optax
from jaxtyping import Float

from cvae_jax.config import KLConfig, OptimizerConfig, TeacherForcingConfig


def kl_weight(config: KLConfig, num_steps: int) -> Float[np.ndarray, "step"]:
    """Beta for each of `num_steps` steps.

    `constant`: the weight. `cyclical` (Fu et al. 2019): in each of num_cycles equal cycles it
    rises linearly from 0 over the first `ratio` of the cycle, then stays at the weight.
    `linear`: one such cycle.
    """
    if config.schedule == "constant":
        return np.full(num_steps, config.weight, np.float32)
    num_cycles = config.num_cycles if config.schedule == "cyclical" else 1
    position = (np.arange(num_steps) * num_cycles % num_steps) / num_steps  # exact at each start
    return (config.weight * np.minimum(position / config.ratio, 1.0)).astype(np.float32)


def teacher_forcing_ratio(
    config: TeacherForcingConfig, num_steps: int
) -> Float[np.ndarray, "step"]:
    """The probability of teacher forcing at each step.

    1 up to start_decay_step, then linearly down to lower_bound within decay_steps (Bengio et
    al. 2015, section 2.4).
    """
    past = np.arange(num_steps) - config.start_decay_step
    fall = np.clip(past / max(config.decay_steps, 1), 0.0, 1.0)
    if config.decay_steps == 0:
        fall = (past >= 0).astype(np.float64)
    return (1.0 - fall * (1.0 - config.lower_bound)).astype(np.float32)


def learning_rate(config: OptimizerConfig, num_steps: int) -> optax.Schedule:
    """The optimizer's step size by step: linear warm-up, then constant or a cosine down to zero."""
    if config.schedule == "cosine":
        return optax.warmup_cosine_decay_schedule(
            init_value=config.learning_rate / (config.warmup_steps + 1),
            peak_value=config.learning_rate,
            warmup_steps=config.warmup_steps,
            decay_steps=num_steps,
        )
    return optax.linear_schedule(
        config.learning_rate / (config.warmup_steps + 1), config.learning_rate, config.warmup_steps
    )
