"""How fast clips are prepared and read, what that costs, and whether memory stays flat.

    python -m benchmarks.data
    python -m benchmarks.data --tensorflow_python=OTHER_VENV/bin/python

All is measured on clips of 30 frames made of simulated ones, in rounds A B A B, and medians are
told. Processor time is told beside the clock's, since it is what another program on the machine
does not change. The table goes to the terminal, everything to benchmarks/results/data.json.

The need: the full-size model's training step is some 1850 GFLOP at batch 12 and 12 frames; a GPU
that sustains 40 TFLOP/s does 20 steps, that is 240 clips, a second.
"""

import argparse
import contextlib
import functools
import importlib.metadata
import importlib.util
import itertools
import json
import multiprocessing
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from array_record.python import array_record_data_source

from cvae_jax import video
from cvae_jax.config import DataConfig
from cvae_jax.data import clip_source, pipeline, png, preparation, simulator, sources
from cvae_jax.data.clip import Clip
from cvae_jax.data.readers import RawClip
from cvae_jax.files import write_json
from tests.data import bair_files, recordings

BATCH_SIZE, NUM_FRAMES = 12, 12
RESULTS = Path(__file__).parent / "results" / "data.json"
TENSORFLOW = """
import json, resource, sys, time
import tensorflow_datasets as tfds
import tensorflow as tf
folder, threads, num_batches = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
def crop(clip):
    start = tf.random.uniform([], 0, 19, tf.int32)
    return {name: value[start:start + 12] for name, value in clip.items()}
data = tfds.builder_from_directory(folder).as_dataset(split="train", shuffle_files=True)
data = data.shuffle(256).repeat().map(crop, num_parallel_calls=threads).batch(12).prefetch(4)
options = tf.data.Options()
options.threading.private_threadpool_size = threads
batches = iter(data.with_options(options))
next(batches)
cpu = lambda: sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
before, start = cpu(), time.perf_counter()
for _ in range(num_batches):
    next(batches)
print(json.dumps([time.perf_counter() - start, cpu() - before]))
"""


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clips", type=int, default=240, help="training clips")
    parser.add_argument("--rounds", type=int, default=5, help="of every measurement")
    parser.add_argument("--threads", default="1,2,4", help="numbers of decoding threads")
    parser.add_argument("--steps_per_second", type=float, default=20, help="of the GPU, see above")
    parser.add_argument("--tensorflow_python", default=sys.executable, help="has tfds, tensorflow")
    arguments = parser.parse_args()
    result = {
        "machine": machine(),
        "need_clips_per_second": BATCH_SIZE * arguments.steps_per_second,
    }
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        root = Path(folder)
        clips = make_clips(arguments.clips)
        config = as_lab(root, "read", clips)
        preparation.prepare(config)
        threads = [int(number) for number in arguments.threads.split(",")]
        result["reading"] = measure_reading(
            config, threads, arguments.rounds, arguments.tensorflow_python
        )
        result["parts_of_reading"] = measure_parts(config)
        with multiprocessing.get_context("spawn").Pool(1) as fresh:  # of our own arrays
            result["memory"] = fresh.apply(measure_memory, (config,))
        result["preparing"] = measure_preparing(root, clips[:24], min(3, arguments.rounds))
    result["load_average_at_end"] = os.getloadavg()[0]
    result["finding"] = finding(result, threads)
    write_json(RESULTS, result)
    print(table(result))


def machine() -> dict:
    """What it was measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(": ")[2] for line in lines if "model name" in line), "unknown")
    names = ("numpy", "pillow", "grain", "array-record", "tensorflow-datasets")
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "load_average_at_start": os.getloadavg()[0],
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in names},
    }


def make_clips(number: int) -> list[Clip]:
    """Simulated clips, most of them rolled and mirrored copies of a few."""
    few = [simulator.clip(seed) for seed in range(12)]
    clips = []
    for index in range(number):
        clip = few[index % len(few)]
        changed = np.roll(clip.video, index // len(few), axis=2)[:, :, :: (-1) ** (index % 2)]
        clips.append(clip._replace(video=np.ascontiguousarray(changed)))
    return clips


def as_lab(root: Path, name: str, clips: list[Clip]) -> DataConfig:
    """The clips in the lab's folders; two serve as validation and test."""
    for index, clip in enumerate([*clips, *clips[:2]]):
        split = ("train", "validate", "test")[max(0, index - len(clips) + 1)]
        folder = root / name / split / "traj_0" / str(index)
        recordings.write_pngs(folder, clip.video)
        recordings.write_csv(folder / "actions.csv", clip.action)
        recordings.write_csv(folder / "endeffector_positions.csv", clip.position)
    place = {"path": str(root / name), "dir": str(root / "data" / name)}
    return DataConfig(source="lab", camera="image_aux1", **place)


