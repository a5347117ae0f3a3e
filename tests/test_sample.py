"""Which clips are drawn beside those that were asked for, and what an interruption leaves."""

import contextlib
import dataclasses
from types import SimpleNamespace

import imageio.v3 as iio
import numpy as np
import pytest

from configs import tiny
from cvae_jax import files, sample, validation
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


def test_an_overview_of_many_clips_is_of_the_first(tmp_path):
    """A frame with all of 80 beside each other would be wider than H.264 takes."""
    config = validation.from_config_dict(tiny.get_config())
    count = sample.NUM_IN_OVERVIEW + 4
    config = dataclasses.replace(
        config,
        eval=dataclasses.replace(config.eval, num_context_frames=1, num_predicted_frames=1),
        sample=dataclasses.replace(
            config.sample, clips=",".join(map(str, range(count))), num_samples=1
        ),
    )
    video = np.zeros((count, 2, 64, 64, 3), np.uint8)
    batch = Batch(video, video[..., 0, 0], video[..., 0, 0], np.arange(count))
    about = [{"clip": clip} for clip in range(count)]
    told = sample._draw(tmp_path, config, batch, iter(video[:, None, 1:]), 1, about)
    assert told == "demo.gif (the first 16)"
    frames = iio.imread(tmp_path / "demo.gif")
    assert frames.shape[2] < 64 * 3 * (sample.NUM_IN_OVERVIEW + 2)
    assert iio.imread(tmp_path / "demo.mp4").shape[0] == 2
    assert len(files.read_json(tmp_path / "samples.json")["clips"]) == count


def _write(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text(f"{folder.name}/{name}")


def test_pictures_of_an_earlier_call_stay_until_all_are_drawn(tmp_path):
    earlier = "clip_000.gif", "clip_000_sheet.png", "clip_001.gif", "demo.gif", "samples.json"
    _write(tmp_path, *earlier)
    with contextlib.suppress(KeyboardInterrupt), sample._replacing(tmp_path) as fresh:
        _write(fresh, "clip_001.gif")
        raise KeyboardInterrupt
    assert {path.name for path in tmp_path.iterdir()} == set(earlier)
    (tmp_path / ".fresh").mkdir()
    _write(tmp_path / ".fresh", "of_a_call_that_was_killed")
    with sample._replacing(tmp_path) as fresh:
        _write(fresh, "clip_001.gif", "samples.json")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "clip_001.gif": ".fresh/clip_001.gif",
        "samples.json": ".fresh/samples.json",
        "demo.gif": f"{tmp_path.name}/demo.gif",
    }
