"""The lab's folders: exact content, order, and every fault by a really broken file."""

import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from cvae_jax.data import frames
from cvae_jax.data.lab import LabReader
from cvae_jax.data.readers import BadClip
from cvae_jax.errors import UserError
from tests.data import recordings


@pytest.fixture
def clip(tmp_path):
    """The folder of the only clip of a data set."""
    folder = tmp_path / "train/traj_0_to_255/7"
    recordings.write_lab_clip(folder, 3)
    return folder


def _read_only_clip(folder):
    reader = LabReader(folder.parents[2])
    ((ref,),) = reader.splits().values()
    return reader.read(ref)


def test_a_clip_is_what_was_written(clip):
    read = _read_only_clip(clip)
    np.testing.assert_array_equal(read.views["image_aux1"], recordings.moving_square(3, 30))
    np.testing.assert_array_equal(read.action, recordings.table(3, 30, 4))
    np.testing.assert_array_equal(read.position, recordings.table(1003, 30, 3))


def test_clips_come_once_in_natural_order_wherever_they_are(tmp_path, capsys):
    top = tmp_path / "data"
    for name in ("traj_10/2", "traj_2/10", "traj_2/2"):
        (top / "deep/er/train" / name).mkdir(parents=True)
    (top / "deep/test/traj_0/0").mkdir(parents=True)
    (top / "deep/validate/more/traj_0/0").mkdir(parents=True)
    for other in ("train/other/0", "train/traj_3/notes", "extra/traj_0/0"):
        (top / "deep" / other).mkdir(parents=True)
    (top / "deep/er/train/circle").symlink_to(top)
    splits = LabReader(top).splits()
    assert capsys.readouterr().out == "1 clips outside of train, validate, test are left out\n"
    assert list(splits) == ["train", "validation", "test"]
    assert [ref.name for ref in splits["train"]] == [
        f"deep/er/train/{name}" for name in ("traj_2/2", "traj_2/10", "traj_10/2")
    ]
    assert [ref.name for ref in splits["validation"]] == ["deep/validate/more/traj_0/0"]
    assert [ref.name for ref in splits["test"]] == ["deep/test/traj_0/0"]


def test_a_clip_is_of_the_split_whose_folder_is_nearest_and_ids_repeat_between_splits(
    clip, tmp_path
):
    recordings.write_lab_clip(tmp_path / "train/test" / clip.relative_to(tmp_path / "train"), 4)
    reader = LabReader(tmp_path)
    splits = reader.splits()
    assert {split: [ref.name for ref in refs] for split, refs in splits.items()} == {
        "train": ["train/traj_0_to_255/7"],
        "test": ["train/test/traj_0_to_255/7"],
    }
    for (ref,) in splits.values():
        assert reader.read(ref).position.shape == (30, 3)


def test_a_linked_split_is_followed(clip, tmp_path):
    (tmp_path / "links").mkdir()
    (tmp_path / "links/test").symlink_to(clip.parents[1])
    ((split, refs),) = LabReader(tmp_path / "links").splits().items()
    assert (split, refs[0].name) == ("test", "test/traj_0_to_255/7")


def test_a_split_that_is_not_there_is_left_out(clip):
    assert list(LabReader(clip.parents[2]).splits()) == ["train"]


def test_a_folder_without_clips_is_told_the_layout(tmp_path):
    (tmp_path / "train/traj_0").mkdir(parents=True)
    with pytest.raises(UserError, match=r"data.path=.*: no clips there; .*train/traj_0/0/0.png"):
        LabReader(tmp_path).splits()


