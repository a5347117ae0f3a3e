"""How good predictions are after equal minutes of training, beside SVG-FP in PyTorch.

    make quality                                             # an hour on 2 cores
    python -m benchmarks.quality --steps=1000 --clips=256    # longer
    python -m benchmarks.quality --source=lab                # prepared from the lab's folder
    python -m benchmarks.quality --table                     # of the results at hand

Ours is configs/demo.py at the peer's width. It trains first, on all cores, and its minutes are
those of `--mode=train` from the command to its end, compilation and validation included; the peer
then gets as many for its steps alone. Both learn from the same clips, both predict the first test
clips from two frames with latents from the prior, and the same metrics score both, on 8 bits for
the peer's frames. Results go to benchmarks/results/quality.json after each seed, tables and plot
to docs/quality.md. Stopped, it goes on with the runs that are not done.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tensorboardX.proto.event_pb2 import Event

from benchmarks import clips, quality_page, study_runs, timing
from benchmarks.speed import launcher_environment
from benchmarks.worker import ROOT
from configs import demo
from cvae_jax import metrics, summary, validation
from cvae_jax.config import Config
from cvae_jax.data import pipeline, tfrecords
from cvae_jax.data.sources import SOURCES, open_split
from cvae_jax.errors import UserError
from cvae_jax.files import lock, read_json, write_json
from cvae_jax.logs import Progress
from cvae_jax.types import to_unit_range

RESULTS = Path(__file__).parent / "results" / "quality.json"
CONTEXT = 2
VALIDATIONS = 10
"""Of each of our runs: where it is read off how soon the peer's end is reached."""
VALIDATION_CLIPS = 32
VALIDATION_KEY = "validation/psnr_mean"
SHORT, LONG = 10, 28
"""Predicted frames."""


def main() -> None:
    """Trains, scores, writes and prints."""
    arguments = parse()
    try:
        if not arguments.table:
            with lock(arguments.folder, "choose another --folder"):
                measure(arguments)
        quality_page.write(ROOT / "docs", read_json(RESULTS))
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped; the same command goes on with the runs that are left", file=sys.stderr)
        sys.exit(130)
    print(quality_page.tables(read_json(RESULTS)))


def parse() -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=600, help="of ours; they decide the minutes")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--width", type=int, default=16, help="of both; 64 is the full size")
    parser.add_argument("--peer_batch", type=int, default=12, help="clips in a step of the peer")
    parser.add_argument("--clips", type=int, default=128, help="of the test split, one sample each")
    parser.add_argument("--best_of", type=int, default=20, help="samples")
    parser.add_argument("--best_of_clips", type=int, default=16)
    parser.add_argument("--source", default="simulated_push", choices=sorted(SOURCES))
    parser.add_argument("--data_dir", default="data", help="folder of the prepared data")
    parser.add_argument("--folder", type=Path, default=Path("runs/quality"), help="of the runs")
    parser.add_argument("--torch_python", default=str(ROOT / ".cache/bench-venv/bin/python"))
    parser.add_argument("--table", action="store_true", help="only the page, of the results so far")
    arguments = parser.parse_args()
    least = {"steps": 100, "seeds": 1, "width": 4, "peer_batch": 1, "clips": 2}
    for name, low in {**least, "best_of": 2, "best_of_clips": 2}.items():
        if (value := getattr(arguments, name)) < low:
            parser.error(f"--{name}={value}: must be at least {low}")
    if not arguments.table and not Path(arguments.torch_python).exists():
        parser.error(f"--torch_python={arguments.torch_python}: not there; `make bench-venv`")
    return arguments


def measure(arguments: argparse.Namespace) -> None:
    """Prepares the data and does, seed by seed, the runs that are missing."""
    machine, folder = timing.machine(), arguments.folder
    unused = ("folder", "torch_python", "data_dir", "table")
    settings = {name: value for name, value in vars(arguments).items() if name not in unused}
    check_settings(folder / "settings.json", settings)
    timed(folder / "prepare", "--mode=prepare", *flags(arguments))
    config = make_config(arguments)
    write_clips(config, folder / "clips")
    check_counts(arguments)
    result: dict[str, Any] = {"machine": machine, "settings": settings, "runs": []}
    with Progress(2 * arguments.seeds, description="quality", frames_per_step=1) as bar:
        for seed in range(arguments.seeds):
            minutes = None
            for side, do in (("ours", do_ours), ("peer", do_peer)):
                workdir = folder / f"{side}-{seed}"
                done = workdir / "figures.json"
                if not done.exists():
                    shutil.rmtree(workdir, ignore_errors=True)  # its minutes would not be whole
                    write_json(done, do(arguments, workdir, seed, minutes))
                figures = read_json(done)
                minutes = figures["minutes"]
                result["runs"].append({"side": side, "seed": seed, **figures})
                bar.advance()
            write_json(RESULTS, result | {"load_average_at_end": os.getloadavg()[0]})


