"""Means, medians, best samples and intervals against loops, closed forms and simulation."""

import numpy as np
import pytest

from cvae_jax import summary


def _scores(shape=(7, 5, 3), seed=0):
    return np.random.default_rng(seed).normal(25, 3, shape).astype(np.float32)


def test_best_of_n_equals_a_loop_over_clips_and_samples():
    scores = _scores()
    for metric, better in (("psnr", max), ("ssim", max), ("lpips", min)):
        expected, courses = [], []
        for clip in scores:
            means = [float(np.mean(sample, dtype=np.float64)) for sample in clip]
            expected.append(better(means))
            courses.append(clip[means.index(better(means))])
        result = summary.summarise(_figures(**{f"model/{metric}": scores}))["model"]
        assert result[f"{metric}_best_of_5"] == pytest.approx(np.mean(expected), rel=1e-12)
        np.testing.assert_allclose(
            result[f"{metric}_best_of_5_per_frame"], np.mean(courses, axis=0), rtol=1e-6
        )


def test_each_metric_chooses_its_own_best_sample():
    psnr, ssim = _scores(seed=1), _scores(seed=2)
    result = summary.summarise(_figures(**{"model/psnr": psnr, "model/ssim": ssim}))["model"]
    assert result["psnr_best_of_5"] == pytest.approx(psnr.mean(2).max(1).mean())
    assert result["ssim_best_of_5"] == pytest.approx(ssim.mean(2).max(1).mean())
    assert (psnr.mean(2).argmax(1) != ssim.mean(2).argmax(1)).any()


def _figures(**more):
    """What measuring gives, of 7 clips and 3 targets."""
    rng = np.random.default_rng(5)
    base = {
        "model/psnr": _scores(),
        "copy_last_frame/psnr": _scores((7, 1, 3), 3),
        "shuffled_actions/psnr": _scores((7, 1, 3), 4),
        "posterior/psnr": _scores((7, 1, 3), 6),
        "posterior/kl_of_frames": rng.random((7, 3)),
        "posterior/kl_of_dimensions": rng.random((7, 4)),
        "posterior/mean": np.zeros((7, 4)),
        "posterior/variance": np.zeros((7, 4)),
    }
    return base | more


def test_clips_with_a_frame_that_is_not_finite_are_named():
    scores = _scores()
    scores[2, 4, 0], scores[5, 0, 2] = np.nan, np.inf
    assert summary.not_finite(_figures(**{"model/psnr": scores})).tolist() == [2, 5]
    assert not len(summary.not_finite(_figures()))


def test_means_are_over_frames_then_samples_then_clips():
    scores = _scores()
    result = summary.summarise(_figures(**{"model/psnr": scores}))["model"]
    assert result["psnr_mean"] == pytest.approx(scores.mean(), rel=1e-6)
    np.testing.assert_allclose(result["psnr_per_frame"], scores.mean((0, 1)), rtol=1e-6)
    np.testing.assert_allclose(result["psnr_per_clip"], scores.mean((1, 2)), rtol=1e-6)
    assert result["psnr_median"] == pytest.approx(np.median(scores.mean((1, 2))), rel=1e-6)
    assert len(result["psnr_per_frame_interval"]) == 3
    for (low, high), value in zip(
        result["psnr_per_frame_interval"], result["psnr_per_frame"], strict=True
    ):
        assert low < value < high


def test_one_sample_has_no_best():
    result = summary.summarise(_figures(**{"model/psnr": _scores((7, 1, 3))}))["model"]
    assert not [name for name in result if "best" in name]


def test_what_is_not_defined_is_left_out():
    scores = _scores().astype(np.float64)
    scores[0], scores[1, :, 2], scores[2, 1], scores[3, 0, 0] = [np.nan] * 4
    result = summary.summarise(_figures(**{"model/psnr_moving": scores}))["model"]
    per_clip = [np.nanmean(np.nanmean(clip, axis=1)) for clip in scores[1:]]
    assert result["psnr_moving_mean"] == pytest.approx(np.mean(per_clip))
    assert result["psnr_moving_median"] == pytest.approx(np.median(per_clip))
    best = [np.nanmax(np.nanmean(clip, axis=1)) for clip in scores[1:]]
    assert result["psnr_moving_best_of_5"] == pytest.approx(np.mean(best))


