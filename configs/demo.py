"""The demo: a small model on simulated pushing."""

from cvae_jax import config as config_lib


def get_config():
    """Width 16, an 8x8 latent map that feeds on itself, composite output."""
    config = config_lib.defaults()
    config.model.width = 16
    config.model.z_dim = 16
    config.model.g_dim = 32
    config.model.predictor = "conv"
    config.model.predictor_width = 64
    config.model.output = "composite"
    config.train.batch_size = 4
    config.train.num_steps = 600
    return config
