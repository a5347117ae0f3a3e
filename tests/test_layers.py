import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvae_jax.models import layers
from tests.convolutions import (
    enlarged,
    enlarged_conv,
    library_conv,
    random,
    same_with_gradients,
)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (8, 8)])
def test_upsampled_convolution_equals_enlarging_first(size):
    x, kernel = random((2, *size, 3), 0), random((3, 3, 3, 4), 1)
    same_with_gradients(layers.upsampled_conv3x3, enlarged_conv, x, kernel)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_head_is_a_convolution_with_a_bias(dtype):
    x = random((2, 4, 4, 6), 0)
    layer = layers.Head3x3(3, jnp.dtype(dtype))
    params = jax.tree.map(lambda p: p + 0.1, layer.init(jax.random.key(1), x))
    library = nn.Conv(3, (3, 3), use_bias=False, dtype=jnp.dtype(dtype))
    plain = library.apply({"params": {"kernel": params["params"]["kernel"]}}, x)
    ours, plain = layer.apply(params, x), plain + params["params"]["bias"]
    assert ours.dtype == dtype
    np.testing.assert_allclose(ours.astype(float), plain.astype(float), rtol=0.02, atol=1e-5)


@pytest.mark.parametrize(
    "layer",
    [layers.Dense, layers.MatrixConv3x3, layers.Conv3x3, layers.Head3x3, layers.MergeSkip],
)
def test_the_gradient_of_a_bias_is_summed_in_float32(layer):
    """In bfloat16 a sum of 32,768 numbers of a size ends at a 128th of what it is."""
    x = random((32, 32, 32, 2), 0)
    merges = layer is layers.MergeSkip
    inputs = (x, random((8, 32, 32, 2), 1)) if merges else (x,)

    def gradient(dtype):
        options = {"upsample": False} if merges else {}
        module = layer(features=3, dtype=jnp.dtype(dtype), **options)
        params = module.init(jax.random.key(2), *inputs)
        total = lambda params: module.apply(params, *inputs).astype(jnp.float32).sum()  # noqa: E731
        leaves = jax.tree_util.tree_leaves_with_path(jax.grad(total)(params))
        return np.concatenate([leaf for path, leaf in leaves if path[-1].key == "bias"])

    np.testing.assert_allclose(gradient("bfloat16"), gradient("float32"), rtol=0.02)


def _plain_conv(x, params):
    kernel = layers.standardized(params["kernel"], params["gain"])
    return library_conv(x, kernel) + params["bias"]


def test_standardized_kernel_has_mean_zero_and_the_variance_of_its_gain():
    kernel = 0.3 * random((3, 3, 5, 4), 0) + 0.7
    gain = jnp.array([0.5, 1.0, 2.0, -1.5])
    ours = np.asarray(layers.standardized(kernel, gain), np.float64)
    np.testing.assert_allclose(ours.mean(axis=(0, 1, 2)), 0, atol=1e-6)
    leaky_relu_gain = 2 / (1 + 0.2**2)  # keeps the second moment through slope 0.2
    variance = np.square(gain) * leaky_relu_gain / (3 * 3 * 5)
    np.testing.assert_allclose(ours.var(axis=(0, 1, 2)), variance, rtol=1e-5)


def test_standardized_kernel_forgets_the_scale_and_offset_of_its_parameter():
    kernel, gain = random((3, 3, 5, 4), 0), jnp.ones(4)
    expected = layers.standardized(kernel, gain)
    for changed in (7 * kernel, kernel + 3):
        np.testing.assert_allclose(layers.standardized(changed, gain), expected, atol=1e-5)
    gradient = jax.grad(lambda k: layers.standardized(k, gain)[0, 0].sum())(jnp.ones((3, 3, 5, 4)))
    assert np.isfinite(gradient).all()


def test_block_is_convolutions_with_standardized_kernels_each_activated():
    x = random((2, 4, 4, 3), 0)
    layer = layers.ConvBlock((4, 5), jnp.dtype("float32"))
    params = layer.init(jax.random.key(1), x)
    params = jax.tree.map(lambda p: p + 0.1, params)

    def plain(params, x):
        for name in ("Conv3x3_0", "Conv3x3_1"):
            x = layers.activation(_plain_conv(x, params["params"][name]))
        return x

    same_with_gradients(layer.apply, plain, params, x)


