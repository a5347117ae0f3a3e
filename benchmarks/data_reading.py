"""What benchmarks/data.py measures of reading: batches, the parts of a clip, memory."""

import functools
import itertools
import json
import multiprocessing
import resource
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from tensorflow_datasets.proto import tf_example_pb2

from benchmarks.timing import alternate
from cvae_jax.config import DataConfig
from cvae_jax.data import clip_source, pipeline, png, sources

BATCH_SIZE, NUM_FRAMES = 12, 12
_NUM_BAIR_CLIPS = 43_008
"""BAIR's training clips. grain's shuffle takes long for few clips (0.1 ms each for 240), so those
that are measured are listed again and again until they are as many."""
_TENSORFLOW = """
import json, resource, sys, time
import tensorflow_datasets as tfds
import tensorflow as tf
folder, threads, num_batches = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
def crop(clip):
    start = tf.random.uniform([], 0, 19, tf.int32)
    return {name: value[start:start + 12] for name, value in clip.items()}
decoders = tfds.decode.PartialDecoding({"image_aux1", "action", "endeffector_pos"})
data = tfds.builder_from_directory(folder).as_dataset(
    split="train", shuffle_files=True, decoders=decoders)
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


class _Repeated:
    """Records again and again, as many as BAIR has."""

    def __init__(self, records: clip_source.Records):
        self._records = records

    def __len__(self) -> int:
        return _NUM_BAIR_CLIPS

    def __getitem__(self, index: int) -> bytes:
        return self._records[index % len(self._records)]


def rate(count: int, work: Callable[[], object]) -> dict[str, float]:
    """Units a second by the clock, and processor milliseconds for each, of this process."""
    before, start = _cpu(), time.perf_counter()
    work()
    return _rate(count, time.perf_counter() - start, _cpu() - before)


def _rate(count: int, seconds: float, cpu: float) -> dict[str, float]:
    return {"clips_per_second": count / seconds, "cpu_ms_per_clip": 1000 * cpu / count}


def _cpu() -> float:
    return sum(resource.getrusage(resource.RUSAGE_SELF)[:2]) + sum(
        resource.getrusage(resource.RUSAGE_CHILDREN)[:2]
    )


def _batches(config: DataConfig, num_threads: int) -> Iterator[pipeline.Batch]:
    found = sources.open_split(config, "train")
    source = clip_source.ClipSource(
        _Repeated(found.records),
        split=found.split,
        camera=config.camera,
        statistics=found.statistics,
        folder=found.folder,
    )
    return pipeline.train_batches(
        source, num_frames=NUM_FRAMES, batch_size=BATCH_SIZE, seed=0, num_threads=num_threads
    )


def measure_batches(
    ours: dict[str, DataConfig],
    tfrecord: Path,
    threads: list[int],
    *,
    num_batches: int,
    rounds: int,
    python: str,
) -> dict:
    """Batches as training gets them, from each of our data sets and by TensorFlow, in turns.

    TFDS's own reader decodes every frame of a clip, then takes the window; ours decodes the window.
    """

    def read(config: DataConfig, num_threads: int) -> dict:
        batches = _batches(config, num_threads)
        for _ in range(8):  # those that were prefetched meanwhile
            next(batches)
        take = itertools.islice(batches, num_batches)
        return rate(num_batches * BATCH_SIZE, lambda: sum(1 for _ in take))

    def read_by_tensorflow(num_threads: int) -> dict:
        command = [python, "-c", _TENSORFLOW, tfrecord, num_threads, num_batches]
        done = subprocess.run(
            list(map(str, command)), stdout=subprocess.PIPE, text=True, check=True
        )
        return _rate(num_batches * BATCH_SIZE, *json.loads(done.stdout.splitlines()[-1]))

    works = {
        f"{name}, {n} threads": functools.partial(read, config, n)
        for name, config in ours.items()
        for n in threads
    }
    if python:
        works |= {
            f"tfds + TensorFlow, {n} threads": functools.partial(read_by_tensorflow, n)
            for n in threads
        }
    return alternate(works, rounds)


def measure_parts(config: DataConfig) -> dict[str, float]:
    """Processor milliseconds of each part of reading a clip in one thread."""
    source = sources.open_split(config, "train")
    numbers = range(min(96, len(source)) // BATCH_SIZE * BATCH_SIZE)
    records = [source.records[number] for number in numbers]
    features = [tf_example_pb2.Example.FromString(record).features.feature for record in records]
    files = [one[config.camera].bytes_list.value[:NUM_FRAMES] for one in features]
    videos = [source.read(number, 0, NUM_FRAMES).video for number in numbers]
    batches = [videos[first : first + BATCH_SIZE] for first in numbers[::BATCH_SIZE]]
    parts = {
        "read the record": (source.records.__getitem__, numbers),
        "parse the record": (tf_example_pb2.Example.FromString, records),
        "decode PNG": (png.decode_all, files),
        "stack a batch": (np.stack, batches),
        "all of it": (
            functools.partial(pipeline.read_clips, source, num_frames=NUM_FRAMES),
            [numbers[first : first + BATCH_SIZE] for first in numbers[::BATCH_SIZE]],
        ),
    }

    def go_through(part: Callable, inputs: Sequence) -> None:
        for one in inputs:  # and keep nothing: new memory would cost more than the work
            part(one)

    works = {
        name: functools.partial(rate, len(numbers), functools.partial(go_through, *part))
        for name, part in parts.items()
    }
    return {name: part["cpu_ms_per_clip"] for name, part in alternate(works, 7).items()}


def measure_memory(config: DataConfig, num_threads: int) -> dict:
    """Resident MiB after each of three epochs, and by how much they differ.

    In a process of its own, without what this one holds.
    """
    with multiprocessing.get_context("spawn").Pool(1) as fresh:
        return fresh.apply(_measure_memory, (config, num_threads))


def _measure_memory(config: DataConfig, num_threads: int) -> dict:
    batches, resident = _batches(config, num_threads), []
    for _ in range(3):
        for _ in range(len(sources.open_split(config, "train")) // BATCH_SIZE):
            next(batches)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        resident.append(pages * resource.getpagesize() / 2**20)
    return {"resident_mib": resident, "spread": max(resident) / min(resident) - 1}