@pytest.mark.parametrize("count", [1, 2, 5, 6])
def test_median_equals_numpy(count):
    values = np.random.default_rng(count).normal(size=(count, 4))
    np.testing.assert_array_equal(summary.median(values), np.median(values, axis=0))
    assert np.isnan(summary.median(np.full((count, 1), np.nan)))


@pytest.mark.parametrize(("count", "skewed"), [(8, False), (30, True), (256, True)])
def test_intervals_cover_the_truth_at_the_stated_rate(count, skewed):
    """Of 1,000 made-up sets of clips 95 % hold the true mean within their interval."""
    rng = np.random.default_rng(0)
    draw = rng.exponential if skewed else rng.normal
    sets = draw(size=(count, 1000))
    low, high = summary.interval(sets)
    covered = np.mean((low < float(skewed)) & (float(skewed) < high))
    # three standard errors of a rate of 1,000, and what a bootstrap loses to skew at 30
    assert covered == pytest.approx(0.95, abs=0.021 + 0.01 * (count == 30))


def test_interval_of_a_median_covers_it():
    sets = np.random.default_rng(1).exponential(size=(64, 300))
    low, high = summary.interval(sets, summary.median)
    assert np.mean((low < np.log(2)) & (np.log(2) < high)) == pytest.approx(0.95, abs=0.04)


def test_resamples_in_which_nothing_is_finite_are_left_out():
    values = np.full((8, 2), np.nan)
    values[:2, 0] = [20.0, 24.0]  # a tenth of the resamples has neither of the two
    low, high = summary.interval(values)
    assert (low[0], high[0]) == (20.0, 24.0)
    assert np.isnan([low[1], high[1]]).all()


def test_memory_bound_of_the_bootstrap_changes_nothing(monkeypatch):
    values = _scores((50, 4))
    whole = summary.interval(values)
    monkeypatch.setattr(summary, "_LARGEST", 450)
    np.testing.assert_array_equal(summary.interval(values), whole)


def test_sensitivity_is_paired_with_the_first_sample():
    model, shuffled = _scores(), _scores((7, 1, 3), 4)
    found = summary.summarise(_figures(**{"shuffled_actions/psnr": shuffled}))["shuffled_actions"]
    assert found["psnr_mean"] == pytest.approx(shuffled.mean(), rel=1e-6)
    change = (shuffled[:, 0] - model[:, 0]).mean(1)
    assert found["psnr_change_mean"] == pytest.approx(change.mean(), rel=1e-4)
    low, high = found["psnr_change_mean_interval"]
    assert low < change.mean() < high


def test_diversity_is_the_mean_deviation_between_samples():
    spread = np.random.default_rng(0).random((7, 3))
    found = summary.summarise(_figures(spread=spread))["diversity"]
    assert found["pixel_std_mean"] == pytest.approx(spread.mean())
    np.testing.assert_allclose(found["pixel_std_per_frame"], spread.mean(0))


def test_active_dimensions_are_those_whose_posterior_mean_varies():
    """Between clips, within them, below the threshold, not at all."""
    rng = np.random.default_rng(0)
    means = rng.normal(size=(7, 5, 4)) * [0.2, 0.0, 0.05, 0.0]
    means[..., 1] += np.arange(5)
    figures = _figures(**{"posterior/mean": means.mean(1), "posterior/variance": means.var(1)})
    latent = summary.summarise(figures)["latent"]
    np.testing.assert_allclose(
        latent["variance_of_posterior_mean_per_dimension"], means.var((0, 1)), rtol=1e-9
    )
    assert latent["num_active_dimensions"] == 2  # variances of 0.04 and 2
    expected = figures["posterior/kl_of_dimensions"].mean(0)
    np.testing.assert_allclose(latent["kl_per_dimension"], expected)
    seen = latent["reconstruction_from_posterior"]
    assert "sees each true frame" in seen["not_a_prediction"]
    of_frames = figures["posterior/psnr"][:, 0].mean(0)
    np.testing.assert_allclose(seen["psnr_per_frame"], of_frames, rtol=1e-6)
    gap = figures["posterior/psnr"][:, 0].mean(1) - figures["model/psnr"][:, 0].mean(1)
    assert seen["psnr_above_prediction_mean"] == pytest.approx(gap.mean(), rel=1e-4)
