import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvae_jax.models.push import Ground, carry
from cvae_jax.types import Scene

CLIPS, SIZE = 2, 32
HALF_WINDOW = 10
"""Its share of half of SIZE; in the middle, the window begins at pixel 6."""
TOUCHED = slice(4, 7)
"""Rows and columns of the window at half size that the arm touches: pixels 14 to 19."""


@pytest.fixture(scope="module")
def frame():
    return jax.random.uniform(jax.random.key(0), (CLIPS, SIZE, SIZE, 3), minval=0.1)


@pytest.fixture(scope="module")
def run(frame):
    """`run([(place, touches), ...])`: the things at each of these frames; holes are black."""
    skips = tuple(jnp.zeros((CLIPS, SIZE // n, SIZE // n, 4)) for n in (1, 2, 4))
    scene = Scene(skips, frame, jnp.zeros((CLIPS, 2)))
    ground = Ground(jnp.dtype("float32"))
    (start, filling), _ = ground.init_with_output(jax.random.key(1), scene, scene.condition)
    filling = filling._replace(pixels=jnp.zeros_like(filling.pixels))
    touched = np.zeros((CLIPS, HALF_WINDOW, HALF_WINDOW, 1), np.float32)
    touched[:, TOUCHED, TOUCHED] = 1.0

    def run(frames):
        pushed, made = start, []
        for place, touches in frames:
            at = jnp.tile(jnp.array(place, jnp.float32), (CLIPS, 1))
            pushed, things = carry(pushed, filling, touches * jnp.asarray(touched), at)
            made.append(things)
        return made

    return run


def test_what_is_not_touched_stays_however_the_arm_goes(run, frame):
    for things in run([((3, 1), 0.0), ((-5, 9), 0.0)]):
        np.testing.assert_array_equal(things.ground, frame)
        assert not things.shown.any()
        assert not things.moved.any()


def test_what_is_touched_goes_with_the_arm_and_leaves_a_hole(run, frame):
    things = run([((4, -2), 1.0), ((6, -8), 1.0)])
    for at, (down, right) in zip(things, ((4, -2), (6, -8)), strict=True):
        expected = np.zeros((CLIPS, SIZE, SIZE, 4), np.float32)
        rows, columns = slice(14 + down, 20 + down), slice(14 + right, 20 + right)
        expected[:, rows, columns] = np.pad(
            frame[:, 14:20, 14:20], ((0, 0), (0, 0), (0, 0), (0, 1)), constant_values=1.0
        )
        np.testing.assert_allclose(at.moved, expected[..., :3], atol=1e-5)
        np.testing.assert_allclose(at.shown, expected[..., 3:], atol=1e-5)
        np.testing.assert_allclose(at.ground, np.array(frame).copy() * _but_for_the_hole())


def test_what_was_pushed_lies_where_the_arm_left_it(run, frame):
    *_, left, later = run([((4, -2), 1.0), ((9, 9), 0.0), ((-9, 9), 0.0)])
    for things in (left, later):
        lies = slice(18, 24), slice(12, 18)
        np.testing.assert_allclose(things.ground[:, *lies], frame[:, 14:20, 14:20], atol=1e-5)
        np.testing.assert_allclose(things.moved[:, *lies], frame[:, 14:20, 14:20], atol=1e-5)
        assert things.shown.sum() == pytest.approx(CLIPS * 36)


def test_a_thing_can_be_pushed_again(run, frame):
    *_, again = run([((4, -2), 1.0), ((4, 0), 0.0), ((4, -2), 0.0), ((0, -2), 1.0)])
    np.testing.assert_allclose(again.moved[:, 14:20, 12:18], frame[:, 14:20, 14:20], atol=1e-5)
    assert again.shown.sum() == pytest.approx(CLIPS * 36)


def test_what_is_carried_covers_what_lies_there(run, frame):
    *_, over = run([((4, -2), 1.0), ((-6, 6), 0.0), ((4, -2), 1.0)])
    np.testing.assert_allclose(over.moved[:, 18:24, 12:18], frame[:, 8:14, 20:26], atol=1e-5)
    np.testing.assert_allclose(over.shown[:, 18:24, 12:18], 1.0, atol=1e-5)


def test_half_touched_is_half_carried(run, frame):
    (things,) = run([((8, 0), 0.5)])
    np.testing.assert_allclose(things.moved[:, 22:28, 14:20], frame[:, 14:20, 14:20] / 2, atol=1e-5)
    np.testing.assert_allclose(
        things.ground[:, 14:20, 14:20], frame[:, 14:20, 14:20] / 2, atol=1e-5
    )


def _but_for_the_hole():
    kept = np.ones((SIZE, SIZE, 1), np.float32)
    kept[14:20, 14:20] = 0.0
    return kept
