"""LPIPS and FVD against other ways to compute the same; weights from a pickle without its risks."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from cvae_jax import lpips, summary

KERNELS = ((11, 11, 3, 64), (5, 5, 64, 192), (3, 3, 192, 384), (3, 3, 384, 256), (3, 3, 256, 256))


@pytest.fixture(scope="module")
def weights():
    """Random ones of AlexNet's shapes."""
    rng = np.random.default_rng(0)
    found = {}
    for layer, shape in enumerate(KERNELS):
        scale = np.sqrt(2 / np.prod(shape[:-1]))
        found[f"AlexNet_0|Conv_{layer}|kernel"] = rng.normal(0, scale, shape).astype(np.float32)
        found[f"AlexNet_0|Conv_{layer}|bias"] = rng.normal(0, 0.1, shape[-1:]).astype(np.float32)
        linear = rng.random((1, 1, shape[-1], 1)).astype(np.float32)
        found[f"NetLinLayer_{layer}|Conv_0|kernel"] = linear
    return found


def _by_flax(weights, frames):
    """The network's five outputs, by Flax's convolutions and poolings."""
    x = (2 * frames - 1 - np.array([-0.030, -0.088, -0.188])) / np.array([0.458, 0.448, 0.450])
    outputs = []
    for layer, (kernel, stride, padding) in enumerate(
        ((11, 4, 2), (5, 1, 2), (3, 1, 1), (3, 1, 1), (3, 1, 1))
    ):
        if layer in (1, 2):
            x = nn.max_pool(x, (3, 3), strides=(2, 2))
        convolution = nn.Conv(KERNELS[layer][-1], (kernel,) * 2, (stride,) * 2, padding)
        names = ("kernel", "bias")
        params = {name: weights[f"AlexNet_0|Conv_{layer}|{name}"] for name in names}
        x = nn.relu(convolution.apply({"params": params}, jnp.asarray(x, jnp.float32)))
        outputs.append(np.asarray(x, np.float64))
    return outputs


def test_lpips_is_the_weighted_distance_of_unit_features(weights):
    rng = np.random.default_rng(1)
    one, other = rng.random((2, 3, 64, 64, 3), dtype=np.float32)
    expected = 0.0
    pairs = zip(_by_flax(weights, one), _by_flax(weights, other), strict=True)
    for layer, (left, right) in enumerate(pairs):
        unit = [x / (np.linalg.norm(x, axis=-1, keepdims=True) + 1e-10) for x in (left, right)]
        linear = weights[f"NetLinLayer_{layer}|Conv_0|kernel"][0, 0, :, 0]
        expected += ((unit[0] - unit[1]) ** 2 * linear).sum(-1).mean((1, 2))
    found = lpips.distance(weights, jnp.asarray(one)[None, None], jnp.asarray(other)[None, None])
    np.testing.assert_allclose(found[0, 0], expected, rtol=1e-4)


def test_lpips_broadcasts_the_truth_over_samples_and_is_0_for_it(weights):
    truth = jnp.asarray(np.random.default_rng(2).random((2, 1, 3, 64, 64, 3), np.float32))
    samples = jnp.concatenate([truth, 0.5 * truth], axis=1)
    found = lpips.distance(weights, samples, truth)
    assert found.shape == (2, 2, 3)
    np.testing.assert_allclose(found[:, 0], 0, atol=1e-6)
    assert (found[:, 1] > 0.01).all()


def test_frechet_distance_of_a_scaled_and_shifted_set():
    """For y = a x + b the covariances commute: |m_y - m_x|^2 + (1 - a)^2 tr(S)."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 5)) @ rng.normal(size=(5, 5))
    y = 1.7 * x + 0.3
    shift = ((y.mean(0) - x.mean(0)) ** 2).sum()
    expected = shift + 0.7**2 * np.trace(np.cov(x, rowvar=False))
    assert summary.frechet_distance(x, y) == pytest.approx(expected, rel=1e-6)
    assert summary.frechet_distance(x, x[::-1]) == pytest.approx(0, abs=1e-6)


def test_frechet_distance_with_fewer_clips_than_features_is_finite():
    x, y = np.random.default_rng(0).normal(size=(2, 6, 40))
    assert np.isfinite(summary.frechet_distance(x, y))