def as_videos(root: Path, name: str, write: Callable, clips: list[Clip]) -> DataConfig:
    """The clips as one's own videos."""
    for index, clip in enumerate([*clips, *clips[:2]]):
        split = ("train", "validation", "test")[max(0, index - len(clips) + 1)]
        (root / name / split).mkdir(parents=True, exist_ok=True)
        write(root / name / split / f"{index}.{name}", clip.video, 10)
    return DataConfig(source="folder", path=str(root / name), dir=str(root / "data" / name))


def as_bair(root: Path, name: str, clips: list[Clip]) -> DataConfig:
    """The clips, by both cameras, in BAIR's original files."""
    for split, part in (("train", clips), ("test", clips[:2])):
        raw = [
            RawClip({"image_main": c.video, "image_aux1": c.video}, c.action, c.position)
            for c in part
        ]
        path = root / name / "softmotion30_44k" / split / f"traj_0_to_{len(part) - 1}.tfrecords"
        path.parent.mkdir(parents=True)
        bair_files.write_tfrecord(path, raw)
    place = {"path": str(root / name / "softmotion30_44k"), "dir": str(root / "data" / name)}
    return DataConfig(source="bair_robot_pushing_small", **place)


def as_tfrecord(folder: Path, copy: Path) -> None:
    """A copy of prepared data in the file format that tf.data reads; it reads no array_record."""
    copy.mkdir(parents=True)
    for path in folder.iterdir():
        name = path.name.replace("array_record", "tfrecord")
        if name != path.name:
            records = array_record_data_source.ArrayRecordDataSource([path])
            framed = map(bair_files.frame_record, map(records.__getitem__, range(len(records))))
            (copy / name).write_bytes(b"".join(framed))
        else:
            (copy / name).write_text(path.read_text().replace("array_record", "tfrecord"))


def rate(count: int, work: Callable[[], object]) -> dict[str, float]:
    """Units a second by the clock, and processor milliseconds for each, of this process."""
    before, start = _cpu(), time.perf_counter()
    work()
    seconds, cpu = time.perf_counter() - start, _cpu() - before
    return {"clips_per_second": count / seconds, "cpu_ms_per_clip": 1000 * cpu / count}


def _cpu() -> float:
    return sum(resource.getrusage(resource.RUSAGE_SELF)[:2]) + sum(
        resource.getrusage(resource.RUSAGE_CHILDREN)[:2]
    )


def medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    """Of each figure."""
    return {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}


def alternate(works: dict[str, Callable[[], dict]], rounds: int) -> dict[str, dict]:
    """Medians of each work, all done once in every round."""
    found: dict[str, list] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            found[name].append(work())
    return {name: medians(results) for name, results in found.items()}


def measure_reading(config: DataConfig, threads: list[int], rounds: int, python: str) -> dict:
    """Batches as training gets them, ours and TFDS's with TensorFlow, in turns.

    TFDS's decodes every frame of a clip, then takes the window; ours decodes the window.
    """
    source, num_batches = sources.open_split(config, "train"), 40
    copy = Path(config.dir, "tfrecord", "1.0.0")
    as_tfrecord(source.folder, copy)

    def ours(num_threads: int) -> dict:
        batches = pipeline.train_batches(
            *(source,),
            num_frames=NUM_FRAMES,
            batch_size=BATCH_SIZE,
            seed=0,
            num_threads=num_threads,
        )
        next(batches)
        take = itertools.islice(batches, num_batches)
        return rate(num_batches * BATCH_SIZE, lambda: sum(1 for _ in take))

    def theirs(num_threads: int) -> dict:
        command = [python, "-c", TENSORFLOW, copy, num_threads, num_batches]
        done = subprocess.run(
            list(map(str, command)), stdout=subprocess.PIPE, text=True, check=True
        )
        seconds, cpu = json.loads(done.stdout.splitlines()[-1])
        count = num_batches * BATCH_SIZE
        return {"clips_per_second": count / seconds, "cpu_ms_per_clip": 1000 * cpu / count}

    works = {f"cvae_jax, {n} threads": functools.partial(ours, n) for n in threads}
    if python != sys.executable or importlib.util.find_spec("tensorflow"):
        works |= {f"tfds + TensorFlow, {n} threads": functools.partial(theirs, n) for n in threads}
    return alternate(works, rounds)


