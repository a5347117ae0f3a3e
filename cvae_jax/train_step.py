"""One step of training: rollout, loss, gradient, update, on each device's share of the batch."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from cvae_jax import losses, parallel, rollout, schedules
from cvae_jax.config import Config
from cvae_jax.data.frames import FRAME_SIZE
from cvae_jax.data.pipeline import Batch
from cvae_jax.models.cvae import CVAE, FRAME_CHANNELS
from cvae_jax.models.gaussian import noise_for
from cvae_jax.train_state import TrainState, make_optimizer
from cvae_jax.types import to_unit_range


def draw_teacher_forcing(
    config: Config, step: int, ratio: float
) -> Bool[np.ndarray, "batch target"]:
    """Where the true frame enters the window, each draw with probability `ratio`.

    One draw decides for the whole batch (as the lab's code does), for a clip or for a frame, by
    teacher_forcing.unit. Drawn on the host, a pure function of (seed, step): a resumed run
    repeats it, and choosing a program by it does not wait for the device.
    """
    draws = np.random.default_rng((config.seed, step)).random(drawn_shape(config))
    shape = config.train.batch_size, config.data.num_predicted_frames
    return np.broadcast_to(draws < ratio, shape)


def drawn_shape(config: Config) -> tuple[int, int]:
    """How many draws a step makes, by teacher_forcing.unit, to be broadcast to (batch, target)."""
    batch, targets = config.train.batch_size, config.data.num_predicted_frames
    shapes = {"batch": (1, 1), "clip": (batch, 1), "frame": (batch, targets)}
    return shapes[config.teacher_forcing.unit]


def own_examples(batch: Batch) -> np.ndarray:
    """Where in the whole batch this process's examples stand."""
    count = len(batch.video)
    return np.arange(count, dtype=np.int32) + count * jax.process_index()


class TrainStep:
    """The pmapped step `(state, batch, use_true, kl_weight) -> state, metrics`.

    The batch is this process's part of the whole one, split over its devices here; use_true
    (batch, target) is that of the whole batch, or the processes would choose different programs.
    If it is true throughout, the parallel teacher-forced program runs, else the free-running
    one; both give the same numbers where both apply. The given state is donated. The metrics
    are means over the whole batch, but for the two counts of the state.
    """

    def __init__(self, config: Config):
        """Compiles nothing yet."""
        self._config = config
        # An argument of the programs, so that runs with other seeds find them compiled.
        self._key = np.asarray(jax.random.key_data(jax.random.key(config.seed)))
        self._programs = {
            forced: parallel.pmap_replicated(_make_device_step(config, forced))
            for forced in (True, False)
        }
        self._compiled: dict[bool, Callable] = {}

    def __call__(self, state, batch, use_true, kl_weight):
        """One step; the program is compiled now if `compile` has not done it."""
        example = own_examples(batch)
        shards = parallel.shard((batch, use_true[example], example))
        forced = bool(use_true.all())
        program = self._compiled.get(forced, self._programs[forced])
        return program(state, shards, (self._key, np.float32(kl_weight)))

    def trace(self, state: TrainState, forced: bool, action_dim: int, position_dim: int):
        """The shapes of what a step returns, from those of a state; computes nothing."""
        inputs = self._abstract(action_dim, position_dim)
        return jax.eval_shape(self._programs[forced], state, *inputs)

    def compile(
        self, state: TrainState, forced: bool, action_dim: int, position_dim: int
    ) -> jax.stages.Compiled:
        """Compiles a program for the shapes of a state and of the config's batches, to be used."""
        inputs = self._abstract(action_dim, position_dim)
        compiled = parallel.compiled(self._programs[forced].lower(state, *inputs))
        self._compiled[forced] = compiled
        return compiled

    def _abstract(self, action_dim, position_dim):
        data = self._config.data
        clips = self._config.train.batch_size // jax.process_count()
        time = data.num_context_frames + data.num_predicted_frames
        array: Any = jax.ShapeDtypeStruct  # in the place of arrays
        batch = Batch(
            array((clips, time, FRAME_SIZE, FRAME_SIZE, FRAME_CHANNELS), np.uint8),
            array((clips, time, action_dim), np.float32),
            array((clips, time, position_dim), np.float32),
            array((clips,), np.int32),
        )
        use_true = array((clips, data.num_predicted_frames), np.bool_)
        shards = parallel.shard_shapes((batch, use_true, array((clips,), np.int32)))
        return shards, (array(self._key.shape, self._key.dtype), array((), np.float32))


def _make_device_step(config: Config, forced: bool):
    model, optimizer = CVAE(config.model), make_optimizer(config)
    learning_rate = schedules.learning_rate(config.optimizer, config.train.num_steps)

    def loss(params, keys, batch, use_true, kl_weight):
        terms = loss_terms(model, params, keys, batch, use_true, forced=forced)
        return weighed(terms, kl_weight), {name: term.mean() for name, term in terms.items()}

    def device_step(state, shards, constants):
        batch, use_true, example = shards
        key, kl_weight = constants
        keys = example_keys(jax.random.wrap_key_data(key), state.step, example)
        (total, means), gradients = jax.value_and_grad(loss, has_aux=True)(
            state.params, keys, batch, use_true, kl_weight
        )
        gradients, means = parallel.mean_over_devices((gradients, means | {"loss": total}))
        norm = optax.tree.norm(gradients)
        metrics = means | {
            "gradient_norm": norm,
            "learning_rate": jnp.asarray(learning_rate(state.step - state.num_skipped)),
            "teacher_forced_fraction": parallel.mean_over_devices(use_true.mean()),
        }
        new = _apply(optimizer, state, gradients, jnp.isfinite(norm + metrics["loss"]))
        return new, metrics | {
            "num_skipped": new.num_skipped,
            "num_skipped_in_row": new.num_skipped_in_row,
        }

    return device_step


def example_keys(key: jax.Array, step: Int[Array, ""], example: Int[Array, "batch"]) -> jax.Array:
    """A key for each example of a step's global batch, whichever device it is on."""
    return jax.vmap(lambda index: jax.random.fold_in(jax.random.fold_in(key, step), index))(example)


def loss_terms(
    model: CVAE,
    params: rollout.Params,
    keys: jax.Array,
    batch: Batch,
    use_true: Bool[Array, "batch target"],
    *,
    forced: bool,
) -> dict[str, Float[Array, "batch target"]]:
    """`mse` and `kl` for each predicted frame: the two terms of the negative evidence bound.

    mse is a mean over pixels and channels, kl a sum over latent dimensions (Denton & Fergus
    2018, eq. 2); the step averages both over frames and clips and weighs kl by beta.
    """
    video = to_unit_range(jnp.asarray(batch.video))
    conditions = rollout.align_conditions(
        jnp.asarray(batch.action), jnp.asarray(batch.position), model.config.condition
    )
    num_targets = use_true.shape[1]
    noise = noise_for(keys, (num_targets, model.config.z_dim))
    if forced:
        result = rollout.teacher_forced(model, params, video, conditions, noise)
    else:
        result = rollout.free_running(model, params, video, conditions, noise, use_true)
    prior = result.prior if model.config.prior == "learned" else None
    return {
        "mse": losses.squared_error(result.frames, video[:, -num_targets:]),
        "kl": losses.kl_divergence(result.posterior, prior).sum(axis=-1),
    }


def weighed(
    terms: dict[str, Float[Array, "batch target"]], kl_weight: float | Float[Array, ""]
) -> Float[Array, ""]:
    """The loss of `loss_terms`: the negative evidence bound, but for beta as the KL's weight."""
    return terms["mse"].mean() + kl_weight * terms["kl"].mean()


def _apply(optimizer, state, gradients, finite):
    """The updated state; if the step is not finite, the old parameters with one more skip."""
    updates, optimizer_state = optimizer.update(gradients, state.optimizer_state, state.params)
    params = optax.apply_updates(state.params, updates)
    keep = lambda new, old: jax.tree.map(lambda n, o: jnp.where(finite, n, o), new, old)  # noqa: E731
    return TrainState(
        step=state.step + 1,
        params=keep(params, state.params),
        optimizer_state=keep(optimizer_state, state.optimizer_state),
        num_skipped=state.num_skipped + ~finite,
        num_skipped_in_row=jnp.where(finite, 0, state.num_skipped_in_row + 1),
    )
