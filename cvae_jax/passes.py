"""What a device measures in a pass: a few clips, a few samples of each.

`make_score` predicts; `rollout.generate` is given the context frames alone. `make_describe` holds
the rest, and the posterior, which sees the future: it enters figures named `posterior/...` alone.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from cvae_jax import baselines, fvd, losses, lpips, metrics, protocols, rollout
from cvae_jax.config import Config, ModelConfig
from cvae_jax.models.cvae import CVAE
from cvae_jax.models.gaussian import noise_for
from cvae_jax.types import to_unit_range

_PSNR = {"frame": metrics.psnr, "channel": metrics.channel_psnr}
_NOT_OF_TRAINING = 2_000_000_000
"""Folded into a run's key where training folds in the step, and more than any step."""


class Networks(NamedTuple):
    """What a pass computes with: the model's parameters and, where measured, other networks'."""

    model: Any
    lpips: Any = None
    fvd: Any = None


class Spread(NamedTuple):
    """Sums over the samples of a clip so far, of how they differ from its first one."""

    reference: Float[Array | np.ndarray, "clip target height width 3"]
    total: Float[Array | np.ndarray, "clip target height width 3"]
    squares: Float[Array | np.ndarray, "clip target height width 3"]


def no_samples(num_clips: int, shape: tuple[int, ...]) -> Spread:
    """The sums before a clip's first sample; `shape` is that of its targets."""
    return Spread(*np.zeros((3, num_clips, *shape), np.float32))


def add_samples(
    spread: Spread,
    prediction: Float[Array, "clip sample target height width 3"],
    first: int | Int[Array, ""],
    num_samples: int,
) -> tuple[Spread, Float[Array, "clip target"]]:
    """Sums with samples first, first + 1, ...; those from num_samples on only fill the pass.

    Also the deviation between samples: root mean square over pixels, right once all are in.
    """
    reference = jnp.where(first == 0, prediction[:, 0], spread.reference)
    counted = first + jnp.arange(prediction.shape[1]) < num_samples
    difference = (prediction - reference[:, None]) * counted[:, None, None, None, None]
    total = spread.total + difference.sum(axis=1)
    squares = spread.squares + jnp.square(difference).sum(axis=1)
    variance = (squares - jnp.square(total) / num_samples) / max(num_samples - 1, 1)
    deviation = jnp.sqrt(jnp.maximum(variance, 0.0).mean(axis=(-3, -2, -1)))
    return Spread(reference, total, squares), deviation


def sample_noise(
    config: Config,
    clip_id: Int[Array | np.ndarray, "clip"],
    num_targets: int,
    first: int | Int[Array, ""],
    count: int,
) -> Float[Array, "clip sample target z_dim"]:
    """The noise of samples first, first + 1, ... of each clip; none that training has seen."""
    key = jax.random.fold_in(jax.random.key(config.seed), _NOT_OF_TRAINING)
    return noise_of_samples(
        key, clip_id, first + jnp.arange(count), (num_targets, config.model.z_dim)
    )


def noise_of_samples(
    key: jax.Array,
    clip_id: Int[Array | np.ndarray, "clip"],
    sample: Int[Array, "sample"],
    shape: tuple[int, int],
) -> Float[Array, "clip sample target z_dim"]:
    """Noise of `shape` for samples of clips: a function of key, clip and sample alone.

    So it is the same whatever batch, pass or device they are in.
    """

    def of_clip(clip):
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(
            jax.random.fold_in(key, clip), sample
        )
        return noise_for(keys, shape)

    return jax.vmap(of_clip)(jnp.asarray(clip_id))


def make_generate(config: ModelConfig) -> Callable:
    """`generate(params, context, action, position, noise)`: frames, as `rollout.generate`.

    They are (clip, sample, target, height, width, 3) in [0, 1], of noise (clip, sample, target,
    z_dim); action and position are those of context and targets.
    """
    model = CVAE(config)

    def generate(params, context, action, position, noise):
        conditions = rollout.align_conditions(action, position, config.condition)
        return rollout.generate(model, params, context, conditions, noise)

    return generate


def make_score(config: Config, count: int) -> Callable:
    """`score(networks, (batch, spread), first)` for `count` samples of each clip, from `first` on.

    Gives figures and the new spread: `model/...` (clip, sample, target), `spread` (clip, target).
    """
    evaluation = config.eval
    generate, scores = make_generate(config.model), _make_scores(evaluation)
    num_context, num_samples = evaluation.num_context_frames, evaluation.num_samples

    def score(networks, inputs, first):
        batch, spread = inputs
        num_targets = batch.video.shape[1] - num_context
        noise = sample_noise(config, batch.clip_id, num_targets, first, count)
        context = to_unit_range(batch.video[:, :num_context])
        prediction = generate(networks.model, context, batch.action, batch.position, noise)
        found = scores("model", prediction, batch, networks.lpips)
        if num_samples > 1:
            spread, found["spread"] = add_samples(spread, prediction, first, num_samples)
        return found, spread

    return score


