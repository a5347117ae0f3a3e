"""One's own videos: content, splits, tables beside them, and what is told of bad ones."""

import dataclasses
import pathlib
import shutil
import subprocess

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from cvae_jax import video
from cvae_jax.data import folder as folder_source
from cvae_jax.data import frames, sources, videos
from cvae_jax.data.folder import FolderReader
from cvae_jax.data.readers import BadClip
from cvae_jax.errors import UserError
from tests.data import recordings


@pytest.fixture(scope="module")
def twelve(tmp_path_factory):
    """Twelve videos with actions (2 columns) and positions (5); not to be changed."""
    top = tmp_path_factory.mktemp("videos")
    recordings.write_videos(top, action_dim=2, position_dim=5)
    return top


def _clips(reader):
    return {ref.name: reader.read(ref) for refs in reader.splits().values() for ref in refs}


def _one(tmp_path, length=13, clip_length=6):
    """A reader of a train folder with the PNG video `a`, made by the caller or here."""
    if not (tmp_path / "train").exists():
        recordings.write_pngs(tmp_path / "train/a", recordings.moving_square(0, length))
    return FolderReader(tmp_path, clip_length)


def _told(tmp_path, clip_length=6):
    reader = _one(tmp_path, clip_length=clip_length)
    with pytest.raises(BadClip) as caught:
        reader.read(reader.splits()["train"][0])
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_video_gives_its_whole_clips(twelve):
    clips = _clips(FolderReader(twelve, 6))
    assert len(clips) == 6 * 2 + 6 * 4  # of 13 and of 25 frames
    for clip in clips.values():
        assert clip.views["image_main"].shape == (6, 64, 64, 3)
        assert (clip.action.shape, clip.position.shape) == ((6, 2), (6, 5))


@pytest.mark.parametrize(("seed", "suffix", "worst"), [(0, ".mp4", 4), (1, ".gif", 1), (2, "", 0)])
def test_frames_and_rows_are_those_of_the_window(twelve, seed, suffix, worst):
    height, width, length = (48, 80, 25) if seed % 2 else (96, 64, 13)
    truth = recordings.moving_square(seed, length, height, width)
    fitted = np.stack([frames.fit(frame) for frame in truth]).astype(int)
    clip = _clips(FolderReader(twelve, 6))[f"push{seed}{suffix} from frame 6"]
    errors = [
        [np.abs(frame - true).mean() for true in fitted] for frame in clip.views["image_main"]
    ]
    assert np.argmin(errors, axis=1).tolist() == [6, 7, 8, 9, 10, 11]
    assert np.diagonal(errors, offset=6).max() <= worst
    np.testing.assert_array_equal(clip.action, recordings.table(seed, length, 2)[6:12])
    np.testing.assert_array_equal(clip.position, recordings.table(1000 + seed, length, 5)[6:12])


def test_any_order_of_reading_gives_the_same(twelve):
    reader = FolderReader(twelve, 6)
    forward = _clips(reader)
    refs = [ref for refs in reader.splits().values() for ref in refs]
    for ref in reversed(refs):
        for one, other in zip(reader.read(ref), forward[ref.name], strict=True):
            np.testing.assert_equal(one, other)


def test_no_video_is_in_two_splits_and_the_choice_stays(twelve, tmp_path):
    splits = FolderReader(twelve, 6).splits()
    names = {split: {ref.key[0].name for ref in refs} for split, refs in splits.items()}
    assert {split: len(found) for split, found in names.items()} == {
        "train": 10,
        "validation": 1,
        "test": 1,
    }
    assert len(set.union(*names.values())) == 12
    shutil.copytree(twelve, tmp_path / "elsewhere")
    again = FolderReader(tmp_path / "elsewhere", 6).splits()
    assert {s: [r.name for r in refs] for s, refs in again.items()} == {
        s: [r.name for r in refs] for s, refs in splits.items()
    }


