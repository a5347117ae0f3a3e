"""Real damage to real files: nothing that was not saved is ever restored."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from cvae_jax import checkpoints as checkpoints_lib
from cvae_jax.checkpoints import Checkpoints, DamagedCheckpoint
from cvae_jax.errors import UserError
from cvae_jax.train_state import TrainState

RUN = {"config": {"seed": 0}, "unlogged": [{"mse": 0.1, "grad_norm": float("nan")}]}


def _state(step):
    weights = np.random.default_rng(step).normal(size=(64, 33)).astype(np.float32)
    return TrainState(
        step=np.int32(step),
        params={"layer": {"kernel": weights, "bias": weights[0]}},
        optimizer_state=({"kernel": weights**2},),
        num_skipped=np.int32(0),
        num_skipped_in_row=np.int32(0),
    )


LIKE = jax.eval_shape(lambda: jax.tree.map(jax.numpy.asarray, _state(0)))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A workdir with the checkpoints of steps 2 and 4; not to be changed."""
    workdir = tmp_path_factory.mktemp("run")
    with Checkpoints(workdir) as checkpoints:
        for step in (2, 4):
            checkpoints.save(step, _state(step), RUN, {"psnr_mean": 20.0 - step})
    return workdir


@pytest.fixture
def workdir(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "run")
    return tmp_path / "run"


def _same(state, step):
    return all(map(np.array_equal, jax.tree.leaves(state), jax.tree.leaves(_state(step))))


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def _truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)


def test_what_was_saved_is_restored_with_what_was_beside_it(saved):
    with Checkpoints(saved, read_only=True) as checkpoints:
        state, run, step = checkpoints.restore_latest(LIKE)
    assert step == 4
    assert _same(state, 4)
    assert np.isnan(run["unlogged"][0].pop("grad_norm"))
    assert run == {"config": {"seed": 0}, "unlogged": [{"mse": 0.1}]}


