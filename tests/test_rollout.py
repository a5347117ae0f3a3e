import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvae_jax import rollout
from cvae_jax.config import ModelConfig
from cvae_jax.models.cvae import CVAE
from cvae_jax.models.gaussian import sample

BATCH, CONTEXT, TARGETS = 2, 2, 3
TIME = CONTEXT + TARGETS
SMALL = ModelConfig(width=2, z_dim=3, g_dim=4, predictor_width=8, predictor_depth=1, window=2)
VARIANTS = {
    "vector, latent": {},
    "vector, frame": {"feedback": "frame"},
    "vector, frame, skips of the latest": {"feedback": "frame", "last_frame_skip": True},
    "map, latent, composite": {"predictor": "conv", "output": "composite"},
    "map, frame, composite, learned prior": {
        "predictor": "conv",
        "output": "composite",
        "feedback": "frame",
        "prior": "learned",
    },
    "no condition, window 4": {"condition": "none", "window": 4},
}


@pytest.fixture(params=VARIANTS.values(), ids=VARIANTS.keys())
def setting(request):
    """A small model with random parameters, and a batch for it."""
    config = dataclasses.replace(SMALL, **request.param)
    model = CVAE(config)
    keys = jax.random.split(jax.random.key(0), 6)
    video = jax.random.uniform(keys[0], (BATCH, TIME, 64, 64, 3))
    action = jax.random.normal(keys[1], (BATCH, TIME, 4))
    position = jax.random.normal(keys[2], (BATCH, TIME, 3))
    conditions = rollout.align_conditions(action, position, config.condition)
    noise = jax.random.normal(keys[3], (BATCH, TARGETS, config.z_dim))
    windows = jnp.stack([conditions[:, 0]] * config.window, axis=1)
    params = model.init(keys[4], video[:, 0], noise[:, 0], windows)["params"]
    noisy = jax.tree.map(lambda p: p + 0.05 * jax.random.normal(keys[5], p.shape), params)
    return model, noisy, video, conditions, noise


def _all_true():
    return jnp.ones((BATCH, TARGETS), bool)


def test_loop_on_true_frames_equals_the_parallel_pass_and_its_gradients(setting):
    model, params, video, conditions, noise = setting

    def parallel(params):
        return rollout.teacher_forced(model, params, video, conditions, noise)

    def loop(params):
        return rollout.free_running(model, params, video, conditions, noise, _all_true())

    def loss(params, run):
        result = run(params)
        return jnp.square(result.frames - 0.3).sum() + sum(
            jnp.sum(jnp.sin(x)) for x in jax.tree.leaves((result.posterior, result.prior))
        )

    for left, right in zip(*map(jax.tree.leaves, (parallel(params), loop(params))), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-5)
    gradients = [jax.grad(loss)(params, run) for run in (parallel, loop)]
    for left, right in zip(*map(jax.tree.leaves, gradients), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-3, atol=1e-3)


def test_both_passes_equal_a_plain_loop_of_single_steps(setting):
    model, params, video, conditions, noise = setting
    config, bound = model.config, model.bind({"params": params})
    for forced in (True, False):
        h = [bound.encode(video[:, t]) for t in range(TIME)]
        memory = [h[t][0] for t in range(CONTEXT)]
        skips, frames = h[CONTEXT - 1][1], []
        for t in range(CONTEXT, TIME):
            times = [max(time, 0) for time in range(t - config.window, t)]
            steps = [max(time, 1) for time in range(t - config.window + 1, t + 1)]
            posterior = bound.posterior(h[t][0], h[t - 1][0], conditions[:, t])
            latent = sample(posterior, noise[:, t - CONTEXT])
            window = jnp.stack([memory[time] for time in times], axis=1)
            g = bound.predict(window, latent, jnp.stack([conditions[:, s] for s in steps], axis=1))
            frames.append(bound.decode(g, skips, video[:, CONTEXT - 1]))
            if forced or config.feedback == "frame":
                entering, latest = bound.encode(video[:, t] if forced else frames[-1])
                skips = latest if config.last_frame_skip else skips
                memory.append(entering)
            else:
                memory.append(g)
        if forced:
            result = rollout.teacher_forced(model, params, video, conditions, noise)
        else:
            result = rollout.free_running(model, params, video, conditions, noise, ~_all_true())
        np.testing.assert_allclose(result.frames, jnp.stack(frames, axis=1), atol=1e-5)


def test_free_running_reads_no_frame_after_the_context(setting):
    """With given latents, no prediction moves with a later true frame."""
    model, params, video, conditions, noise = setting

    def prediction(video):
        return rollout.generate(model, params, video[:, :CONTEXT], conditions, noise[:, None]).sum()

    gradient = jax.grad(prediction)(video)
    assert float(jnp.abs(gradient[:, CONTEXT:]).max()) == 0.0
    assert float(jnp.abs(gradient[:, CONTEXT - 1]).max()) > 0.0


@pytest.mark.parametrize("target", range(TARGETS))
def test_no_prediction_depends_on_its_own_or_later_frames_but_through_its_latent(setting, target):
    """Through the posterior, frame t reaches z_t; frames after t reach nothing."""
    model, params, video, conditions, noise = setting

    def prediction(video, forced):
        if forced:
            result = rollout.teacher_forced(model, params, video, conditions, noise)
        else:
            result = rollout.free_running(model, params, video, conditions, noise, ~_all_true())
        return result.frames[:, target].sum()

    def without_posterior(video):
        """The parallel pass with latents that no frame reaches."""
        stopped = jax.lax.stop_gradient
        detached = {**params, "posterior_head": jax.tree.map(jnp.zeros_like, params["posterior_head"])}
        result = rollout.teacher_forced(model, stopped(detached), video, conditions, noise)
        return result.frames[:, target].sum()

    time = CONTEXT + target
    for forced in (True, False):
        gradient = jax.grad(prediction)(video, forced)
        assert float(jnp.abs(gradient[:, time + 1 :]).sum()) == 0.0
        assert float(jnp.abs(gradient[:, time]).max()) > 0.0  # the posterior does see x_t
    gradient = jax.grad(without_posterior)(video)
    assert float(jnp.abs(gradient[:, time:]).sum()) == 0.0
    assert float(jnp.abs(gradient[:, time - 1]).max()) > 0.0


def test_generation_equals_free_running_when_the_latents_agree(setting):
    model, params, video, conditions, noise = setting
    if model.config.prior == "learned":
        pytest.skip("a learned prior's latents are not the noise")
    params = {**params, "posterior_head": jax.tree.map(jnp.zeros_like, params["posterior_head"])}
    training = rollout.free_running(model, params, video, conditions, noise, ~_all_true())
    generated = rollout.generate(
        model, params, video[:, :CONTEXT], conditions, jnp.stack([noise, 2 * noise], axis=1)
    )
    np.testing.assert_allclose(generated[:, 0], training.frames, atol=1e-5)
    assert float(jnp.abs(generated[:, 1] - generated[:, 0]).max()) > 1e-4


def test_condition_of_a_frame_is_the_action_into_it_and_the_position_at_it():
    action = jnp.arange(1.0, 6.0).reshape(1, 5, 1)
    position = 10 * jnp.arange(5.0).reshape(1, 5, 1)
    both = rollout.align_conditions(action, position, "action_position")
    np.testing.assert_array_equal(both[0], [[0, 0], [1, 10], [2, 20], [3, 30], [4, 40]])
    np.testing.assert_array_equal(
        rollout.align_conditions(action, position, "action")[0], [[0], [1], [2], [3], [4]]
    )
    assert rollout.align_conditions(action, position, "none").shape == (1, 5, 0)
