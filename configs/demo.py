"""The demo: a small model that learns simulated pushing in minutes on two CPU cores.

    make demo

or step by step

    python main.py --mode=prepare --config=configs/demo.py
    python main.py --mode=train --config=configs/demo.py --workdir=runs/demo

Time: all of `make demo` took 4 minutes and 50 seconds on a 2-core AMD EPYC (Zen 5). Result (seed 0,
256 test clips, 2 -> 10, one prior sample): PSNR 27.92 dB against 21.80 for copying the last frame,
SSIM 0.885 against 0.789. Runs of 600 steps: 28.38 dB, 0.895; of 12,000, in an hour: 31.59 dB, 0.940
(cvae_jax/pretrained).

It trains on its own predictions from the first step. Without the sprite (models/sprite.py) that
was seen to stay where it ignores the actions, and teacher forcing at the start was needed.
"""

from cvae_jax import config as config_lib


def get_config():
    """Width 8, an 8x8 map as g that feeds on itself, composite output, small batches."""
    config = config_lib.defaults()
    config.model.width = 8
    config.model.z_dim = 16
    config.model.g_dim = 32
    config.model.predictor = "conv"
    config.model.predictor_width = 64
    config.model.output = "composite"
    config.optimizer.name = "muon"
    config.optimizer.learning_rate = 2e-3
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_steps = 50
    config.train.batch_size = 4
    config.train.num_steps = 450
    config.train.log_every_steps = 25
    config.train.eval_every_steps = 150
    config.train.checkpoint_every_steps = 75
    config.train.num_validation_clips = 32
    config.sample.clips = "0,1,2,3,4,5"
    return config