def test_sub_folders_are_the_splits(tmp_path):
    for place in ("train/a", "train/deep/b", "test/a", "other/c"):
        recordings.write_pngs(tmp_path / place, recordings.moving_square(0, 6))
    reader = FolderReader(tmp_path, 6)
    names = {split: [ref.name for ref in refs] for split, refs in reader.splits().items()}
    assert names == {
        "train": ["train/a from frame 0", "train/deep/b from frame 0"],
        "test": ["test/a from frame 0"],
    }
    assert "1 (other/c) outside of train, validation, test left out" in reader.describe()


@pytest.mark.parametrize("count", [0, 2])
def test_too_few_videos_to_split_are_refused(tmp_path, count):
    for number in range(count):
        recordings.write_pngs(tmp_path / str(number), recordings.moving_square(0, 6))
    told = "2 video.* three or more" if count else "no videos there; a video is"
    with pytest.raises(UserError, match=told):
        FolderReader(tmp_path, 6).splits()


@pytest.mark.parametrize("path", ["", "no/such/folder"])
def test_a_path_that_is_no_folder_is_refused(path):
    from cvae_jax.config import DataConfig

    with pytest.raises(UserError, match=r"--config.data.path"):
        folder_source.open_reader(DataConfig(path=path))


def test_what_was_found_is_described(twelve):
    told = FolderReader(twelve, 6).describe()
    assert "12 videos of 13 to 25 frames, 64x96 to 80x48 pixels" in told
    assert "clips of 6 frames, 12 at their ends left out" in told
    assert "2 action and 5 position columns" in told


def test_without_tables_there_are_no_columns(tmp_path):
    reader = _one(tmp_path)
    assert (reader.action_dim, reader.position_dim) == (0, 0)
    clip = reader.read(reader.splits()["train"][1])
    assert (clip.action.shape, clip.position.shape) == ((6, 0), (6, 0))


def test_a_square_in_the_centre_is_kept_and_thin_lines_are_not_lost():
    frame = np.zeros((128, 300, 3), np.uint8)
    frame[:, 86:214] = 200
    assert (frames.fit(frame) == 200).all()
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::4] = 255
    assert abs(frames.fit(stripes)[:, 4:-4].astype(int) - 64).max() < 12
    small = recordings.moving_square(0, 1)[0]
    np.testing.assert_array_equal(frames.fit(small), small)


def test_a_heading_and_a_last_row_left_out_are_understood(tmp_path):
    recordings.write_pngs(tmp_path / "train/a", recordings.moving_square(0, 6))
    rows = "\n".join(f"{time},{1 - time},2" for time in range(5))  # 0,1,2 under a heading
    (tmp_path / "train/a.actions.csv").write_text(f"x,y,z\r\n{rows}\n\n")
    reader = _one(tmp_path)
    clip = reader.read(reader.splits()["train"][0])
    np.testing.assert_array_equal(clip.action[:, 0], [0, 1, 2, 3, 4, 4])


def test_a_folder_of_frames_may_have_a_dot_and_its_tables_are_among_its_files(tmp_path):
    recordings.write_pngs(tmp_path / "train/a.v2", recordings.moving_square(0, 6))
    table = tmp_path / "train/a.v2.actions.csv"
    recordings.write_csv(table, recordings.table(0, 6, 2))
    reader = _one(tmp_path)
    (ref,) = reader.splits()["train"]
    np.testing.assert_array_equal(reader.read(ref).action, recordings.table(0, 6, 2))
    assert table in ref.files  # a killed preparation looks at them again


