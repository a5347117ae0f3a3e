"""What happens to a run while it is at work: real signals, real mounts, data that go away."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from cvae_jax import evaluate, files, run_folder, validation
from cvae_jax.checkpoints import Checkpoints
from cvae_jax.logs import read_metrics
from tests.run_main import ROOT, TINY, done, refused, train

LONG = "--config.train.num_steps=100000", "--config.train.checkpoint_every_steps=100000"


def _last_step(workdir):
    """The last step in the run's metrics, 0 where there is none."""
    lines = read_metrics(workdir) if (workdir / "metrics.jsonl").exists() else []
    return lines[-1]["step"] if lines else 0


@contextlib.contextmanager
def _at_work(workdir, *arguments):
    """A training process that has logged a step of its own; killed at the end if there still."""
    before = _last_step(workdir)
    process = subprocess.Popen(
        [sys.executable, "main.py", "--mode=train", TINY, f"--workdir={workdir}", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 200
        while _last_step(workdir) <= before:
            assert time.monotonic() < deadline
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()


def test_sigterm_saves_and_tells_how_to_go_on(data, tmp_path):
    workdir = tmp_path / "run"
    with _at_work(workdir, data, *LONG) as process:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    (step,) = run_folder.saved_steps(workdir)
    told = f"{workdir}: stopped and saved after step {step}; the same command goes on from it"
    assert out.splitlines()[-1] == told
    with _at_work(workdir, data, *LONG):
        pass
    steps = [line["step"] for line in read_metrics(workdir) if "train/mse" in line]
    assert steps == list(range(1, len(steps) + 1))


def test_what_ends_the_reader_of_messages_too_loses_no_step(data, tmp_path):
    """As `python main.py ... 2>&1 | tee log` at Ctrl-C, which tee hears as well."""
    workdir = tmp_path / "run"
    with _at_work(workdir, data, *LONG) as process:
        process.stdout.close(), process.stderr.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=120) == 130
    (step,) = run_folder.saved_steps(workdir)
    assert _last_step(workdir) == step


def test_data_that_go_away_end_a_run_with_a_line(tiny_data_dir, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(tiny_data_dir.dir, folder)
    with _at_work(tmp_path / "run", f"--config.data.dir={folder}", *LONG) as process:
        for path in folder.rglob("*.array_record*"):
            os.truncate(path, 0)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 2, err
    assert "Traceback" not in err
    assert str(folder) in err.splitlines()[-1]


def test_a_workdir_that_takes_no_writes_is_named(read_only_disk, data):
    workdir = read_only_disk / "run"
    for mode in ("train", "evaluate", "sample", "report"):
        arguments = [TINY, data] if mode == "train" else []
        message = refused(f"--mode={mode}", f"--workdir={workdir}", *arguments)
        assert str(workdir) in message
        assert message.count("\n") == 1


def test_a_symlink_is_the_workdir_that_it_leads_to(trained, data, tmp_path):
    shutil.copytree(trained, tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    train(tmp_path / "link", data, "--config.train.num_steps=5")
    assert 5 in run_folder.saved_steps(tmp_path / "real")
    with files.lock(tmp_path / "real", "wait"):
        message = refused("--mode=train", TINY, data, f"--workdir={tmp_path / 'link'}")
        assert "another process is at work there" in message


def test_two_that_draw_in_one_workdir_do_not_mix_their_clips(trained):
    with files.lock(trained / "samples", "wait"):
        message = refused("--mode=sample", f"--workdir={trained}")
    assert "another process is at work there" in message


def test_a_checkpoint_that_training_replaces_while_it_is_chosen_is_chosen_anew(
    trained, tmp_path, monkeypatch
):
    workdir = tmp_path / "run"
    shutil.copytree(trained, workdir)
    config = validation.from_config_dict(run_folder.load(workdir)["config"])
    first, last = run_folder.saved_steps(workdir)
    choose = Checkpoints.choose

    def replaced(self, which):
        step = choose(self, which)
        if step == last:
            shutil.rmtree(self.folder / str(step))
        return step

    monkeypatch.setattr(Checkpoints, "choose", replaced)
    assert evaluate.restore(workdir, config, "latest")[1] == first


def test_a_run_is_evaluated_in_other_precision(trained, data, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(trained, workdir)
    done("--mode=evaluate", f"--workdir={workdir}", data)
    before = json.loads((workdir / "evaluation" / "latest.json").read_text())
    done("--mode=evaluate", f"--workdir={workdir}", data, "--config.model.dtype=bfloat16")
    after = json.loads((workdir / "evaluation" / "latest.json").read_text())
    assert after["model"]["psnr_mean"] == pytest.approx(before["model"]["psnr_mean"], abs=0.05)
    assert after["model"]["psnr_mean"] != before["model"]["psnr_mean"]
