"""Overfits one real clip: can the model draw real frames at all?

    python -m benchmarks.overfit --clip=bair_clip.npz

The file holds `image` or `aux1_image` (uint8, 30 frames of 64x64) and `action`. The clip is
written as a folder, prepared, trained on alone, and predicted from its first two frames with
latents from the prior, as any run is. No test: the model has seen these frames.
"""

import argparse
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np

from benchmarks import study_runs
from benchmarks.worker import ROOT
from cvae_jax import video
from cvae_jax.errors import UserError
from cvae_jax.files import read_json, write_json

RESULTS = Path(__file__).parent / "results" / "overfit.json"
CONTEXT = 2


def main() -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clip", type=Path, required=True)
    parser.add_argument("--camera", default="aux1_image", choices=("image", "aux1_image"))
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--folder", type=Path, default=Path("runs/overfit"))
    asked = parser.parse_args()
    try:
        with np.load(asked.clip, allow_pickle=False) as stored:
            frames, action = stored[asked.camera], stored["action"]
        shutil.rmtree(asked.folder, ignore_errors=True)  # perhaps of another clip
        write_folder(asked.folder / "videos", frames, action)
        print(run(asked, len(frames)))
    except (UserError, OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        print(f"error: {asked.clip}: {error}", file=sys.stderr)
        return 2
    return 0


def write_folder(folder: Path, frames: np.ndarray, action: np.ndarray) -> None:
    """The clip as each of the three splits: PNG files with a table of actions.

    Twice in the test split, as an evaluation takes an interval over clips.
    """
    for place in ("train/clip", "validation/clip", "test/clip", "test/same"):
        (folder / place).mkdir(parents=True, exist_ok=True)
        for number, frame in enumerate(frames):
            video.write_png(folder / place / f"{number:02}.png", frame)
        np.savetxt(folder / f"{place}.actions.csv", action, delimiter=",")


def run(asked: argparse.Namespace, num_frames: int) -> str:
    """Prepares, trains, evaluates; what came out in a line."""
    predicted = num_frames - CONTEXT
    config = [
        f"--config={ROOT / 'configs' / 'demo.py'}",
        f"--config.data.dir={asked.folder / 'data'}",
        "--config.data.source=folder",
        f"--config.data.clip_length={num_frames}",
    ]
    workdir = asked.folder / "run"
    log = asked.folder / "main.log"
    steps = (
        [
            *("--mode=prepare", *config, f"--config.data.path={asked.folder / 'videos'}"),
        ],
        [
            *("--mode=train", *config, f"--workdir={workdir}", "--config.model.condition=action"),
            f"--config.data.num_predicted_frames={predicted}",
            *("--config.train.batch_size=1", f"--config.train.num_steps={asked.steps}"),
            *("--config.train.num_validation_clips=1", "--config.train.eval_every_steps=250"),
        ],
        [
            *("--mode=evaluate", f"--workdir={workdir}", "--checkpoint=latest"),
            "--config.eval.num_clips=2",
            f"--config.eval.num_predicted_frames={predicted}",
        ],
    )
    for words in steps:
        study_runs.main_py(words, log, {})
    found = read_json(workdir / "evaluation" / "latest.json")
    result = {
        "clip": asked.clip.name,
        "camera": asked.camera,
        "steps": asked.steps,
        "num_predicted_frames": predicted,
        "psnr_mean": found["model"]["psnr_mean"],
        "psnr_per_frame": found["model"]["psnr_per_frame"],
        "copy_last_frame_psnr_mean": found["copy_last_frame"]["psnr_mean"],
    }
    write_json(RESULTS, result)
    return (
        f"{CONTEXT} -> {predicted}, {asked.steps} steps: PSNR {result['psnr_mean']:.2f} dB, worst "
        f"frame {min(result['psnr_per_frame']):.2f}; copying the last frame "
        f"{result['copy_last_frame_psnr_mean']:.2f}"
    )


if __name__ == "__main__":
    sys.exit(main())
