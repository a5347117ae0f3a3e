"""From a reader's clips to a prepared data set, whole or not at all."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from cvae_jax import config
from cvae_jax.data import preparation, readers, sources

ROOT = Path(__file__).resolve().parents[2]


class Numbers:
    """Clips made from their own names; a list of names may be bad or wait to be killed."""

    cameras = ("left", "right")
    num_frames, frame_size, action_dim, position_dim = 4, (64, 64), 5, 0

    def __init__(self, splits=None, bad=(), action=None):
        self._splits = splits or {"train": 20, "validation": 3, "test": 10}
        self._bad, self._action = bad, action

    def splits(self):
        return {
            split: [readers.ClipRef(f"clip{i:03}", (split, i)) for i in range(count)]
            for split, count in self._splits.items()
        }

    def read(self, ref):
        if ref.name in self._bad:
            raise readers.BadClip("it is bad")
        return self.clip(*ref.key)

    def clip(self, split, number):
        rng = np.random.default_rng([len(split), number])
        views = {c: rng.integers(0, 255, (4, 64, 64, 3), np.uint8) for c in self.cameras}
        action = (
            rng.normal(size=(4, 5)).astype(np.float32) if self._action is None else self._action
        )
        return readers.RawClip(views, action, np.zeros((4, 0), np.float32))

    def describe(self):
        return "numbers"


def open_numbers(data):
    """The reader that the tests' source names; its input says what is bad."""
    return Numbers(**json.loads(Path(data.path).read_text()))


SOURCE = sources.Source(
    None, None, ("left", "right"), num_frames=4, reader=f"{__name__}:open_numbers"
)


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Settings of a source of numbers, and where its prepared data go."""
    monkeypatch.setitem(sources.SOURCES, "numbers", SOURCE)
    (tmp_path / "input").write_text("{}")
    return config.DataConfig(
        source="numbers", dir=str(tmp_path / "data"), path=str(tmp_path / "input"), camera="left"
    )


def _input(data, **values):
    Path(data.path).write_text(json.dumps(values))


def _folder(data):
    return Path(data.dir, "numbers", "1.0.0")


def _left(data):
    """What of the data set there is, whole or not."""
    return [path.name for path in Path(data.dir).rglob("*") if path.is_dir()]


def test_clips_come_back_bit_for_bit_and_in_order(data, capsys):
    preparation.prepare(data)
    assert "20 train, 3 validation, 10 test clips of 4 frames" in capsys.readouterr().out
    for split, count in Numbers()._splits.items():
        for camera in ("left", "right"):
            source = sources.open_split(dataclasses.replace(data, camera=camera), split)
            assert len(source) == count
            for number in range(count):
                clip, expected = source.read(number), Numbers().clip(split, number)
                np.testing.assert_array_equal(clip.video, expected.views[camera])
                np.testing.assert_array_equal(clip.action, expected.action)
                assert clip.position.shape == (4, 0)
    assert not list(Path(data.dir).rglob("*incomplete*"))
    preparation.prepare(data)
    assert "already prepared" in capsys.readouterr().out
