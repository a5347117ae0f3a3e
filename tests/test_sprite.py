import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvae_jax.models.sprite import Sprite
from cvae_jax.types import Arm, Motion, Scene

CLIPS, FRAMES, SIZE, CHANNELS = 2, 3, 32, 2
PICTURE = 24, 20
"""The shares of a frame of SIZE."""


@pytest.fixture(scope="module")
def sprite():
    """`sprite(place of each frame)` of an arm that stood in the middle, and the scene."""
    model = Sprite(channels=CHANNELS, dtype=jnp.dtype("float32"))
    frame = jax.random.uniform(jax.random.key(1), (CLIPS, SIZE, SIZE, 3), minval=0.1)
    scene = Scene((), frame, jnp.zeros((CLIPS, 2)))
    middle = jnp.zeros((CLIPS, 2))

    def arm(place):
        any_pose = jnp.ones((len(place), 1))
        return Arm(Motion(any_pose, any_pose), jnp.asarray(place, jnp.float32), any_pose)

    params = model.init(jax.random.key(2), arm(np.zeros((CLIPS * FRAMES, 2))), scene, middle)
    bias = params["params"]["out"]["bias"].reshape(*PICTURE, CHANNELS + 1)
    logit = np.repeat([30.0, 3.0], PICTURE[1] // 2)  # the mask is open; half so, at 3 - 3
    params["params"]["out"]["bias"] = bias.at[..., -1].set(logit).ravel()
    run = jax.jit(lambda place: model.apply(params, arm(place), scene, middle))
    return run, np.repeat(frame, FRAMES, axis=0)


def test_pixels_around_the_arm_are_carried_to_where_it_is_now(sprite):
    run, still = sprite
    place = np.tile([[0, 0], [4, 0], [-2, 6]], (CLIPS, 1))
    _, carried, mask = run(place)
    for frame, (down, right) in enumerate(place):
        rows, columns = slice(8 + down, 24 + down), slice(8 + right, 24 + right)
        shown = mask[frame, rows, columns]
        np.testing.assert_allclose(shown[:, :8], 1.0, atol=1e-4)
        np.testing.assert_allclose(shown[:, 8:], 0.5, atol=0.1)
        expected = shown * still[frame, 8:24, 8:24]
        np.testing.assert_allclose(carried[frame, rows, columns], expected, atol=1e-4)


def test_nothing_is_drawn_beyond_the_picture(sprite):
    run, _ = sprite
    drawn, carried, mask = run(np.full((CLIPS * FRAMES, 2), 12.0))
    for result in (drawn, carried, mask):
        assert np.abs(result[:, : 4 + 12]).max() == 0.0
        assert np.abs(result[:, :, : 6 + 12]).max() == 0.0
        assert np.abs(result[:, 18:, 20:]).max() > 0.0
