"""The smallest run that goes through everything; for tests.

    python main.py --mode=prepare --config=configs/tiny.py
    python main.py --mode=train --config=configs/tiny.py --workdir=runs/tiny

Time: a minute on 2 CPU cores, most of it compilation. Result: none to speak of.
"""

from cvae_jax import config as config_lib


def get_config():
    """Width 4, the output that compiles fastest, 24 clips, 4 steps."""
    config = config_lib.defaults()
    config.data.source = "simulated_push_tiny"
    config.data.num_predicted_frames = 3
    config.model.width = 4
    config.model.z_dim = 4
    config.model.g_dim = 8
    config.model.predictor_width = 8
    config.model.predictor_depth = 1
    config.train.batch_size = 4
    config.train.num_steps = 4
    config.train.log_every_steps = 1
    config.train.eval_every_steps = 2
    config.train.checkpoint_every_steps = 2
    config.train.num_validation_clips = 4
    config.eval.num_clips = 4
    config.eval.num_predicted_frames = 3
    config.eval.batch_size = 4
    config.sample.clips = "0,1"
    config.sample.num_samples = 2
    return config
