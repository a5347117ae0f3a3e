import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.ndimage import map_coordinates

from cvae_jax.models.place import SeenPlace, cut, put, tents

SIZE, PICTURE = 32, (24, 20)
CLIPS, FRAMES, ACTION = 2, 3, 4


def _grid(rows, columns, picture=PICTURE):
    places = jnp.atleast_1d(jnp.asarray(rows)), jnp.atleast_1d(jnp.asarray(columns))
    return tuple(tents(place, SIZE, n) for place, n in zip(places, picture, strict=True))


@pytest.mark.parametrize("place", [(15.5, 15.5), (12.25, 17.75), (3.1, 29.4), (-60.0, 5.0)])
def test_cut_equals_jax_interpolation(place):
    frame = jax.random.uniform(jax.random.key(0), (SIZE, SIZE))
    got = cut(frame[None, ..., None], *_grid(*place))[0, ..., 0]
    rows, columns = (
        at + np.arange(n) - 0.5 * (n - 1) for at, n in zip(place, PICTURE, strict=True)
    )
    expected = map_coordinates(frame, np.meshgrid(rows, columns, indexing="ij"), 1, "constant")
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_put_is_the_transpose_of_cut():
    keys = jax.random.split(jax.random.key(0))
    frame = jax.random.normal(keys[0], (1, SIZE, SIZE, 3))
    picture = jax.random.normal(keys[1], (1, *PICTURE, 3))
    grid = _grid(10.3, 20.6)
    one, other = (cut(frame, *grid) * picture).sum(), (frame * put(picture, *grid)).sum()
    np.testing.assert_allclose(one, other, rtol=1e-4)


def test_place_can_be_learned_from_far():
    """A picture off by more than its smallest detail still feels where it should go."""
    centre, target = jnp.array([8.3, 8.4]), jnp.array([14.3, 11.1])
    blob = jnp.exp(-jnp.square(jnp.mgrid[-7:8, -7:8] / 4.0).sum(axis=0))[None, ..., None]
    place = lambda at: put(blob, *_grid(at[0], at[1], picture=(15, 15)))  # noqa: E731
    gradient = jax.grad(lambda at: jnp.square(place(at) - place(target)).sum())(centre)
    assert (np.sign(gradient) == np.sign(centre - target)).all()


@pytest.fixture(scope="module")
def seen_place():
    """`seen_place(frames, paths, params)` jitted, and random parameters."""
    model = SeenPlace()
    frame, path = jnp.zeros((CLIPS, SIZE, 2 * SIZE, 3)), jnp.zeros((CLIPS * FRAMES, ACTION))
    shapes = jax.eval_shape(model.init, jax.random.key(0), frame, path)["params"]
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda x: jnp.asarray(rng.normal(0.0, 0.1, x.shape), x.dtype), shapes)
    return jax.jit(lambda frame, path, params: model.apply({"params": params}, frame, path)), params


def _sees_brightness(params):
    """Parameters whose first channel is a cell's brightness, passed on to the shares."""
    params = jax.tree.map(jnp.zeros_like, params)
    for name in ("look1", "look2"):
        kernel = params[name]["Dense_0"]["kernel"]
        inputs = len(kernel) // 9
        middle = kernel[4 * inputs : 5 * inputs]  # of the 3x3 taps
        middle = middle.at[:, 0].set(1.0) if name == "look1" else middle.at[0, 0].set(1.0)
        params[name]["Dense_0"]["kernel"] = kernel.at[4 * inputs : 5 * inputs].set(middle)
    params["logits"]["kernel"] = params["logits"]["kernel"].at[0, 0].set(1.0)
    return params


@pytest.mark.parametrize("cell", [(0, 0), (3, 5), (7, 15)])
def test_place_without_positions_is_where_the_arm_is_seen(seen_place, cell):
    run, params = seen_place
    frame = np.full((CLIPS, SIZE, 2 * SIZE, 3), 0.2, np.float32)
    frame[0, 4 * cell[0] : 4 * cell[0] + 4, 4 * cell[1] : 4 * cell[1] + 4] = 0.9
    place = run(frame, np.zeros((CLIPS, ACTION), np.float32), _sees_brightness(params))
    middle = 4 * np.array(cell) + 2 - np.array([SIZE, 2 * SIZE]) / 2
    np.testing.assert_allclose(place[0], middle, atol=1e-3)
    np.testing.assert_allclose(place[1], [0, 0], atol=1e-3)  # nothing stands out: the middle


def test_path_leads_on_from_where_the_arm_is_seen(seen_place):
    run, params = seen_place
    keys = jax.random.split(jax.random.key(1))
    frame = jax.random.uniform(keys[0], (CLIPS, SIZE, 2 * SIZE, 3))
    path = jax.random.normal(keys[1], (FRAMES, ACTION))
    path = jnp.concatenate([jnp.zeros((1, ACTION)), path[1:]])
    places = run(frame, jnp.tile(path, (CLIPS, 1)), params).reshape(CLIPS, FRAMES, 2)
    ways = places - places[:, :1]
    np.testing.assert_allclose(ways[0], ways[1], atol=1e-4)  # what the path adds knows no frame
    assert np.abs(places[0] - places[1]).max(axis=-1).min() > 0.01
    assert np.abs(ways[:, 1:]).max(axis=-1).min() > 0.1