def test_videos_shorter_than_a_clip_are_left_out_and_told(tmp_path):
    for number, length in enumerate((6, 5, 7, 6, 3)):
        recordings.write_pngs(tmp_path / str(number), recordings.moving_square(0, length))
    reader = FolderReader(tmp_path, 6)
    names = {ref.name for refs in reader.splits().values() for ref in refs}
    assert names == {f"{number} from frame 0" for number in (0, 2, 3)}
    assert "of fewer than 6 frames, left out: 2 (1 (5), 4 (3))" in reader.describe()
    with pytest.raises(UserError, match=r"clip_length=8: the longest video .* has 7 frames; set"):
        FolderReader(tmp_path, 8).splits()
    with pytest.raises(UserError, match=r"1 video\(s\) of --config.data.clip_length=7 frames or"):
        FolderReader(tmp_path, 7).splits()


def test_files_that_are_not_understood_are_told(tmp_path):
    _one(tmp_path)
    np.savez(tmp_path / "train/a.npz", action=np.zeros((13, 2)))
    assert "left out" not in FolderReader(tmp_path, 13).describe().partition("ends left out")[2]
    for name in ("a.actions.json", "a.action.csv", "a/actions.csv", "b.npz"):
        (tmp_path / "train" / name).write_text("1")
    assert (
        "neither videos nor tables, left out: 4 (train/a.action.csv, train/a.actions.json, "
        "train/b.npz, ...)"
    ) in FolderReader(tmp_path, 13).describe()


def test_a_missing_frame_is_told(tmp_path):
    _one(tmp_path)
    (tmp_path / "train/a/7.png").unlink()
    assert _told(tmp_path) == "the frame after 6.png is missing"


def test_a_bad_frame_is_told_in_its_window_alone(tmp_path):
    reader = _one(tmp_path)
    (tmp_path / "train/a/7.png").write_bytes(b"nonsense")
    first, second = reader.splits()["train"]
    reader.read(first)
    with pytest.raises(BadClip, match=r"7\.png is not a whole PNG"):
        reader.read(second)
    reader.read(first)


def test_frames_without_a_number_are_told(tmp_path):
    _one(tmp_path)
    Image.new("RGB", (64, 64)).save(tmp_path / "train/a/cover.png")
    assert _told(tmp_path) == "cover.png has no number at its end"


def test_frames_in_capitals_are_read_and_hidden_files_are_not(tmp_path):
    reader = _one(tmp_path)
    before = _clips(reader)
    for path in list((tmp_path / "train/a").iterdir()):
        path.rename(path.with_suffix(".PNG"))
        path.with_name(f"._{path.name}").write_bytes(b"of the Finder")
    for name, clip in _clips(_one(tmp_path)).items():
        np.testing.assert_equal(clip, before.pop(name))
    assert not before


def test_frames_of_another_size_within_a_video_are_fitted(tmp_path):
    _one(tmp_path)
    Image.new("RGB", (90, 80)).save(tmp_path / "train/a/3.png")
    assert len(_clips(_one(tmp_path))) == 2


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"a.actions.csv": "1\n2\n3\n"}, "a.actions.csv: 3 rows, but there are 13 frames"),
        ({"a.actions.csv": "1\nnan\n" * 7}, "a.actions.csv: row 2, column 1 is nan"),
        ({"a.positions.csv": "x\n"}, "a.positions.csv has no rows"),
        ({"a.actions.csv": "0,1,2\n" + "5,6,7\n" * 12}, "a.actions.csv, line 1: 0,1,2 are num"),
        ({"a.npz": b"PK\x03\x04 nonsense"}, "a.npz is not a whole .npz"),
        ({"a.npz": {"action": np.zeros((12, 2, 2))}}, "a.npz, array action: shape (12, 2, 2)"),
        ({"a.npz": {"action": np.array(["x"] * 13)}}, "a.npz, array action: shape (13,) of <U1"),
        ({"a.npz": {"position": np.zeros((9, 2))}}, "array position: 9 rows, but there are 13"),
        ({"a.positions.csv": "1\n" * 12}, "a.positions.csv: 12 rows, but there are 13 frames"),
        ({"a.npz": {"action": np.array([{}], object)}}, "a.npz is not a whole .npz of numbers (O"),
        ({"a.npz": {}, "a.actions.csv": "1\n" * 13}, ""),
        ({"a.npz": {"actions": np.zeros((13, 2))}}, "neither an array `action` nor `position`"),
        (
            {"a.npz": {"action": np.zeros((13, 2))}, "a.actions.csv": "1\n" * 13},
            "a.actions.csv and a.npz both have its actions",
        ),
    ],
)
def test_bad_tables_are_told(tmp_path, files, told):
    _one(tmp_path)
    for name, content in files.items():
        path = tmp_path / "train" / name
        if isinstance(content, dict):
            np.savez(path, **content)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
    if told:
        assert told in _told(tmp_path)
    else:
        assert len(_clips(_one(tmp_path))) == 2


