"""Clips that a person can look at: truth and several samples from the prior."""

from pathlib import Path

import jax
import numpy as np

from cvae_jax import evaluate, passes, rollout, run_folder, video
from cvae_jax.config import Config
from cvae_jax.data import pipeline
from cvae_jax.data.pipeline import Batch
from cvae_jax.data.sources import open_split
from cvae_jax.errors import UserError
from cvae_jax.files import check_writable
from cvae_jax.logs import Progress
from cvae_jax.models.cvae import CVAE
from cvae_jax.types import to_uint8, to_unit_range

FRAMES_PER_SECOND = 4


def run(workdir: Path, config: Config, checkpoint: str) -> None:
    """Draws config.sample.clips of the split under `eval` into workdir/samples.

    clip_NNN.gif and .mp4 to watch, clip_NNN.png as a strip, and all clips in demo.gif: the truth
    above, predictions below, context framed green, predicted frames red.

    Raises:
      UserError: no checkpoint, no such clip, other data than the run's, or a folder that cannot be
        written.
    """
    run_info = run_folder.load(workdir)
    source = run_folder.clips_for(run_info, open_split(config.data, config.eval.split), config)
    clip_ids = config.sample.clip_ids
    if max(clip_ids) >= len(source):
        raise UserError(
            f"--config.sample.clips={config.sample.clips}: {config.eval.split} holds clips 0 to "
            f"{len(source) - 1}"
        )
    state, step = evaluate.restore(workdir, config, checkpoint)
    folder = workdir / "samples"
    check_writable(folder)
    num_context = config.eval.num_context_frames
    length = num_context + config.eval.num_predicted_frames
    batch = pipeline.read_clips(source, clip_ids, num_frames=length)
    predicted = predict(config, state.params, batch)
    for stale in folder.glob("clip_*.*"):  # of an earlier call, perhaps with other clips
        stale.unlink()
    firsts = []
    with Progress(len(clip_ids), description="draw", frames_per_step=length) as bar:
        for clip_id, truth, samples in zip(clip_ids, batch.video, predicted, strict=True):
            context = np.repeat(truth[None, :num_context], len(samples), axis=0)
            clips = np.concatenate([context, samples], axis=1)
            firsts.append(clips[0])
            name = f"clip_{clip_id:03}"
            moving = video.side_by_side(truth, clips, num_context)
            video.write_gif(folder / f"{name}.gif", moving, FRAMES_PER_SECOND)
            video.write_mp4(folder / f"{name}.mp4", moving, FRAMES_PER_SECOND)
            video.write_png(folder / f"{name}.png", video.strip(truth, clips, num_context))
            bar.advance()
    overview = video.grid(batch.video, np.stack(firsts), num_context)
    video.write_gif(folder / "demo.gif", overview, FRAMES_PER_SECOND)
    video.write_mp4(folder / "demo.mp4", overview, FRAMES_PER_SECOND)
    print(f"checkpoint {step}: {len(clip_ids)} clips drawn in {folder}; open demo.gif")


def predict(config: Config, params: rollout.Params, batch: Batch) -> np.ndarray:
    """Frames after the context, uint8 (clip, sample, target, height, width, 3).

    Sample by sample the same noise as an evaluation over as many frames.
    """
    model, num_context = CVAE(config.model), config.eval.num_context_frames
    num_samples, num_targets = config.sample.num_samples, config.eval.num_predicted_frames
    noise = passes.sample_noise(config, batch.clip_id, num_targets, 0, num_samples)

    @jax.jit
    def generate(params, batch):
        context = to_unit_range(batch.video[:, :num_context])
        conditions = rollout.align_conditions(batch.action, batch.position, config.model.condition)
        return to_uint8(rollout.generate(model, params, context, conditions, noise))

    return np.asarray(generate(params, batch))