def check_settings(path: Path, settings: dict[str, Any]) -> None:
    """Raises UserError if the runs in the folder are of other settings; more seeds are fine."""
    fixed = {name: value for name, value in settings.items() if name != "seeds"}
    if not path.exists():
        write_json(path, fixed)
    stored = read_json(path)
    different = [f"--{name}={value}" for name, value in stored.items() if fixed.get(name) != value]
    if different:
        raise UserError(
            f"{path.parent}: holds runs with {' '.join(different)}; choose another --folder"
        )


def check_counts(arguments: argparse.Namespace) -> None:
    """Raises UserError if a split has fewer clips or frames than are predicted."""
    for asked in predictions(arguments).values():
        video = clips.load(arguments.folder / "clips", asked["split"])[0]
        count, length = video.shape[:2]
        if count < asked["num_clips"] or length < CONTEXT + asked["predicted"]:
            raise UserError(
                f"--source={arguments.source}: {asked['split']} has {count} clips of {length} "
                f"frames; {asked['num_clips']} of {CONTEXT + asked['predicted']} are asked for"
            )


def make_config(arguments: argparse.Namespace) -> Config:
    """What main.py makes of `flags`."""
    values = demo.get_config()
    values.data.source, values.data.camera = arguments.source, camera(arguments)
    values.data.dir, values.model.width = arguments.data_dir, arguments.width
    return validation.from_config_dict(values)


def flags(arguments: argparse.Namespace) -> list[str]:
    """Of main.py, for each of our runs."""
    return [
        f"--config={ROOT / 'configs' / 'demo.py'}",
        f"--config.data.source={arguments.source}",
        f"--config.data.camera={camera(arguments)}",
        f"--config.data.dir={arguments.data_dir}",
        f"--config.model.width={arguments.width}",
    ]


def camera(arguments: argparse.Namespace) -> str:
    """The source's first."""
    return SOURCES[arguments.source].cameras[0]


def timed(place: Path, *words: str) -> float:
    """Seconds that main.py took; nothing is compiled before it, and all cores are its."""
    start = time.monotonic()
    study_runs.main_py(list(words), place / "main.log", {"JAX_PLATFORMS": "cpu"})
    return time.monotonic() - start


def write_clips(config: Config, folder: Path) -> None:
    """The clips as arrays, which the peer reads without this project, normalised as ours are.

    Raises:
      UserError: those that are there are of other data.
    """
    fingerprint = open_split(config.data, "train").statistics.fingerprint
    check_settings(folder.parent / "data.json", {"data_fingerprint": fingerprint})
    if folder.exists():
        return
    making = folder.with_suffix(".making")
    making.mkdir(parents=True, exist_ok=True)
    for split in ("train", "validation", "test"):
        source = open_split(config.data, split)
        size = {"num_frames": source.statistics.num_frames, "num_clips": len(source)}
        arrays: dict[str, np.memmap] = {}  # BAIR's would not fit into memory
        first = 0
        for batch in pipeline.evaluation_batches(source, batch_size=64, **size):
            last = first + len(batch.video)
            for name in clips.NAMES:
                part = getattr(batch, name)
                if name not in arrays:
                    path, shape = clips.path(making, split, name), (len(source), *part.shape[1:])
                    arrays[name] = np.lib.format.open_memmap(path, "w+", part.dtype, shape)
                arrays[name][first:last] = part
            first = last
    making.rename(folder)


def do_ours(
    arguments: argparse.Namespace, workdir: Path, seed: int, minutes: float | None
) -> dict[str, Any]:
    """Trains, however many minutes that takes, and evaluates three times."""
    del minutes
    start = time.time()
    seconds = timed(
        workdir,
        *("--mode=train", f"--workdir={workdir}", *flags(arguments), f"--config.seed={seed}"),
        f"--config.train.num_steps={arguments.steps}",
        f"--config.train.eval_every_steps={max(1, arguments.steps // VALIDATIONS)}",
        f"--config.train.num_validation_clips={VALIDATION_CLIPS}",
    )
    scores, copied = {}, {}
    for name, asked in predictions(arguments).items():
        if asked["split"] == "test":
            timed(
                workdir,
                *("--mode=evaluate", f"--workdir={workdir}", "--checkpoint=latest"),
                f"--config.eval.num_clips={asked['num_clips']}",
                f"--config.eval.num_samples={asked['num_samples']}",
                f"--config.eval.num_predicted_frames={asked['predicted']}",
            )
            found = read_json(workdir / "evaluation" / "latest.json")
            scores[name] = found["model"]
            copied[name] = found["copy_last_frame"]
    return {
        "minutes": seconds / 60.0,
        "steps": arguments.steps,
        "validation_psnr": validation_curve(workdir, start),
        "scores": scores,
        "copy_last_frame": copied,
    }


