import dataclasses

import jax
import numpy as np

from configs import tiny
from cvae_jax import train_state, validation

CONFIG = validation.from_config_dict(tiny.get_config())


def test_runs_with_other_seeds_share_the_program_that_creates_their_state():
    other = dataclasses.replace(CONFIG, seed=CONFIG.seed + 1)
    first, second = (
        train_state._creation(train_state._seedless(config), 4, 3) for config in (CONFIG, other)
    )
    assert first is second
    kernels = [
        jax.tree.leaves(train_state.create(config, 4, 3).params["encoder"])[-1]
        for config in (CONFIG, other)
    ]
    assert np.abs(kernels[0] - kernels[1]).max() > 0.01
