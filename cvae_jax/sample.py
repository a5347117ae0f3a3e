"""Clips that a person can look at: truth and several samples from the prior."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from cvae_jax import (
    evaluate,
    measuring,
    metrics,
    parallel,
    passes,
    rollout,
    run_folder,
    sheet,
    video,
)
from cvae_jax.config import Config
from cvae_jax.data import pipeline
from cvae_jax.data.pipeline import Batch
from cvae_jax.errors import UserError
from cvae_jax.files import check_writable, lock, write_json
from cvae_jax.logs import Progress
from cvae_jax.protocols import PSNR_DEFINITIONS
from cvae_jax.types import to_uint8, to_unit_range

FRAMES_PER_SECOND = 4
NUM_DRAWN = 4
"""Samples beside each other; further ones enter the standard deviation alone."""
NUM_IN_OVERVIEW = 16
"""Clips beside each other in demo.gif and demo.mp4; an H.264 frame is 16384 pixels wide at most."""


def run(workdir: Path, config: Config, checkpoint: str) -> None:
    """Draws config.sample.clips of the split under `eval` into workdir/samples.

    clip_NNN.gif and .mp4 to watch, clip_NNN.png as a strip, and the first NUM_IN_OVERVIEW clips
    together in demo.gif: the truth above, predictions below, context framed green, predicted
    frames red. The best, the median and the worst clip by PSNR are drawn too, but not in
    demo.gif, where an evaluation of the same checkpoint is there. For the report there are
    sheets, clip_NNN_sheet.png, and samples.json, which says what is on them. The files of an
    earlier call stay until all are drawn.

    Raises:
      UserError: no checkpoint, one whose predictions are not finite, no such clip, other data than
        the run's, a folder that cannot be written, or another process that draws there.
    """
    run_info = run_folder.load(workdir)
    source = run_folder.open_clips(run_info, config)
    if max(config.sample.clip_ids) >= len(source):
        raise UserError(
            f"--config.sample.clips={config.sample.clips}: {config.eval.split} holds clips 0 to "
            f"{len(source) - 1}"
        )
    state, step = evaluate.restore(workdir, config, checkpoint)
    folder = workdir / "samples"
    check_writable(folder)
    psnr_per_clip = _evaluated(workdir, step, config, source)
    ranks = rank(psnr_per_clip)
    clip_ids = list(dict.fromkeys([*config.sample.clip_ids, *ranks]))
    length = config.eval.num_context_frames + config.eval.num_predicted_frames
    batch = pipeline.read_clips(source, clip_ids, num_frames=length)
    measured = dict(enumerate(psnr_per_clip))
    about = [
        {"clip": clip_id, "rank": ranks.get(clip_id), "psnr_mean": measured.get(clip_id)}
        for clip_id in clip_ids
    ]
    try:
        predicted = make_predict(config)(state.params, batch)
        with lock(folder, "choose another --workdir"), _replacing(folder) as fresh:
            overview = _draw(fresh, config, batch, predicted, step, about)
    except FloatingPointError as error:
        raise evaluate.not_finite(workdir, step, str(error)) from error
    print(f"checkpoint {step}: {len(clip_ids)} clips drawn in {folder}; open {overview}")


def rank(psnr_per_clip: Sequence[float]) -> dict[int, str]:
    """Numbers of the best, the median and the worst clip; none where nothing was measured."""
    order = sorted(range(len(psnr_per_clip)), key=lambda clip: -psnr_per_clip[clip])
    places = {"best": 0, "median": len(order) // 2, "worst": -1}
    return {order[place]: name for name, place in places.items()} if order else {}


def make_predict(config: Config) -> Callable[[rollout.Params, Batch], Iterator[np.ndarray]]:
    """`predict(params, batch)`: frames after the context, one clip after the other.

    They are uint8 (sample, target, height, width, 3), and of the same noise as in an evaluation
    over as many frames. Samples go a pass at a time on all devices, so that a hundred fit into
    memory; how many devices there are may change the rounding. Frames that are not finite raise
    FloatingPointError with the name of their clip.
    """
    generate, num_context = passes.make_generate(config.model), config.eval.num_context_frames
    num_samples, num_targets = config.sample.num_samples, config.eval.num_predicted_frames
    num_devices = min(parallel.round_up(1), num_samples)
    of_device = -(-num_samples // num_devices)
    at_once = num_devices * measuring.pass_size(of_device, num_targets).samples

    def draw(params, sample, clip):
        noise = passes.sample_noise(config, clip.clip_id, num_targets, sample[0], len(sample))
        context = to_unit_range(clip.video[:, :num_context])
        frames = generate(params, context, clip.action, clip.position, noise)[0]
        return to_uint8(frames), jnp.isfinite(frames).all(axis=(1, 2, 3, 4))

    program = parallel.pmap_sharded(draw, most=num_devices)

    def predict_clip(params, clip):
        samples = np.arange(at_once).reshape(num_devices, -1)
        passes_of_clip = (
            program(params, start + samples, clip) for start in range(0, num_samples, at_once)
        )
        found = [parallel.unshard(of_pass) for of_pass in passes_of_clip]
        frames, finite = (np.concatenate(parts)[:num_samples] for parts in zip(*found, strict=True))
        if not finite.all():
            raise FloatingPointError(f"clip {clip.clip_id[0]}")
        return frames

    def predict(params, batch):
        for number in range(len(batch.video)):
            yield predict_clip(params, Batch(*(field[[number]] for field in batch)))

    return predict


def _evaluated(workdir, step, config, source) -> list[float]:
    """PSNR of each clip, from the newest evaluation of the checkpoint on the same frames."""
    same = {
        "data_fingerprint": source.statistics.fingerprint,
        "camera": config.data.camera,
        "split": config.eval.split,
        "start_frame": 0,
        "num_context_frames": config.eval.num_context_frames,
        "num_predicted_frames": config.eval.num_predicted_frames,
        "psnr": PSNR_DEFINITIONS["frame"],  # as `_psnr` below
    }
    for path in evaluate.result_paths(workdir / "evaluation", step):
        result = evaluate.read_result(path)
        protocol = result.get("protocol", {})
        if all(protocol.get(field) == value for field, value in same.items()):
            return result.get("model", {}).get("psnr_per_clip", [])
    return []


@contextlib.contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """Yields an empty folder, whose files in the end replace those of an earlier call."""
    fresh = folder / ".fresh"
    shutil.rmtree(fresh, ignore_errors=True)  # of a call that was stopped
    fresh.mkdir()
    try:
        yield fresh
        (folder / "samples.json").unlink(missing_ok=True)  # it tells of the others
        for path in folder.glob("clip_*.*"):
            path.unlink()
        for path in sorted(fresh.iterdir(), key=lambda path: path.name == "samples.json"):
            os.replace(path, folder / path.name)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _draw(folder, config, batch, predicted, step, about):
    """Writes the files of all clips as they are predicted, and what the page needs to know.

    Returns what shows them together, in words.
    """
    num_context, num_samples = config.eval.num_context_frames, config.sample.num_samples
    length = num_context + config.eval.num_predicted_frames
    firsts = []
    with Progress(len(about), description="draw", frames_per_step=length) as bar:
        for clip, truth, samples in zip(about, batch.video, predicted, strict=True):
            context = np.repeat(truth[None, :num_context], num_samples, axis=0)
            clips = np.concatenate([context, samples], axis=1)
            std, shown = sheet.deviation(clips), clips[:NUM_DRAWN]
            path = folder / f"clip_{clip['clip']:03}"
            moving = video.side_by_side(truth, shown, num_context)
            video.write_gif(path.with_suffix(".gif"), moving, FRAMES_PER_SECOND)
            video.write_mp4(path.with_suffix(".mp4"), moving, FRAMES_PER_SECOND)
            video.write_png(path.with_suffix(".png"), video.strip(truth, shown, num_context))
            drawn = sheet.draw(truth, shown, std, num_context)
            video.write_png(folder / f"{path.name}_sheet.png", drawn)
            clip["psnr"] = _psnr(samples[:NUM_DRAWN], truth[num_context:])
            firsts.append(clips[0])
            bar.advance()
    chosen = len(set(config.sample.clip_ids))  # without those that an evaluation added
    together = min(chosen, NUM_IN_OVERVIEW)
    overview = video.grid(batch.video[:together], np.stack(firsts[:together]), num_context)
    video.write_gif(folder / "demo.gif", overview, FRAMES_PER_SECOND)
    video.write_mp4(folder / "demo.mp4", overview, FRAMES_PER_SECOND)
    description = {
        "checkpoint_step": step,
        "split": config.eval.split,
        "num_samples": num_samples,
        "num_context_frames": num_context,
        "num_frames": length,
        "frames_per_second": FRAMES_PER_SECOND,
        "rows": sheet.rows(min(num_samples, NUM_DRAWN)),
        "clips": about,
    }
    write_json(folder / "samples.json", description)
    return "demo.gif" if together == chosen else f"demo.gif (the first {together})"


def _psnr(samples, truth):
    """PSNR of each sample's predicted frames, as drawn."""
    target = np.broadcast_to(truth, samples.shape)
    return metrics.psnr(to_unit_range(jnp.asarray(samples)), to_unit_range(jnp.asarray(target)))
