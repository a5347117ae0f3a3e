"""Measures a checkpoint: predictions from the context and the prior, against the true frames.

The posterior, which sees the future, enters one figure only, the diagnostic `kl_per_frame`; it
has no way into a prediction, since `rollout.generate` is given the context frames alone.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from cvae_jax import losses, metrics, parallel, rollout, run_folder, train_state
from cvae_jax.checkpoints import Checkpoints
from cvae_jax.config import Config, EvalConfig
from cvae_jax.data import pipeline
from cvae_jax.data.clip_source import ClipSource
from cvae_jax.data.sources import open_split
from cvae_jax.errors import UserError
from cvae_jax.files import check_writable, write_json
from cvae_jax.logs import Progress
from cvae_jax.models.cvae import CVAE
from cvae_jax.models.gaussian import noise_for
from cvae_jax.types import to_unit_range

NUM_RESAMPLES = 1000
"""Bootstrap resamples of the clips behind each 95 % interval."""

PerFrame = dict[str, Float[np.ndarray, "clip sample target"]]


def run(workdir: Path, config: Config, checkpoint: str) -> dict[str, Any]:
    """Evaluates a checkpoint of `workdir`, prints the table and writes evaluation/STEP.json.

    Raises:
      UserError: no such checkpoint, other data than the run's, fewer clips than are asked for, or
        a folder that cannot be written.
    """
    run_info = run_folder.load(workdir)
    source = run_folder.clips_for(run_info, open_split(config.data, config.eval.split), config)
    if config.eval.num_clips > len(source):
        raise UserError(
            f"--config.eval.num_clips={config.eval.num_clips}: the {config.eval.split} split holds "
            f"{len(source)} clips; ask for at most so many"
        )
    state, step = restore(workdir, config, checkpoint)
    check_writable(workdir / "evaluation")
    result = {
        "protocol": protocol(config, source, run_info),
        "checkpoint_step": step,
        "num_clips": config.eval.num_clips,
        **make_measure(config, config.eval, source)(state.params),
    }
    for name in (str(step), "latest"):
        write_json(workdir / "evaluation" / f"{name}.json", result)
    print(table(result))
    print(f"written to {workdir / 'evaluation' / f'{step}.json'}")
    return result


def restore(workdir: Path, config: Config, checkpoint: str) -> tuple[train_state.TrainState, int]:
    """The state of a checkpoint, `best`, `latest` or a step, and its step."""
    run = run_folder.load(workdir)
    dims = len(run["data"]["action_mean"]), len(run["data"]["position_mean"])
    with Checkpoints(workdir, read_only=True) as checkpoints:
        step = checkpoints.choose(checkpoint)
        like = jax.eval_shape(lambda: train_state.create(config, *dims))
        return checkpoints.restore(step, like)[0], step


def protocol(config: Config, source: ClipSource, run_info: dict[str, Any]) -> dict[str, Any]:
    """Everything that defines the measurement, for the result file."""
    trained_on = {name: run_info["config"]["data"].get(name) for name in ("source", "camera")}
    evaluation = dataclasses.asdict(config.eval)
    del evaluation["batch_size"]  # changes no result
    return {
        "source": config.data.source,
        "data_fingerprint": source.statistics.fingerprint,
        "camera": config.data.camera,
        "trained_on": trained_on | {"data_fingerprint": source.scale.fingerprint},
        "condition": config.model.condition,
        **evaluation,
        "start_frame": 0,
        "latent": f"{config.model.prior} prior",
        "seed": config.seed,
        "frame_size": list(source.statistics.frame_size),
        "psnr": "dB per frame over all channels, peak 1; mean over frames, samples, clips",
        "ssim": "dm-pix, Gaussian window 11, sigma 1.5",
        "psnr_moving": f"over pixels over {metrics.MOVING_THRESHOLD} off the last context frame",
        "shuffled_actions": "left out, as condition is none"
        if config.model.condition == "none"
        else "each clip with the next clip's actions and positions",
    }


def make_measure(
    config: Config, evaluation: EvalConfig, source: ClipSource
) -> Callable[[rollout.Params], dict[str, Any]]:
    """`measure(params)`: the figures on the first clips of `source`, as the result file has them.

    The noise of a clip depends on the seed and the clip alone, so neither the batch size nor the
    number of devices changes a result. Compiled once, at the first call.
    """
    batch_size = parallel.round_up(min(evaluation.batch_size, evaluation.num_clips))
    num_frames = evaluation.num_context_frames + evaluation.num_predicted_frames
    program = parallel.pmap_sharded(_make_device_measure(config, evaluation))

    def measure(params):
        batches = list(
            pipeline.evaluation_batches(
                source, num_frames=num_frames, num_clips=evaluation.num_clips, batch_size=batch_size
            )
        )
        others = [  # each clip gets the next one's
            np.roll(np.concatenate(field), -1, axis=0)
            for field in zip(*((batch.action, batch.position) for batch in batches), strict=True)
        ]
        parts, first = [], 0
        with Progress(
            len(batches), description=evaluation.split, frames_per_step=batch_size * num_frames
        ) as bar:
            for batch in batches:
                count = len(batch.video)
                swapped = [field[first : first + count] for field in others]
                shards = parallel.shard(_pad((batch, *swapped), batch_size))
                part = parallel.unshard(program(params, shards))
                parts.append({name: value[:count] for name, value in part.items()})
                first += count
                bar.advance()
        return _summarise({name: np.concatenate([p[name] for p in parts]) for name in parts[0]})

    return measure


def _make_device_measure(config: Config, evaluation: EvalConfig):
    model = CVAE(config.model)
    num_context = evaluation.num_context_frames
    num_samples, num_targets = evaluation.num_samples, evaluation.num_predicted_frames

    def device_measure(params, shards):
        batch, other_action, other_position = shards
        video = to_unit_range(batch.video)
        context, target = video[:, :num_context], video[:, None, num_context:]
        last = video[:, None, None, num_context - 1]
        moving = metrics.moving_pixels(target, last)
        keys = clip_keys(config.seed, batch.clip_id)
        noise = noise_for(keys, (num_samples, num_targets, config.model.z_dim))

        def generate(action, position):
            conditions = rollout.align_conditions(action, position, config.model.condition)
            return rollout.generate(model, params, context, conditions, noise)

        prediction = generate(batch.action, batch.position)
        copied = jnp.broadcast_to(last, target.shape)
        figures = {
            **_scores("model", prediction, target, moving),
            **_scores("copy_last_frame", copied, target, moving),
            "kl": _kl(model, params, video, batch, noise[:, 0])[:, None],
        }
        if config.model.condition != "none":
            shuffled = generate(other_action, other_position)
            figures["shuffled_actions/psnr"] = metrics.psnr(shuffled, target)
        return figures

    return device_measure


def clip_keys(seed: int, clip_id: Int[Array | np.ndarray, "clip"]) -> jax.Array:
    """A key for each clip, whatever batch or device it is in."""
    return jax.vmap(lambda clip: jax.random.fold_in(jax.random.key(seed), clip))(clip_id)


def _scores(name, prediction, target, moving):
    """(clip, sample, target) figures of predictions (clip, sample, target, h, w, 3)."""
    target = jnp.broadcast_to(target, prediction.shape)
    mask = jnp.broadcast_to(moving, prediction.shape[:-1])
    return {
        f"{name}/psnr": metrics.psnr(prediction, target),
        f"{name}/ssim": metrics.ssim(prediction, target),
        f"{name}/psnr_moving": metrics.masked_psnr(prediction, target, mask),
    }


def _kl(model, params, video, batch, noise):
    """KL of the posterior along the free-running path, for each target in nats."""
    conditions = rollout.align_conditions(batch.action, batch.position, model.config.condition)
    use_true = jnp.zeros(noise.shape[:2], bool)
    result = rollout.free_running(model, params, video, conditions, noise, use_true)
    prior = result.prior if model.config.prior == "learned" else None
    return losses.kl_divergence(result.posterior, prior).sum(axis=-1)


def _pad(tree, batch_size):
    """Repeats the last clip until the batch is full."""
    repeat = lambda x: np.concatenate([x, np.repeat(x[-1:], batch_size - len(x), axis=0)])  # noqa: E731
    return jax.tree.map(repeat, tree)


def _summarise(values: PerFrame) -> dict[str, Any]:
    """Means over frames, then samples, then clips, each with its interval."""
    num_clips, num_samples = values["model/psnr"].shape[:2]
    resamples = np.random.default_rng(0).integers(num_clips, size=(NUM_RESAMPLES, num_clips))
    result: dict[str, Any] = {}
    for name, value in values.items():
        if name == "kl":
            result["kl_per_frame"] = value.mean(axis=(0, 1)).tolist()
            continue
        section, metric = name.split("/")
        figures = result.setdefault(section, {})
        per_clip = _mean(_mean(value, 2), 1)
        figures[f"{metric}_mean"] = float(_mean(per_clip, 0))
        figures[f"{metric}_mean_interval"] = np.quantile(
            _mean(per_clip[resamples], 1), (0.025, 0.975)
        ).tolist()
        figures[f"{metric}_per_frame"] = _mean(_mean(value, 1), 0).tolist()
        if name == "model/psnr":
            figures["psnr_per_clip"] = per_clip.tolist()
        if section == "model" and metric != "psnr_moving" and num_samples > 1:
            best = value.mean(axis=2).max(axis=1).mean()
            figures[f"{metric}_best_of_{num_samples}"] = float(best)
    return result


def _mean(values, axis):
    """The mean of what is defined; frames in which nothing moves have no psnr_moving."""
    count = np.isfinite(values).sum(axis=axis)
    total = np.nansum(values, axis=axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def table(result: dict[str, Any]) -> str:
    """The result for a terminal: the means, then PSNR and SSIM frame by frame."""
    ours, copy = result["model"], result["copy_last_frame"]
    about = result["protocol"]
    rows = [
        f"checkpoint {result['checkpoint_step']}, {result['num_clips']} {about['split']} clips of "
        f"{about['source']} ({about['camera']}), {about['num_context_frames']} -> "
        f"{about['num_predicted_frames']}, {about['num_samples']} sample(s) from the "
        f"{about['latent']}",
        f"{'':22}{'model':>9}{'copy last':>11}{'gain':>8}",
    ]
    names = {"psnr": "PSNR dB", "ssim": "SSIM", "psnr_moving": "PSNR dB, moving"}
    for metric, label in names.items():
        rows.append(_row(label, ours[f"{metric}_mean"], copy[f"{metric}_mean"]))
        low, high = ours[f"{metric}_mean_interval"]
        rows[-1] += f"   (95 %: {low:.3f} to {high:.3f})"
    rows += [f"{k:22}{v:9.3f}" for k, v in ours.items() if "_best_of_" in k]
    if "shuffled_actions" in result:
        shuffled = result["shuffled_actions"]["psnr_mean"]
        fall = shuffled - ours["psnr_mean"]
        rows.append(f"{'PSNR dB, actions shuffled':22}{shuffled:6.3f}{'':11}{fall:8.3f}")
    rows += [
        _row(f"  frame {t + 1:2} PSNR dB", a, b)
        for t, (a, b) in enumerate(zip(ours["psnr_per_frame"], copy["psnr_per_frame"], strict=True))
    ]
    return "\n".join(rows)


def _row(label, ours, copy):
    return f"{label:22}{ours:9.3f}{copy:11.3f}{ours - copy:+8.3f}"
