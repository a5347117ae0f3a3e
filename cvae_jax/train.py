"""The training loop: a plan that reads from top to bottom."""

import contextlib
import dataclasses
import math
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cvae_jax import config as config_lib
from cvae_jax import (
    diagnosis,
    divergence,
    hosts,
    measuring,
    memory,
    parallel,
    run_folder,
    schedules,
    stopping,
    summary,
    train_state,
)
from cvae_jax.checkpoints import Checkpoints
from cvae_jax.config import Config, EvalConfig
from cvae_jax.data import pipeline
from cvae_jax.data.clip_source import ClipSource
from cvae_jax.data.sources import open_split
from cvae_jax.data.statistics import Statistics
from cvae_jax.errors import UserError
from cvae_jax.files import lock
from cvae_jax.kept import Figures
from cvae_jax.logs import MetricsLog, Progress
from cvae_jax.programs import Programs
from cvae_jax.train_step import TrainStep, draw_teacher_forcing, drawn_shape


def run(workdir: Path, config: Config) -> bool:
    """Trains in `workdir`, from its latest checkpoint if it has one.

    SIGTERM, Ctrl-C or a closed terminal ends it after the step at hand, which is saved. Returns
    whether all steps are done.

    Raises:
      UserError: the workdir holds another run or is another process's now, the data is missing,
        or training diverges.
    """
    parallel.check_batch_size(config.train.batch_size)
    source = open_split(config.data, "train")
    _check_condition(config, source.statistics)
    validation = open_split(config.data, "validation")
    _check_agreement(config, source.statistics)
    with contextlib.ExitStack() as stack:
        held = lock(workdir, "choose another --workdir")
        hosts.from_first(lambda: stack.enter_context(held))
        return _train(workdir, config, source, validation)


def _train(workdir: Path, config: Config, source: ClipSource, validation: ClipSource) -> bool:
    first = hosts.is_first()  # it alone touches the workdir
    dims = len(source.statistics.action_mean), len(source.statistics.position_mean)
    like = train_state.shapes(config, *dims)
    free = hosts.least(memory.available())  # before anything is allocated
    memory.check_state(config, like, free)  # before the workdir is this config's
    run_info = hosts.from_first(lambda: run_folder.claim(workdir, config, source.statistics))
    scale = run_folder.statistics_of(run_info)
    source, validation = source.scaled_by(scale), validation.scaled_by(scale)
    settings, num_steps = config.train, config.train.num_steps
    kl_weight = schedules.kl_weight(config.kl, num_steps)
    teacher_forcing_ratio = schedules.teacher_forcing_ratio(config.teacher_forcing, num_steps)
    train_step = TrainStep(config)
    validating = dataclasses.replace(config, eval=_validation(config, len(validation)))
    measurement = measuring.Measurement(validating, validation, thorough=False)
    num_frames = config.data.num_context_frames + config.data.num_predicted_frames
    frames_per_step = settings.batch_size * num_frames

    folder: Any = Checkpoints(workdir) if first else contextlib.nullcontext()
    with stopping.on_signal() as stop, folder as checkpoints:
        state, start_step, recent = _start(checkpoints, config, like, dims)
        state = parallel.replicate(state)
        if start_step >= num_steps:
            hosts.say(
                f"{workdir}: {start_step} of {num_steps} steps are done; nothing left to train"
            )
            return True
        if start_step:
            hosts.say(f"{workdir}: going on after step {start_step}")
        hosts.say(f"{workdir}: batches of {settings.batch_size} on {parallel.describe()}")
        if (asked := settings.num_validation_clips) > (there := len(validation)):
            hosts.say(f"{workdir}: validates on {there} clips, all there are, not {asked}")
        batches = pipeline.Timed(
            pipeline.train_batches(
                source,
                num_frames=num_frames,
                batch_size=settings.batch_size,
                seed=config.seed,
                start_step=start_step,
                num_threads=config.data.num_threads,
                process_index=jax.process_index(),
                process_count=jax.process_count(),
            )
        )
        ways = _ways(config, teacher_forcing_ratio, start_step)
        programs = Programs(config, train_step, like, ways, dims, free)
        log: Any = MetricsLog(workdir, start_step) if first else contextlib.nullcontext()
        bar = Progress(num_steps, start_step, frames_per_step=frames_per_step, silent=not first)
        watch = divergence.Watch(workdir)
        last_log_step, last_log_time = start_step, time.monotonic()
        with log, bar, programs:
            for step, batch in zip(range(start_step, num_steps), batches, strict=False):
                use_true = draw_teacher_forcing(config, step, teacher_forcing_ratio[step])
                state, metrics = programs.step(state, batch, use_true, kl_weight[step])
                recent.append(metrics)
                done = step + 1
                watch.saw(done, batch.clip_id, metrics["num_skipped_in_row"])
                if settings.debug_nan:
                    diagnosis.check(config, state, batch, use_true, kl_weight[step], workdir)
                bar.advance()
                if _is_due(done, settings.log_every_steps, num_steps):
                    means = divergence.summarise(recent)
                    means["kl_weight"] = kl_weight[step]
                    means["teacher_forcing_ratio"] = teacher_forcing_ratio[step]
                    seconds = time.monotonic() - last_log_time - programs.take_waited()
                    means["frames_per_second"] = (done - last_log_step) * frames_per_step / seconds
                    means["input_wait_fraction"] = batches.take_waited() / seconds
                    if first:
                        log.write(done, {f"train/{name}": value for name, value in means.items()})
                    bar.advance(0, **_shown(means))
                    recent, last_log_step, last_log_time = [], done, time.monotonic()
                validated = None
                validates = first and _is_due(done, settings.eval_every_steps, num_steps)
                saves = validates or _is_due(done, settings.checkpoint_every_steps, num_steps)
                if saves:
                    jax.block_until_ready(metrics)  # or what follows would count as a pause
                pause = time.monotonic()
                if validates:
                    validated = _validation_figures(measurement.measure(state.params))
                    log.write(done, {f"validation/{k}": v for k, v in validated.items()})
                    bar.advance(0, psnr=validated["psnr_mean"])
                if done == num_steps and (skipped := watch.check()):
                    hosts.say(
                        f"{workdir}: the last {skipped} steps had a loss or gradient that is not "
                        "finite and were skipped; --checkpoint=best is of an earlier step, if a "
                        "validation came before"
                    )
                may_stop = jax.process_count() == 1 or not recent  # or all would wait every step
                stopping_now = may_stop and hosts.any_asks(stop.is_set())
                if first and (saves or stopping_now):
                    unlogged = {"unlogged": [_floats(metrics) for metrics in recent]}
                    checkpoints.save(done, state, run_info | unlogged, validated)
                last_log_time += time.monotonic() - pause  # no time of training
                if stopping_now:
                    break
    if done < num_steps:
        hosts.say(
            f"{workdir}: stopped and saved after step {done}; the same command goes on from it"
        )
        return False
    hosts.say(f"trained {num_steps} steps; checkpoints, metrics and TensorBoard files in {workdir}")
    return True


