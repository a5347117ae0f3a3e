"""RoboNet (Dasari et al. 2019) as TFDS prepares it: the example of docs/adding_data.md."""

from __future__ import annotations

from cvae_jax.data.episodes import EpisodeReader, Keys
from cvae_jax.data.readers import DataSettings

KEYS = Keys(image="video", action=("actions",), position=("states",))


def open_reader(config: DataSettings) -> EpisodeReader:
    """The reader of a folder such as tensorflow_datasets/robonet/robonet_sample_64/4.0.1."""
    return EpisodeReader(config, KEYS)
