"""Every pixel of a sheet: what is in which cell, how it is framed, what its colours mean."""

import matplotlib
import numpy as np
import pytest

from cvae_jax import sheet
from cvae_jax.video import GREEN, GREY, RED

SIZE = 8 + 2 * sheet.BORDER


def _clips(num_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """A true clip of 2 + 3 frames, and samples that share its context."""
    clips = np.random.default_rng(0).integers(0, 256, (1 + num_samples, 5, 8, 8, 3), dtype=np.uint8)
    clips[1:, :2] = clips[0, :2]
    return clips[0], clips[1:]


def _cells(num_samples: int) -> tuple[list[str], np.ndarray]:
    """The rows' names, and the cells (row, time, height, width, 3)."""
    truth, samples = _clips(num_samples)
    names = sheet.rows(num_samples)
    picture = sheet.draw(truth, samples, sheet.deviation(samples), 2)
    assert picture.shape == (len(names) * SIZE, 5 * SIZE, 3)
    return names, picture.reshape(len(names), SIZE, 5, SIZE, 3).swapaxes(1, 2)


def _inside(cells: np.ndarray) -> np.ndarray:
    return cells[..., sheet.BORDER : -sheet.BORDER, sheet.BORDER : -sheet.BORDER, :]


def test_rows_have_names():
    assert sheet.rows(1) == ["truth", "prediction", "error"]
    assert sheet.rows(2) == ["truth", "sample 1", "sample 2", "error 1", "error 2", "deviation"]


@pytest.mark.parametrize("num_samples", [1, 3])
def test_cells_hold_the_frames_of_their_row_and_time(num_samples):
    _, cells = _cells(num_samples)
    truth, samples = _clips(num_samples)
    assert np.array_equal(_inside(cells)[: num_samples + 1], [truth, *samples])


def test_context_is_framed_green_predictions_red_and_what_the_model_did_not_make_grey():
    names, cells = _cells(2)
    for name, row in zip(names, cells, strict=True):
        edge = row[:, 0, 0]
        assert (edge[:2] == GREEN).all()
        assert (edge[2:] == (RED if name.startswith("sample") else GREY)).all()


def test_heat_of_an_error_is_its_mean_over_channels():
    names, cells = _cells(2)
    truth, samples = _clips(2)
    error = np.abs(truth / 255 - samples[1] / 255).mean(-1)
    expected = matplotlib.colormaps["inferno"](error / sheet.ERROR_LIMIT, bytes=True)[..., :3]
    found = _inside(cells)[names.index("error 2")].astype(int)
    assert np.abs(found - expected).max() <= 2  # of 256 colours, the neighbour at most
    assert (found[:2] == expected[0, 0, 0]).all()  # no error where frames are given
    assert found[2:].std() > 20


def test_deviation_is_that_of_all_samples_not_of_those_drawn():
    truth, samples = _clips(5)
    found = sheet.deviation(samples)
    np.testing.assert_allclose(found, (samples / 255).std(axis=0).mean(-1), atol=1e-6)
    few = sheet.draw(truth, samples[:2], found, 2)
    row = few[-SIZE:].reshape(SIZE, 5, SIZE, 3).swapaxes(0, 1)
    assert np.array_equal(_inside(row), sheet.heat(found / sheet.STD_LIMIT))


def test_heat_ends_at_its_limit():
    colours = sheet.heat(np.array([[-1.0, 0.0, 0.5, 1.0, 7.0]]))[0]
    assert np.array_equal(colours[0], colours[1])
    assert np.array_equal(colours[3], colours[4])
    assert colours[1].sum() < colours[2].sum() < colours[3].sum()
