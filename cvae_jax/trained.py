"""A trained model for other programs: predicts from frames, actions and positions at hand."""

import contextlib
import dataclasses
import functools
import operator
import os
import sys
from collections.abc import Callable, Iterator
from logging import getLogger
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from cvae_jax import evaluate, passes, pretrained, run_folder, validation
from cvae_jax.config import Config, ModelConfig
from cvae_jax.data.statistics import Statistics
from cvae_jax.errors import UserError
from cvae_jax.rollout import Params
from cvae_jax.types import to_unit_range

_BEST = "best"


@dataclasses.dataclass(frozen=True)
class Trained:
    """A checkpoint, with the config of its run and the statistics of the data it has learned."""

    config: Config
    statistics: Statistics
    params: Params = dataclasses.field(repr=False)
    step: int

    def predict(
        self,
        key: jax.Array,
        context: ArrayLike,
        action: ArrayLike | None = None,
        position: ArrayLike | None = None,
        *,
        num_samples: int = 1,
    ) -> Float[Array, "batch sample target height width 3"]:
        """The frames that follow the context; each sample has its own latents from the prior.

        A pure function, compiled once for arrays of a shape: it may stand within `jax.jit` and
        `jax.vmap`, and be differentiated by actions and positions in reverse mode (`jax.grad` of a
        number that is computed of the frames). Time is that of context and targets. For plans that
        are to be compared, map it over actions and positions, so that all have the same latents
        and the context is encoded once.

        Args:
            key: of the latents, which depend on it, the sample and the clip's place in the batch.
            context: uint8 (batch, context, height, width, 3), the first frames, as
                `cvae_jax.data.frames.fit` makes them of others.
            action: finite (batch, time, action_dim) in the units of the data; `action[:, t]` leads
                from frame t to frame t + 1, so that the last one is not used, but must be there.
                None where `model.condition` is `none`: as many frames as in training follow.
            position: finite (batch, time, position_dim) in the units of the data, of the targets
                too; needed where `model.condition` is `action_position` alone.
            num_samples: of each clip.

        Returns:
            float32 in [0, 1].

        Raises:
            ValueError: an array that does not fit the model or the others, or is not finite.
        """
        context = jnp.asarray(context)
        if context.dtype != jnp.uint8:
            raise ValueError(f"context: {context.dtype}; must be uint8, 0 to 255")
        _check("context", context, ("batch", "context", *self.statistics.frame_size, 3))
        batch, num_context = context.shape[:2]
        condition, action_dim = self.config.model.condition, len(self.statistics.action_mean)
        if action is None:
            if condition != "none":
                raise ValueError(f"action: missing; the model's condition is {condition}")
            time = num_context + self.config.data.num_predicted_frames
            action = jnp.zeros((batch, time, action_dim))
        action = jnp.asarray(action, jnp.float32)
        _check("action", action, (batch, "time", action_dim))
        time = action.shape[1]
        if not 1 <= num_context < time:
            raise ValueError(
                f"action: of {time} frames, context of {num_context}; give 1 context frame or "
                "more, and the actions of the frames to come too"
            )
        position_dim = len(self.statistics.position_mean)
        if position is None:
            if condition == "action_position":
                raise ValueError("position: missing; the model's condition is action_position")
            position = jnp.zeros((batch, time, position_dim))
        position = jnp.asarray(position, jnp.float32)
        if position.ndim == 3 and position.shape[1] == time + 1:
            raise ValueError(
                f"action: of {time} frames, position of {time + 1}; give an action for the last "
                "frame too, whatever it is: it is not used"
            )
        _check("position", position, (batch, time, position_dim))
        for what, array, used in (("action", action, time - 1), ("position", position, time)):
            known = not isinstance(array, jax.core.Tracer)
            if known and not np.isfinite(np.asarray(array)[:, :used]).all():
                raise ValueError(f"{what}: a value is not finite")
        num_samples = _whole("num_samples", num_samples)
        for what, count in (("batch", batch), ("num_samples", num_samples)):
            if count < 1:
                raise ValueError(f"{what}={count}: must be at least 1")
        predict = _program(self.config.model, num_samples)
        conditions = self.statistics.normalised(action, position)
        with jax.enable_x64(False):
            return predict(self.params, key, context, *conditions)


def load(workdir: str | os.PathLike[str] | None = None, checkpoint: str | int = _BEST) -> Trained:
    """The model of a run, or without a workdir the one that comes with the project.

    Args:
        workdir: of the run; nothing is written there, and its data need not be there.
        checkpoint: `best` by validation PSNR, `latest` or a step.

    Raises:
        UserError: no such run or checkpoint, or one that is damaged.
    """
    if workdir is None:
        if checkpoint != _BEST:
            raise UserError(
                f"checkpoint={checkpoint}: the model that comes with the project has no others; "
                "leave it out or name a workdir"
            )
        run, state = pretrained.read()
        config = _config(run)
    else:
        run = run_folder.load(Path(workdir))
        config = _config(run)
        with _logs_kept():
            state, _ = evaluate.restore(Path(workdir), config, str(checkpoint))
    params = jax.tree.map(jnp.asarray, jax.device_get(state.params))
    return Trained(config, run_folder.statistics_of(run), params, int(state.step))


def _config(run):
    return validation.from_config_dict(run_folder.stored_config(run))


@contextlib.contextmanager
def _logs_kept() -> Iterator[None]:
    """Restores the settings of logs and hooks that `Checkpoints` makes for the whole process.

    It leaves them itself, as the rest of a save or restore that failed ends after it is closed.
    """
    verbosity, hook = logging.get_verbosity(), sys.unraisablehook
    levels = {name: getLogger(name).level for name in ("absl", "asyncio")}
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        sys.unraisablehook = hook
        for name, level in levels.items():
            getLogger(name).setLevel(level)


@functools.cache
def _program(config: ModelConfig, num_samples: int) -> Callable:
    generate = passes.make_generate(config)

    def predict(params, key, context, action, position):
        batch, num_context = context.shape[:2]
        shape = (action.shape[1] - num_context, config.z_dim)
        noise = passes.noise_of_samples(key, jnp.arange(batch), jnp.arange(num_samples), shape)
        return generate(params, to_unit_range(context), action, position, noise)

    return jax.jit(predict)


def _check(what: str, array: jax.Array, expected: tuple[int | str, ...]) -> None:
    """Raises ValueError unless the array has the shape, in which a word is any size."""
    fits = array.ndim == len(expected) and all(
        isinstance(size, str) or size == found
        for found, size in zip(array.shape, expected, strict=True)
    )
    if not fits:
        wanted = ", ".join(map(str, expected))
        remedy = "; cvae_jax.data.frames.fit makes frames fit" if what == "context" else ""
        raise ValueError(f"{what}: shape {array.shape}; must be ({wanted}){remedy}")


def _whole(what: str, value: object) -> int:
    """A number of any type that stands for a whole one; raises ValueError for others."""
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError as error:
        raise ValueError(f"{what}={value!r}: must be a whole number") from error
