"""What is drawn says what it is, hides no pixel, and comes back from the files."""

from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
from PIL import Image

from cvae_jax import video as drawing
from cvae_jax.errors import UserError
from cvae_jax.video import CANVAS, GREEN, GREY, RED

REAL = Path(__file__).parents[2] / "shared" / "data" / "bair_clip.npz"


def _clip(seed: int, time: int = 5, size: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (time, size, size, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def real_clip() -> np.ndarray:
    if not REAL.exists():
        pytest.skip(f"{REAL} is missing: this test needs the real clip of BAIR robot pushing")
    return np.load(REAL)["image"]


def _psnr(one: np.ndarray, other: np.ndarray) -> float:
    return 10 * np.log10(255**2 / np.mean((one.astype(float) - other) ** 2))


def _places(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (picture == np.asarray(colour, np.uint8)).all(-1)


def _contains(picture: np.ndarray, part: np.ndarray) -> bool:
    """Whether `part` is somewhere in `picture`, pixel for pixel."""
    height, width = part.shape[:2]
    corners = np.argwhere(_places(picture, tuple(part[0, 0])))
    return any(np.array_equal(picture[y : y + height, x : x + width], part) for y, x in corners)


@pytest.mark.parametrize("num_context_frames", [0, 2, 5])
def test_border_is_outside_and_tells_context_from_prediction(num_context_frames: int) -> None:
    clip = _clip(0)
    framed = drawing.frame_with_border(clip, num_context_frames, thickness=3)
    assert np.array_equal(framed[:, 3:-3, 3:-3], clip)
    edges = np.ones(framed.shape[1:3], bool)
    edges[3:-3, 3:-3] = False
    assert (framed[:num_context_frames, edges] == GREEN).all()
    assert (framed[num_context_frames:, edges] == RED).all()


def test_drawing_leaves_its_arguments_alone() -> None:
    clip, samples = _clip(0), np.stack([_clip(1), _clip(2)])
    clip.setflags(write=False)
    samples.setflags(write=False)
    drawing.side_by_side(clip, samples, 2)
    drawing.grid(samples, samples, 2)
    drawing.strip(clip, samples, 2)


@pytest.mark.parametrize("num_samples", [1, 3])
def test_side_by_side_shows_every_pixel_with_truth_on_top(num_samples: int) -> None:
    truth = _clip(0)
    samples = np.stack([_clip(seed) for seed in range(1, num_samples + 1)])
    drawn = drawing.side_by_side(truth, samples, 2, scale=3)
    half = drawn.shape[1] // 2
    for time in range(len(truth)):
        assert _contains(drawn[time, :half], truth[time].repeat(3, 0).repeat(3, 1))
        for sample in samples:
            assert _contains(drawn[time, half:], sample[time].repeat(3, 0).repeat(3, 1))
        frames_of = {colour: _places(drawn[time], colour) for colour in (GREEN, RED, GREY)}
        assert frames_of[GREEN].any() == (time < 2)
        assert frames_of[RED][half:].any() == (time >= 2)
        assert not frames_of[RED][:half].any()
        assert frames_of[GREY][:half].any() == (time >= 2)
        assert not frames_of[GREY][half:].any()


def test_every_moment_has_its_number() -> None:
    still = np.zeros((12, 16, 16, 3), np.uint8)
    drawn = drawing.side_by_side(still, still[None], 12, scale=6)
    assert len({frame.tobytes() for frame in drawn}) == 12


def test_grid_has_a_column_for_each_clip() -> None:
    truths, predictions = np.stack([_clip(0), _clip(1)]), np.stack([_clip(2), _clip(3)])
    drawn = drawing.grid(truths, predictions, 2, scale=2)
    half_height, half_width = drawn.shape[1] // 2, drawn.shape[2] // 2
    quarters = {
        (0, 0): drawn[3, :half_height, :half_width],
        (0, 1): drawn[3, :half_height, half_width:],
        (1, 0): drawn[3, half_height:, :half_width],
        (1, 1): drawn[3, half_height:, half_width:],
    }
    for (row, column), quarter in quarters.items():
        clip = (truths, predictions)[row][column]
        assert _contains(quarter, clip[3].repeat(2, 0).repeat(2, 1))


def test_strip_puts_time_from_left_to_right_and_samples_below() -> None:
    truth, samples = _clip(0), np.stack([_clip(1), _clip(2)])
    drawn = drawing.strip(truth, samples, 2, scale=1)
    places = []
    for clip in (truth, *samples):
        for frame in clip:
            where = np.argwhere(_places(drawn, tuple(frame[0, 0])))
            places += [
                (y, x)
                for y, x in where
                if np.array_equal(drawn[y : y + frame.shape[0], x : x + frame.shape[1]], frame)
            ]
    rows, columns = np.array(places).reshape(3, len(truth), 2).transpose(2, 0, 1)
    assert (np.diff(rows, axis=0) > 16).all()
    assert (np.diff(rows, axis=1) == 0).all()
    assert (np.diff(columns, axis=1) > 16).all()
    assert (np.diff(columns, axis=0) == 0).all()


def test_gif_comes_back_in_true_colours(tmp_path: Path, real_clip: np.ndarray) -> None:
    clip = real_clip[:12]
    drawn = drawing.side_by_side(clip, clip[None], 2)
    drawing.write_gif(tmp_path / "clip.gif", drawn, frames_per_second=5)
    with Image.open(tmp_path / "clip.gif") as gif:
        assert gif.n_frames == 12
        assert gif.info["loop"] == 0
        assert gif.info["duration"] == 200
        read = []
        for time in range(gif.n_frames):
            gif.seek(time)
            read.append(np.asarray(gif.convert("RGB")))
        assert gif.info["duration"] == 1000
    read = np.stack(read)
    assert min(_psnr(one, other) for one, other in zip(read, drawn, strict=True)) > 34
    for colour in (GREEN, RED, GREY, CANVAS):  # exact, so that nothing of ours is dithered
        assert (read[_places(drawn, colour)] == colour).all()


def test_what_stands_still_does_not_flicker_in_a_gif(tmp_path: Path, real_clip: np.ndarray) -> None:
    clip = real_clip[:6].copy()
    clip[:, 32:] = clip[0, 32:]
    drawing.write_gif(tmp_path / "clip.gif", clip, frames_per_second=5)
    read = imageio.imread(tmp_path / "clip.gif", plugin="pillow", mode="RGB")
    assert (read[:, 32:] == read[0, 32:]).all()


@pytest.mark.parametrize("size", [(64, 64), (63, 65)])
def test_mp4_plays_everywhere_and_looks_the_same(
    tmp_path: Path, real_clip: np.ndarray, size: tuple[int, int]
) -> None:
    clip = real_clip[:8, : size[0], : size[1]].repeat(3, 1).repeat(3, 2)
    clip = np.pad(clip, ((0, 0), (0, 0), (0, size[1] - 64 if size[1] > 64 else 0), (0, 0)), "edge")
    drawing.write_mp4(tmp_path / "clip.mp4", clip, frames_per_second=5)
    about = imageio.immeta(tmp_path / "clip.mp4", plugin="FFMPEG")
    assert about["codec"] == "h264"
    assert about["pix_fmt"].startswith("yuv420p")
    assert about["fps"] == 5
    assert all(length % 2 == 0 for length in about["size"])
    read = imageio.imread(tmp_path / "clip.mp4", plugin="FFMPEG")
    assert len(read) == 8
    height, width = clip.shape[1:3]
    assert read.shape[1] - height in (0, 1)
    assert read.shape[2] - width in (0, 1)
    assert _psnr(read[:, :height, :width], clip) > 30


def test_png_is_lossless(tmp_path: Path) -> None:
    picture = _clip(0)[0]
    drawing.write_png(tmp_path / "clip.png", picture)
    assert np.array_equal(imageio.imread(tmp_path / "clip.png"), picture)


def test_nothing_is_left_behind_where_writing_fails(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    clip = _clip(0)
    for write in (drawing.write_gif, drawing.write_mp4):
        with pytest.raises(UserError, match="cannot be written"):
            write(tmp_path / "file" / "clip.mp4", clip, 5)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
