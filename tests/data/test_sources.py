"""From a name to prepared data to clips: exact content, idempotence, and what can go wrong."""

import contextlib
import dataclasses
import errno
import itertools
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from cvae_jax import cores
from cvae_jax.data import messages, preparation, simulated_push, simulator, sources
from cvae_jax.data.simulator import workers
from cvae_jax.errors import UserError


@pytest.fixture
def own_copy(tiny_data_dir, tmp_path):
    """A copy of the prepared data that a test may damage: its config and its folder."""
    shutil.copytree(tiny_data_dir.dir, tmp_path / "data")
    config = dataclasses.replace(tiny_data_dir, dir=str(tmp_path / "data"))
    return config, tmp_path / "data/simulated_push/tiny/1.0.0"


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_stored_clips_are_the_simulated_ones_bit_for_bit(tiny_data_dir, split):
    source = sources.open_split(tiny_data_dir, split)
    seeds = simulated_push.split_seeds({"train": 24, "validation": 8, "test": 8})[split]
    assert len(source) == len(seeds)
    for clip_id in (0, 3, len(source) - 1):
        for stored, simulated in zip(
            source.read(clip_id), simulator.clip(seeds[clip_id]), strict=True
        ):
            assert stored.dtype == simulated.dtype
            np.testing.assert_array_equal(stored, simulated)


def test_a_window_is_a_part_of_its_clip(tiny_data_dir):
    source = sources.open_split(tiny_data_dir, "train")
    whole, window = source.read(5), source.read(5, start=7, num_frames=12)
    for part, full in zip(window, whole, strict=True):
        np.testing.assert_array_equal(part, full[7:19])


@pytest.mark.parametrize(("start", "num_frames"), [(-1, 3), (28, 3), (0, 31), (0, 0), (30, None)])
def test_frames_that_do_not_exist_are_refused(tiny_data_dir, start, num_frames):
    with pytest.raises(IndexError):
        sources.open_split(tiny_data_dir, "test").read(0, start, num_frames)


@pytest.mark.parametrize("config", simulated_push.SimulatedPush.BUILDER_CONFIGS)
def test_splits_never_share_a_seed(config):
    seeds = simulated_push.split_seeds(config.num_clips)
    assert {split: len(seeds[split]) for split in seeds} == config.num_clips
    for one, other in itertools.combinations(seeds.values(), 2):
        assert not set(one) & set(other)


def test_a_split_that_would_reach_into_the_next_is_refused():
    with pytest.raises(ValueError, match="train: 1000001"):
        simulated_push.split_seeds({"train": 1_000_001, "validation": 1, "test": 1})


def test_statistics_are_those_of_the_training_clips(tiny_data_dir):
    source = sources.open_split(tiny_data_dir, "train")
    actions = np.concatenate([source.read(clip_id).action for clip_id in range(24)])
    np.testing.assert_allclose(source.statistics.action_mean, actions.mean(0), atol=1e-5)
    assert source.statistics.num_clips == {"train": 24, "validation": 8, "test": 8}


def test_data_that_may_not_be_read_are_not_called_damaged():
    error = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    told = str(messages.damaged("test clip 0", error, "data/clips"))
    assert told.endswith("Permission denied); make the files in data/clips readable")


def test_preparing_again_only_says_so(own_copy, capsys):
    config, folder = own_copy
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    preparation.prepare(config)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert "already prepared" in printed


def test_lost_statistics_are_computed_again_without_simulating(own_copy):
    config, folder = own_copy
    path = folder / "statistics.json"
    before = path.read_text()
    path.unlink()
    with pytest.raises(UserError, match="not prepared"):
        sources.open_split(config, "train")
    preparation.prepare(config)
    assert path.read_text() == before


def test_missing_data_names_the_command(tiny_data_dir, tmp_path):
    config = dataclasses.replace(tiny_data_dir, dir=str(tmp_path))
    with pytest.raises(UserError) as error:
        sources.open_split(config, "train")
    message = str(error.value)
    assert "simulated_push_tiny is not prepared" in message
    assert str(tmp_path) in message
    assert "python main.py --mode=prepare" in message
    assert "or say where it is with --config.data.dir" in message
    assert "\n" not in message


def test_unknown_names_list_the_choices(tiny_data_dir):
    with pytest.raises(UserError, match=r"split=val: .* train, validation, test"):
        sources.open_split(tiny_data_dir, "val")
    config = dataclasses.replace(tiny_data_dir, camera="image_aux1")
    with pytest.raises(UserError, match=r"data.camera=image_aux1: .* image_main"):
        sources.open_split(config, "train")