def test_a_score_that_is_not_finite_is_never_the_best(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        for step, score in enumerate([20.0, 25.0, np.nan, 24.0, np.nan, np.nan], start=1):
            checkpoints.save(step, _state(step), RUN, {"psnr_mean": score})
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        assert checkpoints.choose("best") == 2
        assert _same(checkpoints.restore(2, LIKE)[0], 2)


@pytest.mark.parametrize("damage", [_flip, _truncate, os.unlink])
def test_damage_to_any_file_is_found_or_changes_nothing(saved, tmp_path, damage, capsys):
    found = 0
    for number, path in enumerate(_files(saved / "checkpoints" / "4")):
        workdir = tmp_path / str(number)
        shutil.copytree(saved, workdir)
        damage(workdir / path.relative_to(saved))
        with Checkpoints(workdir) as checkpoints:
            state, _, step = checkpoints.restore_latest(LIKE)
        assert _same(state, step), path
        told = capsys.readouterr().err
        if step == 4:
            assert told == "", path
            continue
        found += 1
        assert told.startswith(f"{workdir / 'checkpoints' / '4'}: damaged (")
        assert f"moved to {workdir / 'damaged' / '4'}, and the checkpoint before it" in told
        assert told.count("\n") == 1
    assert found >= 4


class _FailsWhenCollected:
    def __init__(self, fail):
        self._fail = fail

    def __del__(self):
        self._fail()


def test_of_what_fails_when_it_is_collected_orbax_parts_alone_are_not_told(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)
    Checkpoints(tmp_path)
    _FailsWhenCollected(lambda: ocp.StandardCheckpointer().restore(tmp_path / "none"))
    assert capsys.readouterr().err == ""
    _FailsWhenCollected(lambda: {}["of our own"])
    assert "KeyError: 'of our own'" in capsys.readouterr().err


def test_changed_bytes_of_an_array_are_found(workdir):
    largest = max(_files(workdir / "checkpoints" / "4" / "state"), key=lambda p: p.stat().st_size)
    _flip(largest)
    with (
        Checkpoints(workdir, read_only=True) as checkpoints,
        pytest.raises(DamagedCheckpoint, match="checkpoints/4: cannot be restored"),
    ):
        checkpoints.restore(4, LIKE)


def test_a_run_goes_on_from_the_one_before_and_saves_the_same_step_again(workdir):
    for path in _files(workdir / "checkpoints" / "4" / "state"):
        path.write_bytes(b"nonsense")
    with Checkpoints(workdir) as checkpoints:
        assert checkpoints.restore_latest(LIKE)[2] == 2
        checkpoints.save(4, _state(4), RUN, {"psnr_mean": 30.0})
    with Checkpoints(workdir) as checkpoints:
        state, _, step = checkpoints.restore_latest(LIKE)
        assert (step, checkpoints.choose("best")) == (4, 4)
    assert _same(state, 4)


def test_half_deleted_and_empty_checkpoints_are_passed_over(workdir):
    shutil.rmtree(workdir / "checkpoints" / "4" / "state" / "d")
    (workdir / "checkpoints" / "6").mkdir()
    with Checkpoints(workdir) as checkpoints:
        assert checkpoints.restore_latest(LIKE)[2] == 2
    assert sorted(os.listdir(workdir / "damaged")) == ["4", "6"]


def test_if_none_is_whole_all_stay_where_they_are(workdir):
    for step in (2, 4):
        shutil.rmtree(workdir / "checkpoints" / str(step) / "state")
    with (
        Checkpoints(workdir) as checkpoints,
        pytest.raises(UserError, match="checkpoints/4: cannot be restored"),
    ):
        checkpoints.restore_latest(LIKE)
    assert sorted(os.listdir(workdir / "checkpoints")) == ["2", "4"]


def test_damaged_figures_are_told_to_who_only_reads(workdir):
    _truncate(workdir / "checkpoints" / "4" / "metrics" / "metrics")
    with pytest.raises(UserError, match=r"checkpoints/4: cannot be restored \(metrics: "):
        Checkpoints(workdir, read_only=True)
    assert sorted(os.listdir(workdir / "checkpoints")) == ["2", "4"]


def test_a_checkpoint_that_is_pruned_while_it_is_looked_at_is_passed_over(workdir, monkeypatch):
    read = pathlib.Path.read_text

    def pruned(path):
        shutil.rmtree(path.parents[1])
        return read(path)

    monkeypatch.setattr(pathlib.Path, "read_text", pruned)
    assert not checkpoints_lib._unreadable_metrics(workdir / "checkpoints")
    assert not list((workdir / "checkpoints").glob("*/metrics/metrics"))


def test_what_a_killed_save_left_is_removed(workdir):
    left = workdir / "checkpoints" / "6.orbax-checkpoint-tmp"
    shutil.copytree(workdir / "checkpoints" / "4", left)
    (left / "commit_success.txt").unlink(missing_ok=True)
    with Checkpoints(workdir, read_only=True) as checkpoints:
        assert checkpoints.choose("latest") == 4
    assert left.exists()
    with Checkpoints(workdir) as checkpoints:
        assert checkpoints.restore_latest(LIKE)[2] == 4
        checkpoints.save(6, _state(6), RUN, None)
    assert sorted(os.listdir(workdir / "checkpoints")) == ["2", "4", "6"]


def test_what_was_saved_beside_the_state_is_in_the_checksum(workdir):
    path = workdir / "checkpoints" / "4" / "run" / "metadata"
    changed = path.read_text().replace('"seed": 0', '"seed": 1')
    assert changed != path.read_text()
    path.write_text(changed)
    with (
        Checkpoints(workdir, read_only=True) as checkpoints,
        pytest.raises(DamagedCheckpoint, match="checkpoints/4: cannot be restored"),
    ):
        checkpoints.restore(4, LIKE)


def test_the_two_latest_and_the_best_are_kept_and_no_others(tmp_path):
    scores = {2: 20.0, 3: 25.0, 4: 24.0}
    with Checkpoints(tmp_path) as checkpoints:
        for step in range(1, 8):
            score = {"psnr_mean": scores[step]} if step in scores else None
            checkpoints.save(step, _state(step), RUN, score)
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["3", "6", "7"]


def test_checkpoints_of_before_there_were_checksums_are_restored(workdir):
    path = workdir / "checkpoints" / "4" / "run" / "metadata"
    run = json.loads(path.read_text())
    del run["checksum"]
    path.write_text(json.dumps(run))
    with Checkpoints(workdir) as checkpoints:
        assert checkpoints.restore_latest(LIKE)[2] == 4


def test_a_full_disk_keeps_the_old_checkpoints_and_names_them(small_disk, capfd):
    state = _state(2)
    subprocess.run(["mount", "-o", "remount,size=192k", str(small_disk)], check=True)

    def fill():
        with Checkpoints(small_disk) as checkpoints:
            for step in range(2, 20):
                checkpoints.save(step, state, RUN, None)

    with pytest.raises(UserError, match="could not be saved") as told:
        fill()
    assert "those of steps " in str(told.value)
    assert "are whole; free disk space" in str(told.value)
    assert "Traceback" not in capfd.readouterr().err
    with Checkpoints(small_disk, read_only=True) as checkpoints:
        assert _same(checkpoints.restore_latest(LIKE)[0], 2)