@pytest.mark.parametrize("upsample", [False, True])
def test_merged_skip_equals_convolving_the_concatenation(upsample):
    frames_per_clip = 3
    size = 8 if upsample else 4
    x, skip = random((6, 4, 4, 5), 0), random((2, size, size, 7), 1)
    layer = layers.MergeSkip(4, upsample, jnp.dtype("float32"))
    params = layer.init(jax.random.key(2), x, skip)

    def plain(params, x, skip):
        x = enlarged(x) if upsample else x
        both = jnp.concatenate([x, jnp.repeat(skip, frames_per_clip, axis=0)], axis=-1)
        return layers.activation(_plain_conv(both, params["params"]))

    same_with_gradients(layer.apply, plain, params, x, skip)


def test_matrix_convolution_equals_a_convolution():
    x = random((2, 5, 6, 3), 0)
    layer = layers.MatrixConv3x3(4, jnp.dtype("float32"))
    params = layer.init(jax.random.key(1), x)

    def plain(params, x):
        dense = params["params"]["Dense_0"]
        return library_conv(x, dense["kernel"].reshape(3, 3, 3, 4)) + dense["bias"]

    same_with_gradients(layer.apply, plain, params, x)


def test_max_pool_is_the_largest_of_each_two_by_two():
    x = np.random.default_rng(0).normal(size=(2, 4, 6, 3)).astype(np.float32)
    expected = x.reshape(2, 2, 2, 3, 2, 3).max(axis=(2, 4))
    np.testing.assert_array_equal(layers.max_pool2x2(jnp.asarray(x)), expected)


def test_gradient_of_max_pool_goes_to_the_largest():
    x, gradient = random((2, 4, 6, 3), 0), random((2, 2, 3, 3), 1)

    def plain(x):
        window = (1, 2, 2, 1)
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID")

    (expected,) = jax.vjp(plain, x)[1](gradient)
    (given,) = jax.vjp(layers.max_pool2x2, x)[1](gradient)
    np.testing.assert_array_equal(given, expected)


def test_of_equal_pixels_one_has_the_gradient_of_max_pool():
    x, gradient = jnp.ones((2, 4, 6, 3)), random((2, 2, 3, 3), 1)
    (given,) = jax.vjp(layers.max_pool2x2, x)[1](gradient)
    given = np.asarray(given).reshape(2, 2, 2, 3, 2, 3)
    assert np.count_nonzero(given) == gradient.size
    np.testing.assert_array_equal(given.sum(axis=(2, 4)), gradient)


def test_activation_is_svg_s_leaky_relu():
    np.testing.assert_allclose(layers.activation(jnp.array([-2.0, 0.0, 3.0])), [-0.4, 0.0, 3.0])


def test_logit_is_the_sigmoid_s_inverse_but_for_black_and_white():
    frame = jnp.array([0.0, 0.02, 0.3, 0.98, 1.0])
    found = nn.sigmoid(layers.logit(frame))
    np.testing.assert_allclose(found, [0.02, 0.02, 0.3, 0.98, 0.98], rtol=1e-5)


def test_normalized_has_mean_0_and_variance_1_over_its_channels():
    found = layers.normalized(3.0 + 5.0 * random((4, 6, 64), 0))
    np.testing.assert_allclose(found.mean(axis=-1), 0.0, atol=1e-5)
    np.testing.assert_allclose(found.var(axis=-1), 1.0, rtol=1e-4)


def test_waves_are_sines_and_cosines_beside_what_they_are_of():
    x = np.array([[0.5, -2.0]], np.float32)
    expected = [x, np.sin(1.5 * x), np.cos(1.5 * x), np.sin(3 * x), np.cos(3 * x)]
    found = layers.with_waves(jnp.asarray(x), (1.5, 3.0))
    np.testing.assert_allclose(found, np.concatenate(expected, axis=1), atol=1e-6)
