"""From a reader's clips to a prepared data set, whole or not at all."""

import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cvae_jax import config
from cvae_jax.data import preparation, readers, sources
from cvae_jax.errors import UserError
from tests.data import recordings

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
        return readers.RawClip(views, np.asarray(action, np.float32), np.zeros((4, 0), np.float32))

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
    told = capsys.readouterr().out
    assert "already prepared" in told
    assert f"what has changed since in {data.path} is not there; delete {_folder(data)}" in told


def test_bad_clips_are_named_skipped_and_counted(data, capsys):
    _input(data, splits={"train": 250, "test": 50}, bad=["clip003", "clip204"])
    preparation.prepare(data)
    printed = capsys.readouterr()
    assert "3 of 300 clips were bad and skipped" in printed.out
    assert printed.out.count("(it is bad)") == 3
    with pytest.raises(UserError, match=r"strict=True: .* was made without 3 bad clips"):
        preparation.prepare(dataclasses.replace(data, strict=True))
    assert "skipped: train clip204 (it is bad)" in printed.err
    source = sources.open_split(data, "train")
    assert len(source) == 248
    np.testing.assert_array_equal(source.read(3).action, Numbers().clip("train", 4).action)
    noted = json.loads((_folder(data) / "conversion.json").read_text())["shards"]
    assert sorted(name for shard in noted.values() for name in shard["bad"]) == [
        *("clip003", "clip003", "clip204")
    ]


@pytest.mark.parametrize(("strict", "num_bad", "num_told"), [(0, 5, 5), (0, 30, 21), (1, 5, 1)])
def test_of_few_bad_clips_all_are_told_before_they_are_refused(
    data, capsys, strict, num_bad, num_told
):
    _input(data, splits={"train": 200}, bad=[f"clip{number:03}" for number in range(num_bad)])
    with pytest.raises(UserError, match=f"{num_told} bad clip"):
        preparation.prepare(dataclasses.replace(data, strict=bool(strict)))
    assert capsys.readouterr().err.count("skipped: train clip") == num_told


def test_a_test_split_of_one_clip_is_told(data, capsys):
    _input(data, splits={"train": 3, "test": 1})
    preparation.prepare(data)
    assert "an evaluation of test needs two clips: add some" in capsys.readouterr().out


def test_more_than_one_percent_refuses(data):
    _input(data, splits={"train": 200}, bad=["clip003", "clip004", "clip150"])
    with pytest.raises(UserError, match=r"3 bad clip.*more than 1% of 200.*clip003 \(it is bad\)"):
        preparation.prepare(data)
    assert "1.0.0" not in _left(data)
    with pytest.raises(UserError, match="not prepared"):
        sources.open_split(data, "train")
    _input(data, splits={"train": 200}, bad=["clip003", "clip150"])
    preparation.prepare(data)
    assert len(sources.open_split(data, "train")) == 198


def test_strict_refuses_the_first(data):
    _input(data, splits={"train": 200}, bad=["clip150"])
    with pytest.raises(UserError, match=r"strict=True: train clip150 \(it is bad\)") as error:
        preparation.prepare(dataclasses.replace(data, strict=True))
    assert "\n" not in str(error.value)
    assert "1.0.0" not in _left(data)


@pytest.mark.parametrize(
    ("action", "told"),
    [
        (np.full((4, 5), np.nan), "action of frame 0 is not finite"),
        (np.zeros((3, 5)), r"action has shape \(3, 5\) rather than \(4, 5\)"),
        (np.zeros((4, 4)), r"action has shape \(4, 4\) rather than \(4, 5\)"),
    ],
)
def test_clips_that_are_not_as_their_reader_says_are_bad(data, action, told):
    _input(data, action=action.tolist())
    with pytest.raises(UserError, match=told):
        preparation.prepare(data)


def test_frames_of_another_size_or_type_are_bad(data, monkeypatch):
    for view in (np.zeros((4, 64, 63, 3), np.uint8), np.zeros((4, 64, 64, 3), np.float32)):
        clip = Numbers().clip("train", 0)._replace(views={"left": view, "right": view})
        monkeypatch.setattr(Numbers, "read", lambda self, ref, clip=clip: clip)
        with pytest.raises(UserError, match=r"left is .* rather than uint8"):
            preparation.prepare(data)


def test_two_clips_of_one_name_are_refused(data, monkeypatch):
    twice = [readers.ClipRef("same", ("train", 0))] * 2
    monkeypatch.setattr(Numbers, "splits", lambda self: {"train": twice})
    with pytest.raises(UserError, match="train has two clips same"):
        preparation.prepare(data)


@pytest.mark.parametrize(
    ("splits", "told"),
    [({"train": 0, "test": 0}, "no clips found"), ({"train": 3, "test": 0}, "test split is empty")],
)
def test_empty_splits_are_refused(data, splits, told):
    _input(data, splits=splits)
    with pytest.raises(UserError, match=told):
        preparation.prepare(data)


def test_a_split_that_is_not_there_is_missed_when_it_is_needed(data):
    _input(data, splits={"train": 3, "test": 2})
    preparation.prepare(data)
    assert len(sources.open_split(data, "test")) == 2
    with pytest.raises(UserError, match="has no validation clips, only train, test"):
        sources.open_split(data, "validation")


def test_data_made_from_something_else_are_not_taken_for_this(data, tmp_path):
    preparation.prepare(data)
    (tmp_path / "other").write_text("{}")
    with pytest.raises(UserError, match=r"data.path=.*other: .* was made with .*input"):
        preparation.prepare(dataclasses.replace(data, path=str(tmp_path / "other")))
    preparation.prepare(dataclasses.replace(data, path=""))


