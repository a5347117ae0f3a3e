import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import tiny
from cvae_jax import parallel, rollout, schedules, train_state, validation
from cvae_jax.data.pipeline import Batch
from cvae_jax.models.cvae import CVAE
from cvae_jax.train_step import (
    TrainStep,
    draw_teacher_forcing,
    example_keys,
    loss_terms,
    noise_for,
)


@pytest.fixture
def values():
    values = tiny.get_config()
    values.model.width = 8
    values.train.num_steps = 1000
    return values


@pytest.fixture
def config(values):
    return validation.from_config_dict(values)


def _batch(num_clips=2, num_frames=5):
    """Clips of a bright square that steps to the right."""
    video = np.full((num_clips, num_frames, 64, 64, 3), 60, np.uint8)
    for clip in range(num_clips):
        for time in range(num_frames):
            video[clip, time, 20 * clip + 10 : 20 * clip + 26, 8 * time : 8 * time + 16] = 220
    rng = np.random.default_rng(0)
    action = rng.normal(size=(num_clips, num_frames, 4)).astype(np.float32)
    position = rng.normal(size=(num_clips, num_frames, 3)).astype(np.float32)
    return Batch(video, action, position, np.arange(num_clips, dtype=np.int32))


_train_step = functools.cache(TrainStep)  # compiles each program once for all tests


def _steps(config, use_true, num_steps, kl_weight=0.0):
    state = parallel.replicate(train_state.create(config, 4, 3))
    step = _train_step(config)
    losses = []
    for _ in range(num_steps):
        state, metrics = step(state, _batch(), np.full((2, 3), use_true), kl_weight)
        losses.append(float(metrics["mse"]))
    return state, losses


@pytest.mark.parametrize(
    ("use_true", "output", "predictor", "optimizer", "num_steps"),
    [(True, "direct", "mlp", "adam", 60), (False, "composite", "conv", "muon", 100)],
)
def test_one_batch_can_be_overfitted(values, use_true, output, predictor, optimizer, num_steps):
    values.model.output, values.model.predictor = output, predictor
    values.optimizer.name = optimizer
    values.optimizer.schedule, values.train.num_steps = "cosine", num_steps  # so few filters swing
    _, losses = _steps(validation.from_config_dict(values), use_true, num_steps)
    assert losses[-1] < 0.05 * losses[0]


def test_terms_are_the_error_of_each_target_and_the_kl_of_its_latents(values):
    values.model.prior = "learned"
    config = validation.from_config_dict(values)
    model, batch = CVAE(config.model), _batch()
    keys = example_keys(jax.random.key(1), jnp.int32(0), jnp.arange(2))
    use_true = jnp.array([[True, False, True], [False, False, True]])

    @functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def run(params):
        video, action, position = map(jnp.asarray, (batch.video / 255.0, *batch[1:3]))
        conditions = rollout.align_conditions(action, position, "action_position")
        given = model, params, video, conditions, noise_for(keys, (3, config.model.z_dim))
        results = rollout.teacher_forced(*given), rollout.free_running(*given, use_true)
        terms = [
            loss_terms(model, params, keys, batch, use_true, forced=forced)
            for forced in (True, False)
        ]
        return results, terms, video

    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda x: x + rng.normal(0, 0.05, x.shape).astype(np.float32),
        train_state.create(config, 4, 3).params,
    )
    results, terms, video = run(params)
    for result, found in zip(results, terms, strict=True):
        error = np.square(result.frames - video[:, 2:]).mean(axis=(2, 3, 4))
        np.testing.assert_allclose(found["mse"], error, rtol=1e-4)
        (mean, logvar), (prior_mean, prior_logvar) = result.posterior, result.prior
        ratio = np.exp(logvar - prior_logvar)
        apart = np.square(mean - prior_mean) / np.exp(prior_logvar)
        kl = -0.5 * (1 + np.log(ratio) - apart - ratio)
        np.testing.assert_allclose(found["kl"], kl.sum(axis=-1), rtol=1e-3)
        assert np.abs(prior_mean).max() > 0.01


def test_loss_is_mse_plus_beta_times_kl(config):
    state = train_state.create(config, 4, 3)
    _, metrics = _train_step(config)(
        parallel.replicate(state), _batch(), np.zeros((2, 3), bool), 0.25
    )
    assert float(metrics["kl"]) > 1e-3
    expected = metrics["mse"] + 0.25 * metrics["kl"]
    np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-6)


def test_a_step_that_is_forced_in_part_is_neither_forced_nor_free(config):
    told = {}
    for use_true in ((True, True, True), (False, True, True), (False, False, False)):
        state = parallel.replicate(train_state.create(config, 4, 3))
        _, metrics = _train_step(config)(state, _batch(), np.array([use_true] * 2), 0.0)
        assert float(metrics["teacher_forced_fraction"]) == pytest.approx(np.mean(use_true))
        told[use_true] = float(metrics["mse"])
    assert np.diff(sorted(told.values())).min() > 1e-6 * min(told.values())