def test_tables_unlike_those_of_most_videos_are_told(tmp_path):
    for number, columns in enumerate((2, 2, 3, 0)):
        place = tmp_path / f"train/{number}"
        recordings.write_pngs(place, recordings.moving_square(0, 6))
        if columns:
            recordings.write_csv(place.with_suffix(".actions.csv"), recordings.table(0, 6, columns))
    reader = FolderReader(tmp_path, 6)
    *good, wide, without = reader.splits()["train"]
    assert [reader.read(ref).action.shape for ref in good] == [(6, 2)] * 2
    with pytest.raises(BadClip, match="has 3 action columns, but other videos have 2"):
        reader.read(wide)
    with pytest.raises(BadClip, match="has no action columns, but other videos have 2"):
        reader.read(without)


def test_two_videos_of_one_name_are_told(tmp_path):
    (tmp_path / "train").mkdir()
    video.write_gif(tmp_path / "train/a.gif", recordings.moving_square(0, 6), 10)
    video.write_mp4(tmp_path / "train/a.mp4", recordings.moving_square(0, 6), 10)
    assert "shares its name" in _told(tmp_path)


@pytest.mark.parametrize(
    ("suffix", "damage"),
    [
        *((".mp4", damage) for damage in ("half", "zeros", "nothing", "text", "link")),
        *((".gif", damage) for damage in ("half", "nothing", "text", "link")),  # without checksums
    ],
)
def test_a_damaged_video_is_told(tmp_path, suffix, damage):
    path = tmp_path / f"train/a{suffix}"
    path.parent.mkdir()
    write = video.write_gif if suffix == ".gif" else video.write_mp4
    rng = np.random.default_rng(0)
    write(path, rng.integers(0, 255, (24, 64, 64, 3), dtype=np.uint8), 10)
    content, middle = path.read_bytes(), path.stat().st_size // 2
    if damage == "link":
        path.unlink()
        path.symlink_to(path.name)  # leads to itself: a file that nobody can open
    else:
        path.write_bytes(
            {
                "half": content[:middle],
                "zeros": content[:middle] + bytes(4000) + content[middle + 4000 :],
                "nothing": b"",
                "text": b"hello",
            }[damage]
        )
    assert _told(tmp_path).startswith(f"a{suffix} is damaged (")


@pytest.mark.parametrize(
    ("name", "size"),
    [
        *(("a/0.png", size) for size in ((9000, 2), (2, 9000), (5000, 5000))),
        *(("a.gif", size) for size in ((9000, 2), (5000, 5000))),
        *(("a.mp4", size) for size in ((9000, 16), (16, 9000), (5000, 5000))),
    ],
)
def test_frames_that_would_fill_the_memory_are_told(tmp_path, name, size):
    path = tmp_path / "train" / name
    path.parent.mkdir(parents=True)
    if path.suffix == ".mp4":
        width, height = size
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi"]
        command += ["-i", f"color=gray:s={width}x{height}:r=10:d=0.2", "-preset", "ultrafast", path]
        subprocess.run(command, check=True)
    else:
        Image.new("L", size).save(path)
    told = f"{size[0]}x{size[1]} pixels large, more than 8192 on a side or 64 MiB a frame"
    assert _told(tmp_path, 1) == f"{path.name} is {told}"