def _cut(path: pathlib.Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _lines(path: pathlib.Path, change) -> None:
    lines = path.read_text().splitlines()
    change(lines)
    path.write_text("\n".join(lines))


def _make_folder(path: pathlib.Path) -> None:
    path.unlink()
    path.mkdir()


def _set(index, value):
    def change(lines):
        lines[index] = value

    return change


FAULTS = {
    "missing frame": ("12.png", pathlib.Path.unlink, "12.png is missing"),
    "truncated png": ("12.png", _cut, "12.png is not a whole PNG"),
    "not a png": ("0.png", lambda p: p.write_bytes(b"GIF89a nonsense"), "0.png is not a whole PNG"),
    "empty png": ("29.png", lambda p: p.write_bytes(b""), "29.png is not a whole PNG"),
    "wrong size": (
        "5.png",
        lambda p: Image.new("RGB", (32, 48)).save(p),
        "5.png is 32x48, not 64x64",
    ),
    "frame that cannot be read": ("3.png", _make_folder, "3.png cannot be read"),
    "one frame more": (
        "30.png",
        lambda p: Image.new("RGB", (64, 64)).save(p),
        "more than 30 frames",
    ),
    "no actions": ("actions.csv", pathlib.Path.unlink, "actions.csv is missing"),
    "empty actions": ("actions.csv", lambda p: p.write_text(""), "actions.csv has no rows"),
    "too few rows": (
        "actions.csv",
        lambda p: _lines(p, list.pop),
        "actions.csv: 29 rows of 4 columns, not 30 of 4",
    ),
    "too many rows": (
        "endeffector_positions.csv",
        lambda p: _lines(p, lambda lines: lines.append("1,2,3")),
        "endeffector_positions.csv: 31 rows of 3 columns, not 30 of 3",
    ),
    "wrong width": (
        "endeffector_positions.csv",
        lambda p: p.write_text("1,2,3,4\n" * 30),
        "30 rows of 4 columns, not 30 of 3",
    ),
    "short row": (
        "actions.csv",
        lambda p: _lines(p, _set(4, "1,2,3")),
        "actions.csv, line 5: 3 columns, but 4 above",
    ),
    "nan": (
        "actions.csv",
        lambda p: _lines(p, _set(4, "1,nan,3,4")),
        "actions.csv: row 5, column 2 is nan",
    ),
    "infinite": (
        "actions.csv",
        lambda p: _lines(p, _set(4, "1,1,3,1e99")),
        r"actions.csv: row 5, column 4 is 1e\+99",
    ),
    "no number": (
        "actions.csv",
        lambda p: _lines(p, _set(4, "1,left,3,4")),
        "actions.csv, line 5: 'left' is no number",
    ),
    "no text": ("actions.csv", lambda p: p.write_bytes(b"\xff\xfe1"), "actions.csv is no text"),
}


@pytest.mark.parametrize(("name", "damage", "told"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_told_with_its_file(clip, name, damage, told):
    damage(clip / name)
    with pytest.raises(BadClip, match=told) as caught:
        _read_only_clip(clip)
    assert "\n" not in str(caught.value)


def test_the_same_id_twice_is_told_for_the_second(tmp_path):
    for part in ("a", "b"):
        recordings.write_lab_clip(tmp_path / part / "train/traj_0/1", 0)
    reader = LabReader(tmp_path)
    first, second = reader.splits()["train"]
    reader.read(first)
    with pytest.raises(BadClip, match="has the same id as a/train/traj_0/1"):
        reader.read(second)


@pytest.fixture
def without_rights():
    """Whoever runs the tests may not read what this is called for."""
    if os.geteuid():
        yield lambda path: path.chmod(0)
    else:  # root may read everything, so become nobody, who may not enter pytest's folders
        yield lambda path: os.seteuid(65534)
        os.seteuid(0)


def test_a_file_without_permission_is_told(clip, without_rights):
    reader = LabReader(clip.parents[2])
    (ref,) = reader.splits()["train"]
    reader.read(ref)
    without_rights(clip / "0.png")
    with pytest.raises(BadClip, match=r"0.png cannot be read \(Permission denied\)"):
        reader.read(ref)


def test_a_folder_without_permission_is_told(clip, without_rights):
    without_rights(clip.parent)
    with pytest.raises(UserError, match=r"cannot be read \(Permission denied\)"):
        LabReader(clip.parents[2]).splits()


def test_after_a_frame_of_another_size_no_more_are_read(clip, monkeypatch):
    Image.new("RGB", (65, 64)).save(clip / "1.png")
    read = []
    decode = frames.read_png
    monkeypatch.setattr(frames, "read_png", lambda path: read.append(path.name) or decode(path))
    with pytest.raises(BadClip, match=r"1\.png is 65x64, not 64x64"):
        _read_only_clip(clip)
    assert read == ["0.png", "1.png"]