def test_step_is_compiled_once_for_each_way_through_time(config):
    step = _train_step(config)
    state = parallel.replicate(train_state.create(config, 4, 3))
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, _, **__: (
            compiled.append(name) if name.endswith("backend_compile_duration") else None
        )
    )
    for forced in (True, False):
        state, _ = step(state, _batch(), np.full((2, 3), forced), 0.1)
    jax.block_until_ready(state)
    compiled.clear()
    for forced in (True, False, True, False):
        state, _ = step(state, _batch(), np.full((2, 3), forced), 0.2)
    assert compiled == []
    jax.jit(lambda x: x * 3 + 2)(jnp.ones(7))
    assert len(compiled) >= 1  # the listener does hear compilations


@pytest.mark.parametrize(
    ("feedback", "output", "predictor", "share"),
    [
        ("frame", "direct", "mlp", 0.85),
        ("latent", "composite", "conv", 1.0),  # a few frames' masks and sprites need the most
    ],
)
def test_a_step_with_maps_made_again_has_the_same_gradients(
    values, feedback, output, predictor, share
):
    values.model.update(feedback=feedback, output=output, predictor=predictor)
    values.train.batch_size = 2
    video = np.random.default_rng(1).integers(0, 256, (2, 5, 64, 64, 3), np.uint8)
    batch = _batch()._replace(video=video)  # without equal pixels, whose largest is anybody's
    gradients, needs = [], []
    for rematerialize in (False, True):
        values.model.rematerialize = rematerialize
        config = validation.from_config_dict(values)
        step, state = TrainStep(config), train_state.create(config, 4, 3)
        needs.append(step.compile(state, False, 4, 3).memory_analysis().temp_size_in_bytes)
        after, _ = step(parallel.replicate(state), batch, np.zeros((2, 3), bool), 0.1)
        gradients.append(jax.device_get(optax.tree.get(after.optimizer_state, "mu")))
    assert needs[1] < share * needs[0]
    assert jax.tree.structure(gradients[1]) == jax.tree.structure(gradients[0])
    kept, again = map(jax.tree.leaves, gradients)
    apart = list(map(np.subtract, again, kept))
    apart_norms, kept_norms = ([np.linalg.norm(x) for x in leaves] for leaves in (apart, kept))
    assert np.linalg.norm(apart_norms) < 1e-4 * np.linalg.norm(kept_norms)
    # Rounding decides which of two nearly equal pixels is a 2x2 maximum, and so moves a layer's
    # small gradient as far as a change of the parameters by 1e-7 of themselves does.
    assert (np.array(apart_norms) <= 0.1 * np.array(kept_norms)).all()
    for difference, gradient in zip(apart, kept, strict=True):
        np.testing.assert_array_less(np.abs(difference), 5e-6 + 1e-3 * np.abs(gradient))


def test_step_that_is_not_finite_is_skipped_and_counted(config):
    step = _train_step(config)
    state = parallel.replicate(train_state.create(config, 4, 3))
    before = jax.device_get((state.params, state.optimizer_state))
    batch = _batch()
    broken = batch._replace(action=np.full_like(batch.action, np.nan))
    for expected in (1, 2):
        state, _ = step(state, broken, np.zeros((2, 3), bool), 0.1)
        assert int(state.num_skipped) == int(state.num_skipped_in_row) == expected
    for left, right in zip(
        jax.tree.leaves((state.params, state.optimizer_state)),
        jax.tree.leaves(before),
        strict=True,
    ):
        np.testing.assert_array_equal(left, right)
    state, _ = step(state, batch, np.zeros((2, 3), bool), 0.1)
    assert (int(state.step), int(state.num_skipped), int(state.num_skipped_in_row)) == (3, 2, 0)


def test_step_whose_gradient_alone_is_not_finite_is_skipped(config):
    state = parallel.replicate(train_state.create(config, 4, 3))
    before = jax.device_get(state.params)
    state, metrics = _train_step(config)(state, _batch(), np.zeros((2, 3), bool), 1e38)
    assert np.isfinite(metrics["loss"])
    assert not np.isfinite(metrics["gradient_norm"])
    assert int(state.num_skipped) == 1
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(state.params), before)


def test_the_learning_rate_that_is_told_is_the_one_of_the_update(values):
    """A skipped step leaves the optimizer's count, and so its schedule, where they were."""
    values.optimizer.schedule, values.optimizer.warmup_steps = "cosine", 2
    config = validation.from_config_dict(values)
    step, batch = _train_step(config), _batch()
    broken = batch._replace(action=np.full_like(batch.action, np.nan))
    state = parallel.replicate(train_state.create(config, 4, 3))
    told = []
    for one in (batch, broken, batch, broken, batch):
        state, metrics = step(state, one, np.zeros((2, 3), bool), 0.1)
        told.append(float(metrics["learning_rate"]))
    schedule = schedules.learning_rate(config.optimizer, config.train.num_steps)
    assert told[::2] == pytest.approx([float(schedule(count)) for count in range(3)])
    assert len(set(told[::2])) == 3