def test_a_folder_that_cannot_be_written(tiny_data_dir, tmp_path):
    (tmp_path / "file").write_text("")
    config = dataclasses.replace(tiny_data_dir, dir=str(tmp_path / "file" / "data"))
    with pytest.raises(UserError, match=r"data.dir=.*cannot prepare.*--config.data.dir"):
        preparation.prepare(config)
    with pytest.raises(UserError, match="not prepared"):
        sources.open_split(config, "train")


def _zero_middle(path: pathlib.Path) -> None:
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = bytes(2000)
    path.write_bytes(content)


def _halve(path: pathlib.Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("damage", [_zero_middle, _halve, pathlib.Path.unlink])
def test_damaged_records_name_split_and_clip(own_copy, damage):
    config, folder = own_copy
    damage(next(folder.glob("*train*")))
    source = sources.open_split(config, "train")
    reports = {}
    for clip_id in range(len(source)):
        try:
            source.read(clip_id)
        except UserError as error:
            reports[clip_id] = str(error)
    assert reports
    for clip_id, report in reports.items():
        assert f"train clip {clip_id} is damaged" in report
        assert "\n" not in report
    (folder / "statistics.json").unlink()
    with pytest.raises(UserError, match="is damaged"):
        preparation.prepare(config)


@pytest.mark.parametrize("name", ["dataset_info.json", "statistics.json"])
def test_damaged_descriptions_are_reported(own_copy, name):
    config, folder = own_copy
    (folder / name).write_text('{"cut": ')
    with pytest.raises(UserError, match=r"is damaged .* delete the folder .*simulated_push"):
        sources.open_split(config, "train")


def test_statistics_of_other_data_are_noticed(own_copy):
    config, folder = own_copy
    path = folder / "statistics.json"
    fields = json.loads(path.read_text())
    fields["num_clips"]["train"] = 1500
    path.write_text(json.dumps(fields))
    with pytest.raises(UserError, match="24 train clips, not 1500"):
        sources.open_split(config, "train")


def test_a_full_disk_is_reported(tiny_data_dir, tmp_path, monkeypatch):
    def write_too_much(builder):
        raise RuntimeError("write() failed: No space left on device")

    monkeypatch.setattr(simulated_push.SimulatedPush, "download_and_prepare", write_too_much)
    config = dataclasses.replace(tiny_data_dir, dir=str(tmp_path))
    with pytest.raises(UserError, match=r"data.dir=.*No space left.*--config.data.dir"):
        preparation.prepare(config)


def test_a_dead_worker_is_reported(tiny_data_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    config = dataclasses.replace(tiny_data_dir, dir=str(tmp_path))
    with pytest.raises(UserError, match="simulates seeds 0 to 3 died with exit code 1"):
        preparation.prepare(config)
    assert not list(tmp_path.rglob("*array_record*"))


def _has_records(folder):
    """Whether a record is written; no worker is then being forked, which would hold the lock."""
    return any(path.stat().st_size for path in folder.rglob("*array_record*"))


def _workers_are_at_work():
    """Whether as many simulate as there are cores; no other is then being forked, as above."""
    commands = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            commands.append(process.cmdline())
    return sum(workers.__name__ in command for command in commands) == len(cores.usable())


def _start_preparing(config, begun):
    """A process that has begun, as the function `begun` tells."""
    code = (
        f"from cvae_jax.data import preparation; from cvae_jax.config import DataConfig;"
        f"preparation.prepare({config!r})"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not begun():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    return process


def test_a_second_preparation_in_the_same_folder_is_refused(tiny_data_dir, tmp_path):
    config = dataclasses.replace(tiny_data_dir, dir=str(tmp_path))
    full = dataclasses.replace(config, source="simulated_push")
    first = _start_preparing(full, _workers_are_at_work)
    try:
        with pytest.raises(UserError, match=r"another process is at work.*--config\.data\.dir"):
            preparation.prepare(config)
        assert not list(tmp_path.rglob("tiny"))
    finally:
        first.kill()
        first.wait()
    preparation.prepare(config)
    assert len(sources.open_split(config, "train")) == 24


def test_what_a_killed_preparation_leaves_does_not_count_and_is_told(
    tiny_data_dir, tmp_path, capsys
):
    config = dataclasses.replace(tiny_data_dir, dir=str(tmp_path))
    process = _start_preparing(config, lambda: _has_records(tmp_path))
    process.send_signal(signal.SIGKILL)
    process.wait()
    with pytest.raises(UserError, match="not prepared"):
        sources.open_split(config, "train")
    (left,) = (tmp_path / "simulated_push/tiny").iterdir()
    preparation.prepare(config)
    assert f"{left}: a call that was killed left it" in capsys.readouterr().out
    assert left.exists()