def measure_parts(config: DataConfig) -> dict[str, float]:
    """Processor milliseconds of each part of reading a clip in one thread."""
    source = sources.open_split(config, "train")
    numbers = range(min(100, len(source)))
    records = [source._records[number] for number in numbers]
    feature = "image_aux1"
    parsed = [
        clip_source.tf_example_pb2.Example.FromString(record).features.feature for record in records
    ]
    files = [list(one[feature].bytes_list.value)[:NUM_FRAMES] for one in parsed]
    frames = [[png.decode(file) for file in clip] for clip in files]
    parts = {
        "read the record": lambda: [source._records[number] for number in numbers],
        "parse the record": lambda: [
            clip_source.tf_example_pb2.Example.FromString(record).features.feature[feature]
            for record in records
        ],
        "decode PNG": lambda: [[png.decode(file) for file in clip] for clip in files],
        "stack frames": lambda: [np.stack(clip) for clip in frames],
        "all of it": lambda: [source.read(number, 0, NUM_FRAMES) for number in numbers],
    }
    works = {name: functools.partial(rate, len(numbers), work) for name, work in parts.items()}
    return {name: part["cpu_ms_per_clip"] for name, part in alternate(works, 5).items()}


def measure_memory(config: DataConfig) -> dict:
    """Resident MiB after each of three epochs, and by how much they differ."""
    source = sources.open_split(config, "train")
    batches = pipeline.train_batches(
        source, num_frames=NUM_FRAMES, batch_size=BATCH_SIZE, seed=0, num_threads=2
    )
    resident = []
    for _ in range(3):
        for _ in range(len(source) // BATCH_SIZE):
            next(batches)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        resident.append(pages * resource.getpagesize() / 2**20)
    return {"resident_mib": resident, "spread": max(resident) / min(resident) - 1}


def measure_preparing(root: Path, clips: list[Clip], rounds: int) -> dict:
    """Conversion of the same clips from each format, statistics included."""
    configs = {
        "lab's folders": as_lab(root, "lab", clips),
        "MP4": as_videos(root, "mp4", video.write_mp4, clips),
        "GIF": as_videos(root, "gif", video.write_gif, clips),
        "BAIR's files, two cameras": as_bair(root, "bair", clips),
    }
    names = itertools.count()

    def prepare(config: DataConfig) -> dict:
        fresh = DataConfig(**{**vars(config), "dir": f"{config.dir}{next(names)}"})
        reader = sources.load(sources.SOURCES[config.source].reader)
        count = sum(map(len, reader(fresh).splits().values()))
        return rate(count, lambda: preparation._convert(fresh, sources.folder_of(fresh)))

    return alternate({n: functools.partial(prepare, c) for n, c in configs.items()}, rounds)


def finding(result: dict, threads: list[int]) -> str:
    """What limits reading, and how it grows with threads."""
    parts = dict(result["parts_of_reading"])
    whole = parts.pop("all of it")
    slowest = max(parts, key=lambda name: parts[name])
    speeds = [result["reading"][f"cvae_jax, {n} threads"]["clips_per_second"] for n in threads]
    best = max(speeds)
    growth, share = speeds[-1] / speeds[0], parts[slowest] / whole
    return (
        f"{slowest} takes {share:.0%} of reading a clip; {threads[-1]} threads are {growth:.2f} "
        f"times as fast as {threads[0]}; the best, {best:.0f} clips/s, is "
        f"{best / result['need_clips_per_second']:.1f} times what the GPU needs"
    )


def table(result: dict) -> str:
    """The result for a terminal."""
    rows = [f"{result['machine']['processor']}, {result['machine']['cores']} cores"]
    rows += [f"a GPU needs {result['need_clips_per_second']:.0f} clips/s of {NUM_FRAMES} frames"]
    head = f"{'clips/s':>10}{'CPU ms/clip':>14}{'clips/s/core':>14}"
    for section, title in (("reading", "reading batches"), ("preparing", "preparing from")):
        rows += ["", f"{title:36}{head}"]
        for name, figures in result[section].items():
            speed, cost = figures["clips_per_second"], figures["cpu_ms_per_clip"]
            rows.append(f"{name:36}{speed:10.0f}{cost:14.2f}{1000 / cost:14.0f}")
    rows += ["", "one clip of 12 frames, one thread, CPU ms"]
    rows += [f"  {name:34}{cost:10.2f}" for name, cost in result["parts_of_reading"].items()]
    memory = result["memory"]
    resident = ", ".join(f"{size:.1f}" for size in memory["resident_mib"])
    rows += ["", f"resident MiB after three epochs: {resident}; spread {memory['spread']:.2%}"]
    return "\n".join([*rows, "", result["finding"]])


if __name__ == "__main__":
    main()
