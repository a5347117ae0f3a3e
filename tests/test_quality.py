"""The comparison of quality: scores, tables and what the peer's side learns. No PyTorch."""

import numpy as np
import pytest

from benchmarks import overfit, quality, quality_page
from cvae_jax.config import DataConfig
from cvae_jax.data import preparation, sources


def _random_video(*shape):
    return np.random.default_rng(0).integers(0, 256, (*shape, 64, 64, 3), dtype=np.uint8)


def test_predictions_are_scored_against_the_frames_after_the_context():
    video = _random_video(3, 6)
    predicted = np.repeat(video[:, None, quality.CONTEXT : 5], 2, axis=1)
    predicted[1, 0] = 0
    scores = quality.score(predicted, video)
    black = -10 * np.log10(np.square(video[1, 2:5] / 255).mean(axis=(1, 2, 3))).mean()
    assert scores["psnr_mean"] == pytest.approx((100 + (100 + black) / 2 + 100) / 3, rel=1e-5)
    assert scores["psnr_best_of_2"] == pytest.approx(100)
    assert scores["ssim_best_of_2"] == pytest.approx(1)
    assert scores["ssim_mean"] < 0.9


def test_minutes_are_those_of_the_first_value_that_is_there():
    curve = [(1.0, 20.0), (2.0, 23.0), (3.0, 22.0)]
    assert quality_page.minutes_to_reach(curve, 21.0) == 2.0
    assert quality_page.minutes_to_reach(curve, 20.0) == 1.0
    assert quality_page.minutes_to_reach(curve, 23.1) is None


def _run(side, seed, psnr):
    score = {
        "psnr_mean": psnr,
        "ssim_mean": psnr / 100,
        "psnr_best_of_20": psnr + 1,
        "ssim_best_of_20": (psnr + 1) / 100,
        "psnr_per_frame": [psnr + 1, psnr - 1],
    }
    return {
        "side": side,
        "seed": seed,
        "minutes": 5.0,
        "steps": 100,
        "validation_psnr": [(1.0, psnr - 3), (5.0, psnr)],
        "scores": {name: score for name in ("short", "long", "best_of")},
        "copy_last_frame": {"long": score},
    }


def _result(ours, peer):
    runs = [_run("ours", seed, psnr) for seed, psnr in enumerate(ours)]
    runs += [_run("peer", seed, psnr) for seed, psnr in enumerate(peer)]
    machine = {"processor": "P", "cores": 2, "load_average_at_start": 0.0}
    settings = {"source": "s", "width": 16, "clips": 8, "peer_batch": 12}
    settings |= {"best_of": 20, "best_of_clips": 4}
    return {"machine": machine, "settings": settings, "runs": runs}


def test_table_tells_the_difference_with_its_interval():
    told = quality_page.tables(_result([26.0, 27.0, 28.0], [22.0, 23.5, 22.0]))
    first = next(line for line in told.splitlines() if "2 -> 10, one sample" in line)
    # 4.303 is Student's t of 2 degrees of freedom; deviations of the differences 4, 3.5, 6.
    half = 4.303 * np.std([4, 3.5, 6], ddof=1) / np.sqrt(3)
    assert f"| 4.50 ± {half:.2f} |" in first
    assert "| 27.00 ± 2.48 | 22.50 ± 2.15 |" in first
    assert "intervals overlap" in first
    assert "| 0 | 22.00 | 5.0 | 1.0 (20%) |" in told
    assert "| 1 | 23.50 | 5.0 | 1.0 (20%) |" in told


@pytest.mark.parametrize(("peer", "said"), [(20.0, "intervals apart"), (26.9, "overlap")])
def test_intervals_are_apart_or_overlap(peer, said):
    told = quality_page.tables(_result([27.0, 27.1, 27.2], [peer, peer + 0.1, peer + 0.2]))
    rows = [line for line in told.splitlines() if "2 ->" in line]
    assert len(rows) == 6
    assert all(said in row for row in rows)


def test_page_is_written_between_its_markers(tmp_path):
    page = tmp_path / "quality.md"
    page.write_text(f"before\n{quality_page.START}\nold\n{quality_page.END}\nafter\n")
    quality_page.write(tmp_path, _result([27.0, 27.1], [20.0, 20.1]))
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "intervals apart" in text
    assert (tmp_path / quality_page.PLOT).stat().st_size > 10_000


def test_the_clip_to_overfit_is_every_split(tmp_path):
    frames = _random_video(12)
    action = np.random.default_rng(1).normal(size=(12, 4)).astype(np.float32)
    overfit.write_folder(tmp_path / "videos", frames, action)
    data = DataConfig(
        source="folder", path=str(tmp_path / "videos"), dir=str(tmp_path / "data"), clip_length=12
    )
    preparation.prepare(data)
    for split, count in (("train", 1), ("validation", 1), ("test", 2)):
        source = sources.open_split(data, split)
        assert len(source) == count
        for number in range(count):
            clip = source.read(number)
            np.testing.assert_array_equal(clip.video, frames)
            np.testing.assert_allclose(clip.action, action, rtol=1e-6)
