from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
import skimage.metrics

from cvae_jax import metrics

CLIP = Path(__file__).resolve().parents[2] / "shared" / "data" / "bair_clip.npz"


def _real_frames():
    if not CLIP.exists():
        pytest.skip(f"{CLIP}: the real clip is not there")
    return np.load(CLIP)["image"][:6].astype(np.float32) / 255.0


def _random_frames():
    rng = np.random.default_rng(0)
    return rng.random((6, 64, 64, 3), dtype=np.float32)


@pytest.mark.parametrize("frames", [_random_frames, _real_frames])
def test_psnr_and_ssim_equal_scikit_image(frames):
    target = frames()
    noise = np.random.default_rng(1).normal(0, 0.1, target.shape)
    prediction = np.clip(target + noise, 0, 1).astype(np.float32)
    psnr = metrics.psnr(jnp.asarray(prediction), jnp.asarray(target))
    ssim = metrics.ssim(jnp.asarray(prediction), jnp.asarray(target))
    for i in range(len(target)):
        expected = skimage.metrics.peak_signal_noise_ratio(target[i], prediction[i], data_range=1.0)
        assert float(psnr[i]) == pytest.approx(expected, abs=1e-4)
        _, per_pixel = skimage.metrics.structural_similarity(
            target[i],
            prediction[i],
            data_range=1.0,
            channel_axis=-1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            full=True,
        )
        assert float(ssim[i]) == pytest.approx(per_pixel[5:-5, 5:-5].mean(), abs=1e-4)


def _finn(target, prediction):
    """`finn_psnr` and `finn_ssim` of SVG's utils.py in their definitions, channel by channel."""
    window = np.outer(*[np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))] * 2)
    window /= window.sum()
    blur = lambda image: scipy.signal.fftconvolve(image, window, mode="valid")  # noqa: E731
    psnr, ssim = [], []
    for x, y in zip(np.moveaxis(target, -1, 0), np.moveaxis(prediction, -1, 0), strict=True):
        x, y = x.astype(np.float64), y.astype(np.float64)
        psnr.append(10 * np.log(1 / ((x - y) ** 2).mean()) / np.log(10))
        means, spread = blur(x) * blur(y), blur(x * y) - blur(x) * blur(y)
        squares = blur(x) ** 2 + blur(y) ** 2
        variances = blur(x * x) + blur(y * y) - squares
        value = (2 * means + 1e-4) * (2 * spread + 9e-4)
        ssim.append((value / ((squares + 1e-4) * (variances + 9e-4))).mean())
    return np.mean(psnr), np.mean(ssim)


@pytest.mark.parametrize("frames", [_random_frames, _real_frames])
def test_channel_psnr_and_ssim_are_the_lab_s(frames):
    target = frames()
    noise = np.random.default_rng(1).normal(0, 0.1, target.shape) * [0.2, 1.0, 3.0]
    prediction = np.clip(target + noise, 0, 1).astype(np.float32)
    psnr = metrics.channel_psnr(jnp.asarray(prediction), jnp.asarray(target))
    ssim = metrics.ssim(jnp.asarray(prediction), jnp.asarray(target))
    for i in range(len(target)):
        assert (float(psnr[i]), float(ssim[i])) == pytest.approx(
            _finn(target[i], prediction[i]), abs=1e-4
        )
    assert (psnr > metrics.psnr(jnp.asarray(prediction), jnp.asarray(target)) + 1).all()


def test_channel_psnr_averages_decibels():
    """Errors of 0.1, 0.01 and 1 are 20, 40 and 0 dB."""
    target = jnp.zeros((1, 8, 8, 3))
    prediction = jnp.broadcast_to(jnp.array([0.1, 0.01, 1.0]), target.shape)
    np.testing.assert_allclose(metrics.channel_psnr(prediction, target), [20.0], rtol=1e-5)


def test_psnr_of_an_exact_frame_is_finite():
    frame = jnp.ones((2, 8, 8, 3))
    one_pixel = jnp.zeros((2, 8, 8), bool).at[:, 3, 5].set(True)
    for psnr in (metrics.psnr, metrics.channel_psnr):
        np.testing.assert_allclose(psnr(frame, frame), [100.0, 100.0], rtol=1e-6)
    found = metrics.masked_psnr(frame, frame, one_pixel)
    np.testing.assert_allclose(found, [100.0, 100.0], rtol=1e-6)


def test_masked_psnr_sees_the_mask_alone():
    target = np.zeros((3, 8, 8, 3), np.float32)
    prediction = target.copy()
    prediction[:, :4] = 0.1  # 20 dB
    prediction[:, 4:] = 1.0  # 0 dB
    mask = np.zeros((3, 8, 8), bool)
    mask[0, :4], mask[1, 4:] = True, True
    got = metrics.masked_psnr(jnp.asarray(prediction), jnp.asarray(target), jnp.asarray(mask))
    np.testing.assert_allclose(got, [20.0, 0.0, np.nan], atol=1e-4)


def test_moving_pixels_are_those_with_one_channel_off():
    last = np.zeros((1, 4, 4, 3), np.float32)
    target = last.copy()
    target[0, 1, 2, 1] = 0.11
    target[0, 3, 3] = 0.09
    moving = np.asarray(metrics.moving_pixels(jnp.asarray(target), jnp.asarray(last)))
    assert np.argwhere(moving[0]).tolist() == [[1, 2]]
