import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvae_jax.config import ModelConfig
from cvae_jax.models.cvae import CVAE
from cvae_jax.models.push import Things
from cvae_jax.models.warp import warp
from cvae_jax.types import Motion, Scene

CLIPS, FRAMES = 2, 3
RETOUCH, NEW, SURE = 0.7, (-1.0, 0.0, 2.0), 30.0
NOTHING = jnp.zeros((CLIPS, 0))


@pytest.fixture(scope="module")
def still():
    frame = jax.random.uniform(jax.random.key(0), (CLIPS, 16, 16, 3), minval=0.1, maxval=0.9)
    return np.repeat(frame, FRAMES, axis=0)


@pytest.fixture(scope="module")
def decode(still):
    """`decode(logits of the masks, flow)` of two clips with heads that give the same everywhere."""
    model = CVAE(
        ModelConfig(width=4, g_dim=8, predictor="conv", output="composite", condition="none")
    )
    frame = jnp.asarray(still[::FRAMES])
    arguments = jnp.zeros((CLIPS, 64)), jnp.zeros((CLIPS, model.config.window, 0))
    params = jax.jit(model.init)(jax.random.key(1), frame, *arguments, NOTHING)["params"]

    def decode(logits, flow):
        heads = {"head": (*3 * [RETOUCH], *NEW, *logits), "flow": flow}
        for name, bias in heads.items():
            head = params["decoder"][name]
            head["kernel"], head["bias"] = 0 * head["kernel"], jnp.array(bias)
        return run(params)

    @jax.jit
    def run(params):
        bound = model.bind({"params": params})
        h, skips = bound.encode(frame)
        scene = Scene(skips, frame, NOTHING)
        return bound.decode(jnp.repeat(h, FRAMES, axis=0), scene, None, None)

    return decode


def _sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x)))


def test_neither_mask_leaves_the_last_context_frame_retouched(decode, still):
    expected = _sigmoid(RETOUCH + np.log(still / (1 - still)))
    np.testing.assert_allclose(decode((-SURE, -SURE), (1.0, 1.0)), expected, atol=1e-5)


def test_first_mask_picks_the_new_frame_which_knows_nothing_of_the_context(decode, still):
    expected = np.broadcast_to(_sigmoid(NEW), still.shape)
    np.testing.assert_allclose(decode((SURE, -SURE), (1.0, 1.0)), expected, atol=1e-5)


def test_second_mask_picks_the_context_frame_moved_by_four_pixels_for_each_one(decode, still):
    got = decode((-SURE, SURE), (0.5, -0.25))  # from 2 rows below and 1 column to the left
    np.testing.assert_allclose(got[:, :-2, 1:], still[:, 2:, :-1], atol=1e-5)


def test_equal_logits_mix_the_three_in_equal_parts(decode):
    parts = [
        decode(logits, (0.5, 0.0)) for logits in ((-SURE, -SURE), (SURE, -SURE), (-SURE, SURE))
    ]
    np.testing.assert_allclose(decode((0.0, 0.0), (0.5, 0.0)), sum(parts) / 3, atol=1e-5)


def test_things_cover_the_ground_new_pixels_cover_both_and_the_sprite_lies_over_all():
    """The layers of `decode`, laid one over another here as alpha compositing has it."""
    config = ModelConfig(width=4, g_dim=8, z_dim=3, predictor="conv", output="composite")
    model, rng = CVAE(config), np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.uniform(0.1, 0.9, shape), jnp.float32)  # noqa: E731
    frame, step, path = draw(CLIPS, 16, 16, 3), draw(CLIPS, 7), draw(CLIPS, 4)
    windows = jnp.stack([step] * config.window, axis=1)
    shapes = jax.eval_shape(model.init, jax.random.key(1), frame, draw(CLIPS, 3), windows, path)
    params = jax.tree.map(lambda x: 0.4 * draw(*x.shape) - 0.2, shapes["params"])
    shown = draw(CLIPS * FRAMES, 16, 16, 1)
    moved, ground = (draw(CLIPS * FRAMES, 16, 16, 3) for _ in range(2))
    things = Things(ground, shown * moved, shown)
    motion = Motion(draw(CLIPS * FRAMES, 7), draw(CLIPS * FRAMES, 4))

    @jax.jit
    def run(params):
        bound = model.bind({"params": params})
        h, skips = bound.encode(frame)
        scene, g = Scene(skips, frame, step), jnp.repeat(h, FRAMES, axis=0)
        arm = bound.hold(g, motion, scene)
        parts = bound.decoder(g, skips), bound.sprite(arm, scene, bound.place(scene.condition))
        return bound.decode(g, scene, arm, things), *parts

    got, (out, flow), (drawn, carried, carried_mask) = run(params)
    out = np.asarray(out + drawn)
    weights = np.exp(np.concatenate([np.zeros_like(out[..., :1]), out[..., 6:]], axis=-1))
    stays, new, moves = np.split(weights / weights.sum(axis=-1, keepdims=True), 3, axis=-1)
    ground = stays * _sigmoid(out[..., :3] + np.log(ground / (1 - ground)))
    ground = ground + moves * warp(frame, flow)
    layers = (1 - shown) * ground + (1 - new) * shown * moved + new * _sigmoid(out[..., 3:6])
    np.testing.assert_allclose(got, (1 - carried_mask) * layers + carried, atol=1e-5)
    for layer in (drawn, carried, carried_mask, flow, new, moves, stays):
        assert np.abs(layer).max() > 0.01
