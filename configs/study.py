"""The baseline of docs/study.md: the lab's way of training, small enough to do it forty times.

    python -m benchmarks.study

or one run of it

    python main.py --mode=prepare --config=configs/study.py
    python main.py --mode=train --config=configs/study.py --workdir=runs/study/baseline-0

Time and result: docs/study.md. As the lab's in configs/bair.py are teacher forcing (from 1 to 0
over the middle third of the run), the constant learning rate of 2e-3, the fixed prior and skips
from the last context frame, with predicted frames fed back. Not the lab's are the model's sizes,
batch, length and output=composite: with direct output so few steps end below copying the last
frame.
--config=configs/study.py:STEPS makes the run longer or shorter, its schedules with it.
"""

from cvae_jax import config as config_lib

NUM_STEPS = 150


def get_config(num_steps=NUM_STEPS):
    """Width 8, batches of 4 clips of 2 + 5 frames, measured on 2 -> 10 of the validation split."""
    num_steps = int(num_steps)
    config = config_lib.defaults()
    config.data.num_predicted_frames = 5
    config.data.num_threads = 1
    config.model.width = 8
    config.model.z_dim = 8
    config.model.g_dim = 64
    config.model.predictor_width = 64
    config.model.predictor = "mlp"
    config.model.output = "composite"
    config.model.feedback = "frame"
    config.kl.weight = 1e-4
    config.teacher_forcing.start_decay_step = num_steps // 3
    config.teacher_forcing.decay_steps = num_steps // 3
    config.teacher_forcing.lower_bound = 0.0
    config.optimizer.learning_rate = 2e-3
    config.train.batch_size = 4
    config.train.num_steps = num_steps
    config.train.log_every_steps = max(1, num_steps // 20)
    config.train.eval_every_steps = max(1, num_steps // 4)
    config.train.checkpoint_every_steps = max(1, num_steps // 4)
    config.train.num_validation_clips = 16
    config.eval.split = "validation"
    config.eval.num_clips = 48
    return config