def test_a_source_that_is_made_without_files_refuses_a_path(data):
    with pytest.raises(UserError, match=r"data.path=.* simulated_push is made without"):
        preparation.prepare(dataclasses.replace(data, source="simulated_push"))


def test_a_full_disk_ends_in_a_line_and_the_rest_goes_on_elsewhere(data, small_disk):
    full = dataclasses.replace(data, dir=str(small_disk / "data"))
    with pytest.raises(UserError, match=r"data.dir") as error:
        preparation.prepare(full)
    assert "\n" not in str(error.value)
    assert "1.0.0" not in _left(full)
    with pytest.raises(UserError, match="not prepared"):
        sources.open_split(full, "train")


KILLED = """
import os, signal, sys
from tests.data import test_conversion as t
from cvae_jax import config
from cvae_jax.data import preparation, sources, tfds_format
sources.SOURCES["numbers"] = t.SOURCE
left = [int(sys.argv[3])]
serialise = tfds_format.serialise
def count(clip):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return serialise(clip)
tfds_format.serialise = count
data = config.DataConfig(source=sys.argv[4], dir=sys.argv[1], path=sys.argv[2])
preparation.prepare(data)
"""


def _kill(data, clips_until_death):
    command = [sys.executable, "-c", KILLED, data.dir, data.path, clips_until_death, data.source]
    process = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == -signal.SIGKILL, process.stderr


def test_a_killed_conversion_goes_on_to_the_same_end(data, tmp_path):
    whole = dataclasses.replace(data, dir=str(tmp_path / "whole"))
    preparation.prepare(whole)
    done = []
    for clips_until_death in (2, 7, 9, 5):
        _kill(data, clips_until_death)
        with pytest.raises(UserError, match="not prepared"):
            sources.open_split(data, "train")
        (incomplete,) = Path(data.dir, "numbers").iterdir()
        noted = incomplete / "conversion.json"
        done.append(len(json.loads(noted.read_text())["shards"]) if noted.exists() else 0)
    assert done[0] == 0 < done[1] < done[2] < done[3]
    (incomplete / "stray").write_text("of a killed call")
    preparation.prepare(data)
    _assert_same_files(_folder(data), _folder(whole))


def test_what_was_replaced_under_its_name_is_converted_again(tmp_path):
    """A killed conversion that goes on keeps the shards whose files are as they were."""
    recordings.write_lab(tmp_path / "lab", clips_per_split=9)
    place = {"path": str(tmp_path / "lab"), "dir": str(tmp_path / "data")}
    data = config.DataConfig(source="lab", camera="image_aux1", **place)
    _kill(data, 9)  # after four shards of two clips
    (incomplete,) = (tmp_path / "data/lab").glob(".incomplete*")
    before = {path.name: path.stat().st_mtime_ns for path in incomplete.glob("lab-*")}
    assert len(before) == 4
    train = tmp_path / "lab/push/train"
    Image.new("RGB", (64, 64)).save(train / "traj_0_to_7/0/3.png")  # of clip 0, another size
    actions = train / "traj_16_to_23/20/actions.csv"  # of clip 4, another time
    actions.write_text(actions.read_text().translate(str.maketrans("123", "321")))
    preparation.prepare(data)
    source = sources.open_split(data, "train")
    assert not source.read(0, 3, 1).video.any()
    assert not (source.read(4).action == recordings.table(4, 30, 4)).all()
    for number in (1, 2, 3, 5, 6, 7, 8):
        np.testing.assert_array_equal(source.read(number).action, recordings.table(number, 30, 4))
    after = {name: (sources.folder_of(data) / name).stat().st_mtime_ns for name in before}
    assert [before[name] == after[name] for name in sorted(before)] == [False, True, False, True]


def _assert_same_files(one, other):
    """Names, clips and statistics; a record file holds more than its clips."""
    assert sorted(p.name for p in one.iterdir()) == sorted(p.name for p in other.iterdir())
    for name in ("statistics.json", "conversion.json", "features.json", "dataset_info.json"):
        assert (one / name).read_text() == (other / name).read_text()
    for path in one.glob("*array_record*"):
        assert path.read_bytes() == (other / path.name).read_bytes()


def test_shards_of_another_input_are_not_gone_on_with(data, tmp_path):
    _input(data, bad=["clip019"])
    with pytest.raises(UserError):
        preparation.prepare(data)
    assert list(Path(data.dir).rglob("*array_record*"))
    other = dataclasses.replace(data, path=str(tmp_path / "other"))
    _input(other, action=np.zeros((4, 5)).tolist())
    preparation.prepare(other)
    source = sources.open_split(other, "train")
    assert not any(source.read(clip_id).action.any() for clip_id in range(len(source)))


def test_other_clips_at_the_same_place_are_not_gone_on_with(data):
    _input(data, bad=["clip009"])
    with pytest.raises(UserError):
        preparation.prepare(data)
    _input(data, splits={"train": 8, "validation": 8, "test": 8})
    preparation.prepare(data)
    assert len(sources.open_split(data, "validation")) == 8
    assert {path.name[-5:] for path in _folder(data).glob("*array_record*")} == {"00008"}


def test_a_clip_that_was_repaired_is_taken_in(data):
    """A shard with a bad clip is done again when a killed or refused conversion goes on."""
    _input(data, splits={"train": 200}, bad=["clip003", "clip004", "clip150"])
    with pytest.raises(UserError, match="clip150"):
        preparation.prepare(data)
    _input(data, splits={"train": 200})
    preparation.prepare(data)
    assert len(sources.open_split(data, "train")) == 200
