"""Workdirs as the modes leave them, with figures that tests know."""

from pathlib import Path
from typing import Any

import numpy as np

from cvae_jax import sheet, video
from cvae_jax.files import write_json
from cvae_jax.logs import MetricsLog

CONFIG = {"seed": 0, "kl": {"weight": 1e-4, "schedule": "cyclical"}, "train": {"num_steps": 60}}


def _measures(psnr: float, slope: float) -> dict[str, Any]:
    frames = [psnr - slope * frame for frame in range(10)]
    return {
        "psnr_mean": sum(frames) / 10,
        "psnr_mean_interval": [sum(frames) / 10 - 0.25, sum(frames) / 10 + 0.25],
        "psnr_per_frame": frames,
        "ssim_mean": 0.9125,
        "psnr_per_frame_interval": [[psnr - 0.3, psnr + 0.3] for psnr in frames],
        "ssim_per_frame": [0.95] * 10,
        "psnr_moving_mean": psnr - 10,
    }


def write_config(workdir: Path, config: dict[str, Any] | None = None) -> None:
    value = {
        "config": config or CONFIG,
        "versions": {"jax": "0.10.2"},
        "data": {"fingerprint": "sha256:9f2c41"},
    }
    write_json(workdir / "config.json", value)


def write_metrics(workdir: Path) -> None:
    with MetricsLog(workdir) as log:
        for step in range(1, 61):
            log.write(
                step,
                {
                    "train/mse": float("nan") if step == 7 else 0.1 / step,
                    "train/kl": 2.0,
                    "train/kl_weight": 1e-4,
                    "train/teacher_forcing_ratio": 1 - step / 60,
                    "train/learning_rate": 1e-3,
                },
            )
            if step % 20 == 0:
                baseline = {"validation/copy_last_frame_psnr_mean": 21.0}
                log.write(step, {"validation/psnr_mean": 20 + step / 20, **baseline})


def write_evaluation(workdir: Path, psnr: float = 28.0, **protocol: Any) -> None:
    value = {
        "protocol": {"split": "test", "num_predicted_frames": 10, **protocol},
        "checkpoint_step": 60,
        "num_clips": 32,
        "model": _measures(psnr, 0.5)
        | {
            "psnr_median": psnr - 2.6,
            "psnr_best_of_100": psnr + 1,
            "psnr_best_of_100_per_frame": [psnr + 1 - frame / 2 for frame in range(10)],
        },
        "copy_last_frame": _measures(psnr - 2, 0.9),
        "mean_motion": {"psnr_mean": psnr - 5.5, "psnr_per_frame": [psnr - 5.5] * 10},
        "shuffled_actions": {"psnr_mean": psnr - 6},
        "latent": {
            "kl_per_dimension": [0.1, 0.5, 0.2],
            "num_active_dimensions": 3,
            "reconstruction_from_posterior": {
                "psnr_mean": psnr - 1.5,
                "psnr_mean_interval": [psnr - 1.9, psnr - 1.1],
                "psnr_above_prediction_mean": -0.004,
                "psnr_above_prediction_mean_interval": [-0.01, 0.01],
            },
        },
        "kl_per_frame": [2.0] * 10,
    }
    write_json(workdir / "evaluation" / "latest.json", value)


def write_samples(workdir: Path) -> None:
    truth, *samples = clips()
    folder = workdir / "samples"
    video.write_gif(folder / "demo.gif", video.grid(truth[None], samples[0][None], 2), 5)
    about = []
    for clip, rank in ((0, None), (3, "worst"), (7, "best")):
        picture = sheet.draw(truth, np.stack(samples), sheet.deviation(np.stack(samples)), 2)
        video.write_png(folder / f"clip_{clip:03}_sheet.png", picture)
        psnr = [[20.0 + clip, 21.0], [22.0, 23.0]]
        about.append({"clip": clip, "rank": rank, "psnr_mean": 21.0 + clip, "psnr": psnr})
    described = {
        "checkpoint_step": 60,
        "num_samples": 2,
        "num_context_frames": 2,
        "num_frames": 4,
        "frames_per_second": 4,
        "rows": sheet.rows(2),
        "clips": about,
    }
    write_json(folder / "samples.json", described)


def clips() -> np.ndarray:
    """A true clip of two context frames and two more, and two samples that differ from it."""
    videos = np.random.default_rng(0).integers(0, 256, (3, 4, 8, 8, 3), dtype=np.uint8)
    videos[1:, :2] = videos[0, :2]
    return videos


def write_run(workdir: Path, **evaluation: Any) -> Path:
    write_config(workdir)
    write_metrics(workdir)
    write_evaluation(workdir, **evaluation)
    write_samples(workdir)
    return workdir
