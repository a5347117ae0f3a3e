import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.ndimage import map_coordinates

from cvae_jax.models.warp import warp


def _frames(clips, height, width):
    return jax.random.uniform(jax.random.key(0), (clips, height, width, 3))


def _plain(frame, flow):
    """`warp` frame by frame and channel by channel, by JAX's own interpolation."""
    height, width = frame.shape[1:3]
    rows, columns = jnp.mgrid[:height, :width]
    per_clip = len(flow) // len(frame)
    moved = [
        jnp.stack(
            [
                map_coordinates(
                    frame[index // per_clip, ..., channel],
                    [jnp.clip(rows + down, 0, height - 1), jnp.clip(columns + right, 0, width - 1)],
                    order=1,
                    mode="nearest",
                )
                for channel in range(frame.shape[-1])
            ],
            axis=-1,
        )
        for index, (down, right) in enumerate(jnp.moveaxis(flow, -1, 1))
    ]
    return jnp.stack(moved)


@pytest.mark.parametrize("scale", [0.4, 3.0, 40.0])
def test_warp_and_its_gradients_equal_jax_interpolation(scale):
    frame = _frames(2, 8, 6)
    flow = scale * jax.random.normal(jax.random.key(1), (6, 8, 6, 2))
    weigh = jax.random.normal(jax.random.key(2), (6, 8, 6, 3))
    ours, plain = (
        jax.value_and_grad(lambda f, x, w=way: (w(f, x) * weigh).sum(), argnums=(0, 1))(frame, flow)
        for way in (warp, _plain)
    )
    for left, right in zip(jax.tree.leaves(ours), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-4)


def test_flow_says_where_a_pixel_comes_from_in_rows_and_columns():
    frame = _frames(1, 8, 8)
    flow = jnp.broadcast_to(jnp.array([2.0, -1.0]), (1, 8, 8, 2))
    np.testing.assert_array_equal(warp(frame, flow)[0, :6, 1:], frame[0, 2:, :7])


def test_flow_out_of_the_frame_takes_its_border():
    frame = _frames(1, 8, 8)
    flow = jnp.broadcast_to(jnp.array([0.0, 100.0]), (1, 8, 8, 2))
    expected = np.broadcast_to(frame[0, :, -1:], (8, 8, 3))
    np.testing.assert_array_equal(warp(frame, flow)[0], expected)