def test_a_video_is_read_from_any_frame_without_the_ones_before(twelve):
    for name in ("push3.mp4", "push1.gif", "push2"):
        every = list(videos.read(twelve / name))
        assert videos.count(twelve / name) == len(every)
        np.testing.assert_array_equal(list(videos.read(twelve / name, 9)), every[9:])


def _prepare(tmp_path, clip_length):
    from cvae_jax.config import DataConfig
    from cvae_jax.data import preparation

    place = {"path": str(tmp_path / "videos"), "dir": str(tmp_path / "data")}
    config = DataConfig(source="folder", clip_length=clip_length, **place)
    preparation.prepare(config)
    return config


def test_data_of_another_clip_length_are_not_opened(tmp_path):
    for split in ("train", "validation", "test"):
        frames = recordings.moving_square(0, 4)
        recordings.write_pngs(tmp_path / "videos" / split / "v", frames)
    config = _prepare(tmp_path, 4)
    assert sources.open_split(config, "test").statistics.num_frames == 4
    with pytest.raises(UserError, match=r"clip_length=3: .* have 4 frames; set --config.data.c"):
        sources.open_split(dataclasses.replace(config, clip_length=3), "test")


def test_preparation_tells_what_it_found_and_what_it_skipped(tmp_path, capsys):
    top = tmp_path / "videos"
    for split, count in (("train", 100), ("validation", 2), ("test", 2)):
        for number in range(count):
            place = top / split / f"v{number}"
            recordings.write_pngs(place, recordings.moving_square(number, 2))
            rows = "-1,2.5\n1,3\n" if number else "0,2.75\n"
            place.with_suffix(".actions.csv").write_text(rows)
    (top / "validation/v1/1.png").write_bytes(b"nonsense")
    config = _prepare(tmp_path, 2)
    told = capsys.readouterr().out
    assert "found 104 videos of 2 to 2 frames, 64x64 to 64x64 pixels" in told
    assert "action: -1 to 1, 2.5 to 3\n" in told
    assert "position: none\n" in told
    assert (
        "1 of 104 clips were bad and skipped: validation validation/v1 from frame 0 (1.png" in told
    )
    assert "(100 train, 1 validation, 2 test clips of 2 frames)" in told
    assert len(sources.open_split(config, "validation")) == 1


def test_a_split_without_a_good_clip_is_refused(tmp_path):
    top = tmp_path / "videos"
    for split, count in (("train", 200), ("validation", 1)):
        for number in range(count):
            recordings.write_pngs(top / split / f"v{number}", recordings.moving_square(number, 2))
    (top / "validation/v0/1.png").write_bytes(b"nonsense")
    with pytest.raises(UserError, match="all validation clips are bad"):
        _prepare(tmp_path, 2)
    assert not (tmp_path / "data/folder/1.0.0").exists()


def test_a_path_with_a_colon_is_no_protocol(tmp_path, monkeypatch):
    (tmp_path / "run:1").mkdir()
    monkeypatch.chdir(tmp_path)
    path = pathlib.Path("run:1/a.mp4")
    video.write_mp4(path, recordings.moving_square(0, 5, 32, 32), 10)
    assert videos.count(path) == len(list(videos.read(path))) == 5


def test_of_several_video_streams_the_first_is_counted_and_read(tmp_path):
    for name, length, size in (("small", 6, 32), ("large", 3, 64)):
        square = recordings.moving_square(0, length, size, size)
        video.write_mp4(tmp_path / f"{name}.mp4", square, 10)
    path = tmp_path / "both.mp4"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error"]
    for name in ("small", "large"):
        command += ["-i", tmp_path / f"{name}.mp4"]
    command += ["-map", "0", "-map", "1", "-c", "copy", "-disposition:v", "0", path]
    subprocess.run(command, check=True)
    assert videos.count(path) == 6
    assert [frame.shape for frame in videos.read(path)] == [(32, 32, 3)] * 6
