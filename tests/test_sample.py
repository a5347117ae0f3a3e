"""Which clips are drawn beside those that were asked for, and what an interruption leaves."""

import numpy as np
import pytest

from configs import tiny
from cvae_jax import sample, validation
from cvae_jax.data.pipeline import Batch


def test_best_median_and_worst_of_the_clips():
    assert sample.rank([20.0, 31.0, 25.0, 18.0, 27.0]) == {1: "best", 2: "median", 3: "worst"}
    assert sample.rank([20.0, 31.0]) == {1: "best", 0: "worst"}
    assert sample.rank([20.0]) == {0: "worst"}
    assert sample.rank([]) == {}


def test_an_interrupted_call_leaves_no_figures_of_pictures_that_are_replaced(tmp_path):
    config = validation.from_config_dict(tiny.get_config())
    num_predicted, num_samples = config.eval.num_predicted_frames, config.sample.num_samples
    video = np.zeros((2, config.eval.num_context_frames + num_predicted, 64, 64, 3), np.uint8)
    batch = Batch(video, video[..., 0, 0], video[..., 0, 0], np.arange(2))
    (tmp_path / "samples.json").write_text("of an earlier call")

    def predicted():
        yield np.repeat(video[:1, -num_predicted:], num_samples, axis=0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample._draw(tmp_path, config, batch, predicted(), 1, [{"clip": 0}, {"clip": 1}])
    assert (tmp_path / "clip_000_sheet.png").exists()
    assert not (tmp_path / "samples.json").exists()