def _drawing(values, unit, batch_size):
    values.teacher_forcing.unit, values.train.batch_size = unit, batch_size
    values.data.num_predicted_frames = 5
    return validation.from_config_dict(values)


@pytest.mark.parametrize(("unit", "num_draws"), [("batch", 1), ("clip", 400), ("frame", 2000)])
def test_teacher_forcing_is_drawn_for_its_unit_at_its_ratio(values, unit, num_draws):
    config = _drawing(values, unit, 400)
    draws = np.stack([draw_teacher_forcing(config, step, 0.3) for step in range(100)]).astype(float)
    assert draws.mean() == pytest.approx(0.3, abs=0.15 if unit == "batch" else 0.02)
    distinct = {"batch": draws[:, :1, :1], "clip": draws[:, :, :1], "frame": draws}[unit]
    assert distinct[0].size == num_draws
    np.testing.assert_array_equal(draws, np.broadcast_to(distinct, draws.shape))
    if unit != "batch":
        assert 0 < draws[0].mean() < 1


def test_teacher_forcing_repeats_for_a_step_and_obeys_its_ends(values):
    draw = functools.partial(draw_teacher_forcing, _drawing(values, "frame", 4))
    np.testing.assert_array_equal(draw(7, 0.5), draw(7, 0.5))
    next_seed = draw_teacher_forcing(dataclasses.replace(draw.args[0], seed=1), 7, 0.5)
    assert (draw(7, 0.5) != draw(8, 0.5)).any()
    assert (next_seed != draw(8, 0.5)).any()  # no run repeats another's, a step late
    assert draw(7, 1.0).all()
    assert not draw(7, 0.0).any()


def test_every_example_has_its_own_key_each_step():
    keys = [example_keys(jax.random.key(0), jnp.int32(s), jnp.arange(4)) for s in range(3)]
    data = jax.random.key_data(jnp.concatenate(keys))
    assert len({tuple(row) for row in data.tolist()}) == 12


def test_muon_makes_updates_of_kernels_orthogonal_and_leaves_the_rest_to_adam(values):
    values.optimizer.update(name="muon", learning_rate=0.1)
    optimizer = train_state.make_optimizer(validation.from_config_dict(values))
    rng = np.random.default_rng(0)
    shapes = {"convolution": (3, 3, 8, 16), "dense": (20, 40), "bias": (16,)}
    shapes |= {"narrow": (40, 8), "wide": (50, 9000)}
    uneven = {}
    for name, shape in shapes.items():  # no value so small that Adam's epsilon counts
        entries = rng.choice([-1.0, 1.0], shape) * rng.uniform(0.5, 1.5, shape)
        columns = entries * np.geomspace(1.0, 30.0, shape[-1])  # from 1 to 30 times as long
        uneven[name] = jnp.asarray(columns, jnp.float32)
    updates, _ = optimizer.update(uneven, optimizer.init(uneven), uneven)
    for name in ("convolution", "dense"):
        matrix = np.reshape(updates[name], (-1, shapes[name][-1]))
        stretches = np.linalg.svd(matrix, compute_uv=False)
        assert stretches[-1] > 0.4 * stretches[0]
        assert np.sqrt(np.square(matrix).mean()) == pytest.approx(0.2 * 0.1, rel=0.3)
    for name in ("bias", "narrow", "wide"):
        sizes = -updates[name] * np.sign(uneven[name])  # Adam's are all alike at first
        np.testing.assert_allclose(sizes, sizes.mean(), rtol=1e-3)
        assert sizes.mean() == pytest.approx(0.1 * (1 + 0.9 * 0.1 / 0.19), rel=0.01)  # Nesterov's


def test_clipping_bounds_what_reaches_adam(config):
    clipped = dataclasses.replace(
        config, optimizer=dataclasses.replace(config.optimizer, gradient_clip_norm=1e-9)
    )
    free = train_state.make_optimizer(config)
    bound = train_state.make_optimizer(clipped)
    params = {"w": jnp.ones(3)}
    gradients = {"w": jnp.array([3.0, 4.0, 0.0])}
    for optimizer, norm in ((free, 5.0), (bound, 1e-9)):
        _, state = optimizer.update(gradients, optimizer.init(params), params)
        moments = [s for s in jax.tree.leaves(state) if s.shape == (3,)]
        np.testing.assert_allclose(np.linalg.norm(moments[0]), 0.1 * norm, rtol=1e-4)
