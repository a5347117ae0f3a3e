"""This project's side of benchmarks/speed.py: `python -m benchmarks.ours`, told by its parent.

The full-size model of configs/bair.py, narrower where asked for.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.clips import random_batch
from benchmarks.worker import MATMUL_SIZE, Work, serve
from configs import bair
from cvae_jax import (
    launcher,
    metrics,
    parallel,
    passes,
    sample,
    train_state,
    train_step,
    validation,
)
from cvae_jax.config import Config
from cvae_jax.data.pipeline import Batch
from cvae_jax.types import to_unit_range


def make_work(*, kind: str, **settings) -> Work:
    """`training`, `generation`, `evaluation` or `matmul`; their functions tell the settings."""
    kinds = {
        "training": _training,
        "generation": _generation,
        "evaluation": _evaluation,
        "matmul": _matmul,
    }
    work = kinds[kind](**settings)
    device = jax.local_devices()[0]
    about = {"device": device.device_kind, "devices": parallel.describe(), "jax": jax.__version__}
    return Work(work, about, lambda: _peak_mib(device))


def make_config(
    width: int,
    feedback: str,
    clips: int,
    context: int,
    predicted: int,
    samples: int = 1,
    precision: str = "float32",
) -> Config:
    """configs/bair.py at another size."""
    values = bair.get_config()
    values.model.dtype = precision
    values.model.width, values.model.feedback = width, feedback
    values.train.batch_size = clips
    for section in (values.data, values.eval):
        section.num_context_frames, section.num_predicted_frames = context, predicted
    values.sample.num_samples = samples
    return validation.from_config_dict(values)


def _matmul(precision):
    """A product of two square matrices, for what the device can do at most."""
    on_cpu = jax.default_backend() == "cpu"
    size = MATMUL_SIZE["cpu" if on_cpu else "gpu"]
    keys = jax.random.split(jax.random.key(0))
    a, b = (jax.random.normal(key, (size, size), precision) for key in keys)
    product = jax.jit(jnp.matmul)
    return lambda: jax.block_until_ready(product(a, b))


def _training(width, clips, context, predicted, free_running, feedback, precision="float32"):
    config = make_config(width, feedback, clips, context, predicted, precision=precision)
    batch = Batch(*random_batch(clips, context + predicted), np.arange(clips, dtype=np.int32))
    use_true = np.full((clips, predicted), not free_running)
    parallel.share_cores(clips)  # as main.py --mode=train does
    step = train_step.TrainStep(config)
    state = parallel.replicate(train_state.create(config, 4, 3))
    compile_once = functools.cache(lambda: step.compile(state, not free_running, 4, 3))

    def run():
        nonlocal state
        compile_once()  # as main.py does, with its options
        state, metrics = step(state, batch, use_true, 1e-4)
        jax.block_until_ready((state, metrics))

    return run


def _generation(width, clips, context, predicted, samples, feedback, precision="float32"):
    config = make_config(width, feedback, clips, context, predicted, samples, precision)
    batch = Batch(*random_batch(clips, context + predicted), np.arange(clips, dtype=np.int32))
    parallel.share_cores(parallel.MAX_CPU_DEVICES)  # as main.py --mode=sample does
    params = train_state.create(config, 4, 3).params
    predict = sample.make_predict(config)
    return lambda: list(predict(params, batch))


def _evaluation(width, clips, batch, context, predicted, feedback, precision="float32"):
    config = make_config(width, feedback, batch, context, predicted, precision=precision)
    arrays = random_batch(clips, context + predicted)
    params, generate = train_state.create(config, 4, 3).params, passes.make_generate(config.model)

    @jax.jit
    def program(params, key, video, action, position):
        video = to_unit_range(video)
        noise = jax.random.normal(key, (len(video), 1, predicted, config.model.z_dim))
        made = generate(params, video[:, :context], action, position, noise)
        return metrics.psnr(made[:, 0], video[:, context:])

    keys = _keys()

    def run():
        parts = [slice(start, start + batch) for start in range(0, clips, batch)]
        batches = ([jnp.asarray(array[part]) for array in arrays] for part in parts)
        np.concatenate([program(params, next(keys), *one) for one in batches])

    return run


def _keys():
    return iter(jax.random.split(jax.random.key(0), 10_000))


def _peak_mib(device) -> float | None:
    statistics = device.memory_stats()
    return statistics["peak_bytes_in_use"] / 2**20 if statistics else None


if __name__ == "__main__":
    launcher.prepare_process()
    serve(make_work)
