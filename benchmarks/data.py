"""How fast clips are prepared and read, what that costs, and which GPU two cores would feed.

    python -m benchmarks.data
    python -m benchmarks.data --tensorflow_python=OTHER_VENV/bin/python
    python -m benchmarks.data --real_clip=bair_clip.npz     # for the sizes that TFDS's files have

All is measured on clips of 30 frames by two cameras, as BAIR's, in rounds A B A B, and medians are
told. Processor time is told beside the clock's, since it is what another program on the machine
does not change. Files come from the page cache; the finding says how fast a disk would have to be.
The process keeps to `--cores` cores and has the settings of main.py. The table goes to the
terminal, everything to benchmarks/results/data.json.

No GPU is needed, and none was asked: what is told is the highest speed of the full-size model's
step that reading keeps up with, and beside it what some cards would do if they sustained an assumed
part of their peak. In training, dispatching steps takes some of the same cores.
"""

import argparse
import contextlib
import functools
import importlib.util
import itertools
import os
import sys
import tempfile
from pathlib import Path

from benchmarks import data_reading, data_sets, flops
from benchmarks.data_reading import BATCH_SIZE, NUM_FRAMES
from benchmarks.timing import alternate, machine
from cvae_jax import launcher, video
from cvae_jax.config import DataConfig
from cvae_jax.data import preparation, sources
from cvae_jax.data.readers import RawClip
from cvae_jax.files import write_json

RESULTS = Path(__file__).parent / "results" / "data.json"
GFLOP_PER_STEP = BATCH_SIZE * flops.our_step(64, NUM_FRAMES, 2, reencoded=False) / 1e9
"""Of the full-size model, forward and backward, for a batch of 2 context frames and the others."""
ASSUMED_TFLOPS = {
    "20 steps a second": 20 * GFLOP_PER_STEP / 1000,
    "an A100 at 40 % of 312 (dense bf16)": 0.4 * 312,
    "an H100 at 40 % of 989 (dense bf16)": 0.4 * 989,
}
"""What a step might sustain; assumptions, not measurements."""
NUM_VALIDATION = 256
"""BAIR's first clips, which are not trained on."""
NUM_BAIR_CLIPS = 43_520


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clips", type=int, default=240, help="training clips")
    parser.add_argument("--batches", type=int, default=200, help="in a measurement of reading")
    parser.add_argument("--rounds", type=int, default=5, help="of every measurement")
    parser.add_argument("--threads", default="1,2,4", help="numbers of decoding threads")
    parser.add_argument("--cores", type=int, default=2, help="that all threads share")
    parser.add_argument("--real_clip", type=Path, help="arrays image, aux1_image and action")
    parser.add_argument("--tensorflow_python", default=sys.executable, help="has tfds, tensorflow")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where they are written")
    arguments = parser.parse_args()
    launcher.prepare_process()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.cores])
    python = arguments.tensorflow_python
    if python == sys.executable and importlib.util.find_spec("tensorflow") is None:
        python = ""
    threads = [int(number) for number in arguments.threads.split(",")]
    number = NUM_VALIDATION + arguments.clips
    clips = data_sets.simulate(number)
    if arguments.real_clip:
        clips = data_sets.repeat_real(arguments.real_clip, number)
    result = {"machine": machine() | {"cores_used": len(os.sched_getaffinity(0))}}
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        root = Path(folder)
        stored = data_sets.as_bair(root, "bair", clips)
        preparation.prepare(stored)
        packed = DataConfig(**{**vars(stored), "dir": str(root / "data" / "packed")})
        data_sets.as_tfds_writes(sources.folder_of(stored), sources.folder_of(packed))
        tfrecord = root / "tfrecord" / "1.0.0"
        data_sets.as_tfrecord(sources.folder_of(packed), tfrecord)
        result["bytes_per_clip"] = {
            "ours": bytes_per_clip(stored, number + 2),
            "as TFDS writes": bytes_per_clip(packed, number + 2),
        }
        result["reading"] = data_reading.measure_batches(
            {"ours": stored, "as TFDS writes": packed},
            tfrecord,
            threads,
            num_batches=arguments.batches,
            rounds=arguments.rounds,
            python=python,
        )
        result["parts_of_reading"] = data_reading.measure_parts(stored)
        result["memory"] = data_reading.measure_memory(stored, arguments.cores)
        result["preparing"] = measure_preparing(root, clips[:24], min(3, arguments.rounds))
    result["load_average_at_end"] = os.getloadavg()[0]
    result["feeds"] = feeds(result)
    result["finding"] = finding(result)
    write_json(arguments.results, result)
    print(table(result))


