"""What training changes from step to step, as one value."""

import dataclasses
import functools
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from optax.contrib import MuonDimensionNumbers, muon

from cvae_jax import schedules
from cvae_jax.config import Config
from cvae_jax.data.frames import FRAME_SIZE
from cvae_jax.models.cvae import CVAE, FRAME_CHANNELS
from cvae_jax.rollout import Params, align_conditions

_SMALLEST_SIDE, _LARGEST_SIZE = 9, 400_000
"""Of a dense kernel that Muon takes. The predictor's that paints its map is larger, and orthogonal
updates of it alone took a tenth of the demo's step; so is the sprite's."""
_UPDATE_RMS = 0.2
"""Root mean square of Muon's update at a learning rate of 1, about that of Adam's."""


class TrainState(flax.struct.PyTreeNode):
    """Parameters, the optimizer's moments, and how far training has come.

    The counts are int32 scalars; no field has an array type, as tree transformations put shapes,
    shardings and None in the place of arrays.

    step: steps done. num_skipped: of them, those whose gradient was not finite and left the
    parameters as they were. num_skipped_in_row: the latest of those without a good one between.
    """

    step: Any
    params: Params
    optimizer_state: Any
    num_skipped: Any
    num_skipped_in_row: Any


def make_optimizer(config: Config) -> optax.GradientTransformation:
    """Adam or Muon, after clipping by the global norm if the config asks for it.

    Adam: Kingma & Ba 2015. Muon (Jordan et al. 2024) makes a kernel's momentum orthogonal and
    scales it to the size of Adam's update (Liu et al. 2025, section 2.2); what `_matrix_axes`
    leaves out is Adam's, at the same learning rate. Momentum is Nesterov's in both parts.
    """
    learning_rate = schedules.learning_rate(config.optimizer, config.train.num_steps)
    if config.optimizer.name == "muon":
        optimizer = muon(
            learning_rate,
            consistent_rms=_UPDATE_RMS,
            muon_weight_dimension_numbers=lambda params: jax.tree.map(_matrix_axes, params),
        )
    else:
        optimizer = optax.adam(learning_rate)
    if config.optimizer.gradient_clip_norm == 0.0:
        return optimizer
    return optax.chain(optax.clip_by_global_norm(config.optimizer.gradient_clip_norm), optimizer)


def _matrix_axes(param) -> MuonDimensionNumbers | None:
    """What are rows and columns of a kernel that Muon takes; None of all else."""
    if param.ndim == 4:  # of a convolution: (rows, columns, in, out)
        return MuonDimensionNumbers(reduction_axis=(0, 1, 2), output_axis=3)
    if param.ndim == 2 and min(param.shape) >= _SMALLEST_SIDE and param.size <= _LARGEST_SIZE:
        return MuonDimensionNumbers()
    return None


def create(config: Config, action_dim: int, position_dim: int) -> TrainState:
    """The state before the first step; a pure function of the config and its seed."""
    return _creation(_seedless(config), action_dim, position_dim)(jax.random.key(config.seed))


def shapes(config: Config, action_dim: int, position_dim: int) -> TrainState:
    """The shapes and types of what `create` returns; computes nothing."""
    program = _creation(_seedless(config), action_dim, position_dim)
    return jax.eval_shape(program, jax.random.key(config.seed))


def _seedless(config):
    return dataclasses.replace(config, seed=0)


@functools.cache
def _creation(config, action_dim, position_dim):
    """A program of a key, traced once for both and found compiled by runs with other seeds."""
    model = config.model

    def create(key):
        frame = jnp.zeros((1, FRAME_SIZE, FRAME_SIZE, FRAME_CHANNELS))
        latent = jnp.zeros((1, model.z_dim))
        action, position = (jnp.zeros((1, model.window, dim)) for dim in (action_dim, position_dim))
        step, path = align_conditions(action, position, model.condition)
        params = CVAE(model).init(key, frame, latent, step, path[:, -1])["params"]
        return TrainState(
            step=jnp.int32(0),
            params=params,
            optimizer_state=make_optimizer(config).init(params),
            num_skipped=jnp.int32(0),
            num_skipped_in_row=jnp.int32(0),
        )

    # It runs once; so it compiles in a third of the time.
    return jax.jit(create, compiler_options={"xla_backend_optimization_level": 0})