def _check_condition(config: Config, statistics: Statistics) -> None:
    """Raises UserError if the data lack what the model is to be conditioned on."""
    condition = config.model.condition
    if condition != "none" and not len(statistics.action_mean):
        lacks, remedy = "actions", "none"
    elif condition == "action_position" and not len(statistics.position_mean):
        lacks, remedy = "positions", "action"
    else:
        return
    raise UserError(
        f"--config.model.condition={condition}: {config.data.source} in {config.data.dir} has no "
        f"{lacks}; prepare data that have some, or set --config.model.condition={remedy}"
    )


def _ways(config, ratio, start_step):
    """Which programs the steps left are to take, teacher-forced (True) or not, the first one first.

    One that they would need by a chance of less than 1 % is left out.
    """
    if jax.process_count() > 1:
        return []  # JAX compiles the programs of several processes from arrays alone, not shapes
    num_draws = math.prod(drawn_shape(config))
    all_true = ratio[start_step:] ** num_draws  # the chance of each step
    never_taken = {True: np.prod(1.0 - all_true), False: np.prod(all_true)}
    first = bool(draw_teacher_forcing(config, start_step, ratio[start_step]).all())
    ways = [way for way, chance in never_taken.items() if way == first or chance < 0.99]
    return sorted(ways, key=lambda way: way != first)


def _is_due(done: int, every: int, num_steps: int) -> bool:
    return done % every == 0 or done == num_steps


def _validation(config: Config, num_available: int) -> EvalConfig:
    """How training validates: its own context and horizon, one sample, the first clips."""
    return EvalConfig(
        split="validation",
        num_clips=min(config.train.num_validation_clips, num_available),
        num_context_frames=config.data.num_context_frames,
        num_predicted_frames=config.data.num_predicted_frames,
        batch_size=config.eval.batch_size,
    )


def _check_agreement(config: Config, statistics: Statistics) -> None:
    """Raises UserError if the processes of this run are not about to train the same."""
    sections = config_lib.to_dict(config)
    named = ("seed", "model", "kl", "teacher_forcing", "optimizer", "train")
    of_data = ("camera", "num_context_frames", "num_predicted_frames")
    hosts.check_agreement(
        **{name: sections[name] for name in named},
        data=[statistics.fingerprint, *(sections["data"][name] for name in of_data)],
    )


def _start(checkpoints, config, like, dims):
    """What the first process restores or creates, in every process; see `_restore_or_create`."""
    found = []

    def restore_or_create():
        state, *rest = _restore_or_create(checkpoints, config, like, dims)
        found.append(state)
        return rest

    step, unlogged = hosts.from_first(restore_or_create)
    if not found:
        found.append(jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), like))
    return hosts.arrays_from_first(found[0]), step, unlogged


def _restore_or_create(checkpoints, config, like, dims):
    """State, steps done, and the metrics of those that no log line tells of yet."""
    found = checkpoints.restore_latest(like)
    if found is None:
        return train_state.create(config, *dims), 0, []
    state, run, step = found
    return state, step, run.get("unlogged", [])


def _floats(metrics: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in jax.device_get(metrics).items()}


def _shown(means: dict[str, float]) -> dict[str, float]:
    """Of a log line what the progress bar shows; skipped steps once there are some."""
    names = ["loss", "loss_max", "num_skipped"]
    return {name: means[name] for name in names if name == "loss" or means["num_skipped"]}


def _validation_figures(figures: Figures) -> dict[str, float]:
    """NaN throughout for the model if it is for one clip: what is left would look better."""
    names = {
        **{f"{name}_mean": f"model/{name}" for name in ("psnr", "ssim", "psnr_moving")},
        "copy_last_frame_psnr_mean": "copy_last_frame/psnr",
    }
    found = {name: float(summary.mean(summary.per_clip(figures[of]))) for name, of in names.items()}
    if len(summary.not_finite(figures)):
        found |= {name: float("nan") for name, of in names.items() if of.startswith("model/")}
    return found
