"""The comparison of quality, but for the peer's side, which needs PyTorch (tests/test_peer.py)."""

import sys

import numpy as np
import pytest

from benchmarks import overfit, pages, quality, quality_page
from cvae_jax import files, tensorboard
from cvae_jax.config import DataConfig
from cvae_jax.data import preparation, sources
from cvae_jax.errors import UserError


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


def test_table_tells_both_sides_with_their_intervals():
    told = quality_page.tables(_result([26.0, 27.0, 28.0], [22.0, 23.5, 22.0]))
    first = next(line for line in told.splitlines() if "2 -> 10, one sample" in line)
    # 4.303 is Student's t of 2 degrees of freedom.
    halves = [4.303 * np.std(side, ddof=1) / np.sqrt(3) for side in ([26, 27, 28], [22, 23.5, 22])]
    assert f"| 27.00 ± {halves[0]:.2f} | 22.50 ± {halves[1]:.2f} | +4.50 |" in first
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
    page.write_text(f"before\n{quality_page.START}\nold\n{pages.END}\nafter\n")
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


def test_runs_of_other_settings_are_refused_and_more_seeds_are_not(tmp_path):
    path = tmp_path / "settings.json"
    quality.check_settings(path, {"steps": 300, "source": "lab", "seeds": 1})
    quality.check_settings(path, {"steps": 300, "source": "lab", "seeds": 3})
    with pytest.raises(UserError, match="holds runs with --steps=300; choose another --folder"):
        quality.check_settings(path, {"steps": 600, "source": "lab", "seeds": 1})


def test_curve_has_the_minutes_since_the_command(tmp_path, monkeypatch):
    now = iter([1000.0, 1000.0, 1090.0, 1090.0, 1240.0])
    monkeypatch.setattr(tensorboard.time, "time", lambda: next(now))
    monkeypatch.setattr(tensorboard, "_new_file", lambda _: tmp_path / "events.out.tfevents.1.a")
    log = tensorboard.TensorBoard(tmp_path, 0)
    log.write(30, {"validation/psnr_mean": 21.5, "train/mse": 0.1})
    log.write(60, {"validation/psnr_mean": 23.5})
    log.close()
    assert quality.validation_curve(tmp_path, 940.0) == [(2.5, 21.5), (5.0, 23.5)]


def test_a_stopped_run_is_done_anew_and_a_done_one_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["quality", f"--torch_python={sys.executable}", "--seeds=2"])
    arguments = quality.parse()
    arguments.folder, done = tmp_path / "runs", []

    def run(_, workdir, seed, minutes):
        assert not workdir.exists()
        done.append((workdir.name, minutes))
        return {"minutes": 5.0 + seed}

    for name in ("timed", "write_clips", "check_counts"):
        monkeypatch.setattr(quality, name, lambda *_: 0.0)
    monkeypatch.setattr(quality, "do_ours", run)
    monkeypatch.setattr(quality, "do_peer", run)
    monkeypatch.setattr(quality, "RESULTS", tmp_path / "quality.json")
    quality.measure(arguments)
    assert done == [("ours-0", None), ("peer-0", 5.0), ("ours-1", None), ("peer-1", 6.0)]
    (arguments.folder / "peer-1" / "figures.json").unlink()
    quality.measure(arguments)
    assert done[4:] == [("peer-1", 6.0)]
    runs = files.read_json(tmp_path / "quality.json")["runs"]
    assert [(run["side"], run["seed"]) for run in runs] == [
        (side, seed) for seed in (0, 1) for side in ("ours", "peer")
    ]