def make_describe(config: Config, thorough: bool) -> Callable:
    """`describe(networks, (batch, others), change)`: what is measured once for each clip.

    others: by name, actions and positions in place of the clip's own. change: as of
    `baselines.mean_change`, or None. Scores have one sample, the first one's noise.
    """
    evaluation = config.eval
    generate, scores = make_generate(config.model), _make_scores(evaluation)
    model, psnr = CVAE(config.model), _psnr(evaluation)
    num_context = evaluation.num_context_frames

    def describe(networks, inputs, change):
        batch, others = inputs
        video = to_unit_range(batch.video)
        context, target = video[:, :num_context], video[:, None, num_context:]
        num_targets = target.shape[2]
        copied = baselines.copy_last_frame(context, num_targets)
        found = scores("copy_last_frame", copied[:, None], batch, networks.lpips)
        if not thorough:
            return found
        if change is not None:
            moved = baselines.mean_motion(context, change)
            found |= scores("mean_motion", moved[:, None], batch, networks.lpips)
        noise = sample_noise(config, batch.clip_id, num_targets, 0, 1)
        if config.model.condition != "none":
            for name, (action, position) in others.items():
                prediction = generate(networks.model, context, action, position, noise)
                found[f"{name}/psnr"] = psnr(prediction, target)
        frames, known = _posterior(model, networks.model, video, batch, noise[:, 0])
        return found | known | {"posterior/psnr": psnr(frames[:, None], target)}

    return describe


def make_features(config: Config) -> Callable:
    """`features(networks, batch, nothing)`: what FVD compares, `fvd/...` (clip, feature).

    Of context and targets: the true ones, sample 1's, and the last context frame repeated.
    """
    generate, num_context = make_generate(config.model), config.eval.num_context_frames

    def features(networks, batch, _):
        context = to_unit_range(batch.video[:, :num_context])
        target = to_unit_range(batch.video[:, num_context:])
        num_targets = target.shape[1]
        noise = sample_noise(config, batch.clip_id, num_targets, 0, 1)
        videos = {
            "true": target,
            "model": generate(networks.model, context, batch.action, batch.position, noise)[:, 0],
            "copy_last_frame": baselines.copy_last_frame(context, num_targets),
        }
        return {
            f"fvd/{name}": fvd.features(networks.fvd, jnp.concatenate([context, video], axis=1))
            for name, video in videos.items()
        }

    return features


def _psnr(evaluation):
    return _PSNR[protocols.PROTOCOLS[evaluation.protocol].psnr]


def _make_scores(evaluation):
    num_context, psnr = evaluation.num_context_frames, _psnr(evaluation)

    def scores(name, prediction, batch, lpips_weights):
        """(clip, sample, target) of predictions (clip, sample, target, height, width, 3)."""
        video = to_unit_range(batch.video)
        true, last = video[:, None, num_context:], video[:, None, None, num_context - 1]
        moving = metrics.moving_pixels(true, jnp.broadcast_to(last, true.shape))
        target = jnp.broadcast_to(true, prediction.shape)
        mask = jnp.broadcast_to(moving, prediction.shape[:-1])
        found = {
            f"{name}/psnr": psnr(prediction, target),
            f"{name}/ssim": metrics.ssim(prediction, target),
            f"{name}/psnr_moving": metrics.masked_psnr(prediction, target, mask),
        }
        if lpips_weights is not None:
            found[f"{name}/lpips"] = lpips.distance(lpips_weights, prediction, true)
        return found

    return scores


def _posterior(model, params, video, batch, noise):
    """Reconstructions whose latents come from the true frames, and what these latents are."""
    conditions = rollout.align_conditions(batch.action, batch.position, model.config.condition)
    use_true = jnp.zeros(noise.shape[:2], bool)
    result = rollout.free_running(model, params, video, conditions, noise, use_true)
    prior = result.prior if model.config.prior == "learned" else None
    kl = losses.kl_divergence(result.posterior, prior)
    return result.frames, {
        "posterior/kl_of_frames": kl.sum(axis=-1),
        "posterior/kl_of_dimensions": kl.mean(axis=1),
        "posterior/mean": result.posterior.mean.mean(axis=1),
        "posterior/variance": result.posterior.mean.var(axis=1),
    }