def bytes_per_clip(config: DataConfig, num_clips: int) -> float:
    """On disk, by both cameras."""
    files = sources.folder_of(config).glob("*array_record*")
    return sum(file.stat().st_size for file in files) / num_clips


def measure_preparing(root: Path, clips: list[RawClip], rounds: int) -> dict:
    """Conversion of the same clips from each format, without statistics."""
    single = data_sets.one_camera(clips)
    configs = {
        "lab's folders": data_sets.as_lab(root, "lab", single),
        "MP4": data_sets.as_videos(root, "mp4", video.write_mp4, single),
        "GIF": data_sets.as_videos(root, "gif", video.write_gif, single),
        "BAIR's files, two cameras": data_sets.as_bair(root, "bair24", clips),
    }
    names = itertools.count()

    def prepare(config: DataConfig) -> dict:
        fresh = DataConfig(**{**vars(config), "dir": f"{config.dir}{next(names)}"})
        reader = sources.load(sources.SOURCES[config.source].reader)
        count = sum(map(len, reader(fresh).splits().values()))
        return data_reading.rate(count, lambda: preparation.convert(fresh))

    return alternate({n: functools.partial(prepare, c) for n, c in configs.items()}, rounds)


def feeds(result: dict) -> dict:
    """The fastest reading of our data, and the fastest step that it keeps up with."""
    ours = {name: at for name, at in result["reading"].items() if name.startswith("ours")}
    best = max(ours, key=lambda name: ours[name]["clips_per_second"])
    speed = ours[best]["clips_per_second"]
    return {
        "by": best,
        "clips_per_second": speed,
        "clips_per_second_per_core": speed / result["machine"]["cores_used"],
        "steps_per_second": speed / BATCH_SIZE,
        "sustained_tflops": speed / BATCH_SIZE * GFLOP_PER_STEP / 1000,
        "disk_gb_per_second": speed * result["bytes_per_clip"]["ours"] / 1e9,
        "assumed_tflops": ASSUMED_TFLOPS,
    }


def finding(result: dict) -> str:
    """What is reached, what limits it, and what it is enough for."""
    parts = dict(result["parts_of_reading"])
    whole = parts.pop("all of it")
    slowest = max(parts, key=lambda name: parts[name])
    fed = result["feeds"]
    cores, sustained = result["machine"]["cores_used"], fed["sustained_tflops"]
    verdicts = [
        f"{need:.0f} ({card}): {'fed' if need <= sustained else 'not fed'}"
        for card, need in fed["assumed_tflops"].items()
    ]
    return (
        f"{cores} cores read {fed['clips_per_second']:.0f} clips/s, "
        f"{fed['clips_per_second_per_core']:.0f} a core; {slowest} takes most, "
        f"{parts[slowest] / whole:.0%} of a clip in one thread\n"
        f"that keeps up with {fed['steps_per_second']:.0f} full-size steps a second of "
        f"{GFLOP_PER_STEP:.0f} GFLOP, {sustained:.0f} TFLOP/s sustained; "
        "assumed needs, in TFLOP/s: "
        f"{'; '.join(verdicts)}\n"
        f"where the files are not in memory, a disk has to give {fed['disk_gb_per_second']:.1f} "
        f"GB/s for it; BAIR's {NUM_BAIR_CLIPS} clips take "
        f"{result['bytes_per_clip']['ours'] * NUM_BAIR_CLIPS / 1e9:.1f} GB"
    )


def table(result: dict) -> str:
    """The result for a terminal."""
    where = result["machine"]
    rows = [f"{where['processor']}, {where['cores_used']} of {where['cores']} cores"]
    head = f"{'clips/s':>10}{'CPU ms/clip':>14}{'clips/s/core':>14}"
    for section, title in (("reading", "reading batches"), ("preparing", "preparing from")):
        rows += ["", f"{title:36}{head}"]
        for name, figures in result[section].items():
            speed, cost = figures["clips_per_second"], figures["cpu_ms_per_clip"]
            rows.append(f"{name:36}{speed:10.0f}{cost:14.2f}{1000 / cost:14.0f}")
    rows += ["", f"one clip of {NUM_FRAMES} frames, one thread, CPU ms"]
    rows += [f"  {name:34}{cost:10.3f}" for name, cost in result["parts_of_reading"].items()]
    rows += ["", "bytes of a clip by two cameras on disk"]
    rows += [f"  {name:34}{size:10.0f}" for name, size in result["bytes_per_clip"].items()]
    memory = result["memory"]
    resident = ", ".join(f"{size:.1f}" for size in memory["resident_mib"])
    rows += ["", f"resident MiB after three epochs: {resident}; spread {memory['spread']:.2%}"]
    return "\n".join([*rows, "", result["finding"]])


if __name__ == "__main__":
    main()