def validation_curve(workdir: Path, start: float) -> list[tuple[float, float]]:
    """(minutes since `start`, validation PSNR) of a run, by its TensorBoard file.

    Args:
      workdir: of the run, trained in one go.
      start: as `time.time` told it.
    """
    (path,) = workdir.glob("events.out.tfevents.*")
    curve = []
    with open(path, "rb") as file:
        for place in tfrecords.places(file, 0, path.stat().st_size):
            event = Event.FromString(tfrecords.read(file, place))
            for value in event.summary.value:
                if value.tag == VALIDATION_KEY:
                    curve.append(((event.wall_time - start) / 60.0, value.simple_value))
    return curve


def do_peer(
    arguments: argparse.Namespace, workdir: Path, seed: int, minutes: float
) -> dict[str, Any]:
    """Trains as long and predicts; the predictions are scored here and deleted."""
    workdir.mkdir(parents=True, exist_ok=True)
    folder = arguments.folder / "clips"
    asked = predictions(arguments)
    command = [
        *(arguments.torch_python, "-m", "benchmarks.peer.learn"),
        *(f"--data={folder.absolute()}", f"--out={workdir.absolute()}", f"--seed={seed}"),
        *(f"--seconds={60.0 * minutes}", f"--width={arguments.width}"),
        f"--batch_size={arguments.peer_batch}",
        f"--predictions={json.dumps([{'name': name, **one} for name, one in asked.items()])}",
    ]
    environment = os.environ | launcher_environment() | {"CUDA_VISIBLE_DEVICES": ""}
    log = workdir / "main.log"
    with open(log, "w") as sink:
        code = subprocess.run(command, cwd=ROOT, env=environment, stdout=sink, stderr=sink)
    if code.returncode:
        raise UserError(f"{log}: the peer ended with exit code {code.returncode}; see there")
    scores = {}
    for name, one in asked.items():
        path = workdir / f"predictions_{name}.npy"
        scores[name] = score(np.load(path, mmap_mode="r"), clips.load(folder, one["split"])[0])
        path.unlink()
    learned = read_json(workdir / "learned.json")
    end = scores.pop("validation")["psnr_mean"]
    return {**learned, "validation_psnr": [(learned["minutes"], end)], "scores": scores}


def predictions(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """What is predicted, by name."""
    one = {"split": "test", "num_clips": arguments.clips, "num_samples": 1}
    many = {"num_clips": arguments.best_of_clips, "num_samples": arguments.best_of}
    return {
        "short": {**one, "predicted": SHORT},
        "long": {**one, "predicted": LONG},
        "best_of": {**one, **many, "predicted": SHORT},
        "validation": {
            **one,
            "split": "validation",
            "num_clips": VALIDATION_CLIPS,
            "predicted": SHORT,
        },
    }


def score(predicted: np.ndarray, video: np.ndarray) -> dict[str, Any]:
    """The figures that `evaluate` has of ours.

    Args:
      predicted: uint8 (clip, sample, target, 64, 64, 3).
      video: uint8 (clip, time, 64, 64, 3), at least as many clips.
    """

    @jax.jit
    def of_clip(samples, truth):
        samples, truth = to_unit_range(samples), to_unit_range(truth)
        return {
            "psnr": jax.vmap(metrics.psnr, (0, None))(samples, truth),
            "ssim": jax.vmap(metrics.ssim, (0, None))(samples, truth),
        }

    stop = CONTEXT + predicted.shape[2]
    found = [
        of_clip(samples, video[number, CONTEXT:stop]) for number, samples in enumerate(predicted)
    ]
    scores: dict[str, Any] = {}
    for metric in ("psnr", "ssim"):
        of_all = np.stack([np.asarray(clip[metric]) for clip in found])
        scores |= summary.quality(metric, of_all)
    return scores


if __name__ == "__main__":
    main()
