"""Which clips are drawn beside those that were asked for, and what an interruption leaves."""

from types import SimpleNamespace

import numpy as np
import pytest

from configs import tiny
from cvae_jax import sample, validation
from cvae_jax.data.pipeline import Batch
from cvae_jax.files import write_json
from cvae_jax.protocols import PROTOCOLS, PSNR_DEFINITIONS


def test_best_median_and_worst_of_the_clips():
    assert sample.rank([20.0, 31.0, 25.0, 18.0, 27.0]) == {1: "best", 2: "median", 3: "worst"}
    assert sample.rank([20.0, 31.0]) == {1: "best", 0: "worst"}
    assert sample.rank([20.0]) == {0: "worst"}
    assert sample.rank([]) == {}


@pytest.mark.parametrize(("protocol", "used"), [("default", True), ("lab", False)])
def test_figures_by_another_definition_of_psnr_are_not_used(tmp_path, protocol, used):
    """They would stand beside PSNR of single frames, which is over all channels at once."""
    config = validation.from_config_dict(tiny.get_config())
    source = SimpleNamespace(statistics=SimpleNamespace(fingerprint="f"))
    about = {
        "data_fingerprint": "f",
        "camera": config.data.camera,
        "split": config.eval.split,
        "start_frame": 0,
        "num_context_frames": config.eval.num_context_frames,
        "num_predicted_frames": config.eval.num_predicted_frames,
        "psnr": PSNR_DEFINITIONS[PROTOCOLS[protocol].psnr],
    }
    (tmp_path / "evaluation").mkdir()
    stored = {"protocol": about, "checkpoint_step": 3, "model": {"psnr_per_clip": [20.0, 30.0]}}
    write_json(tmp_path / "evaluation" / "3.json", stored)
    found = sample._evaluated(tmp_path, 3, config, source)
    assert found == ([20.0, 30.0] if used else [])


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
