"""Several processes that train one run: real ones, on this machine."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from cvae_jax import evaluate, native_log, run_folder, validation
from tests.run_main import SHARED_OUT

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = (
    "--config=configs/tiny.py",
    "--config.teacher_forcing.lower_bound=1.0",  # one program to compile
    "--config.train.num_steps=30",
    "--config.train.eval_every_steps=30",
    "--config.train.checkpoint_every_steps=5",
)
SECONDS = 300  # against a test that never ends

JOIN = """
import sys, time
from cvae_jax import hosts
with hosts.joined(sys.argv[1], 2, int(sys.argv[2]), 60):
    print("joined", flush=True)
    time.sleep(600)
"""

LEAST = """
import sys
from cvae_jax import hosts
with hosts.joined(sys.argv[1], 2, int(sys.argv[2]), 60):
    print(hosts.least(3.0 + int(sys.argv[2])))
"""


@pytest.fixture
def address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def _start(*arguments, **environment):
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": SHARED_OUT} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _ended(process):
    """Exit code, standard output and standard error."""
    try:
        out, errors = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
    return process.returncode, out, errors


def _train(workdir, data, *more, **environment):
    arguments = ("--mode=train", *SETTINGS, f"--config.data.dir={data.dir}")
    return _start("main.py", *arguments, f"--workdir={workdir}", *more, **environment)


def _both(workdir, data, address, *more):
    flags = f"--coordinator_address={address}", "--num_processes=2"
    environment = {"JAX_NUM_CPU_DEVICES": "1"}
    return [
        _train(workdir, data, *flags, f"--process_id={i}", *more, **environment) for i in (0, 1)
    ]


def _wait_for_a_checkpoint(workdir, process):
    end = time.monotonic() + SECONDS
    while not (workdir / "checkpoints" / "5").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)


def _state(workdir):
    config = validation.from_config_dict(run_folder.load(workdir)["config"])
    state = evaluate.restore(workdir, config, "30")[0]
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def _metrics(workdir):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    of_the_clock = {"train/frames_per_second", "train/input_wait_fraction"}
    return [{k: v for k, v in line.items() if k not in of_the_clock} for line in lines]


def _assert_same(workdir, other):
    ours, theirs = _state(workdir), _state(other)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        np.testing.assert_array_equal(theirs[name], value, err_msg=name)
    assert _metrics(workdir) == _metrics(other)


@pytest.fixture(scope="module")
def two_devices(tiny_data_dir, tmp_path_factory):
    """The run of one process with two devices."""
    workdir = tmp_path_factory.mktemp("hosts") / "run"
    code, _, errors = _ended(_train(workdir, tiny_data_dir, JAX_NUM_CPU_DEVICES="2"))
    assert code == 0, errors
    return workdir


def test_two_processes_train_bit_for_bit_as_two_devices(
    two_devices, tiny_data_dir, tmp_path, address
):
    first, second = map(_ended, _both(tmp_path / "run", tiny_data_dir, address))
    assert (first[0], second[0]) == (0, 0), first[2] + second[2]
    assert "1 CPU device in each of 2 processes" in first[1]
    assert "batches of" not in second[1]
    # Each has the part of a batch that a device had, and the sum of two is the same either way.
    _assert_same(two_devices, tmp_path / "run")


def test_a_killed_process_stops_the_other_and_a_restart_resumes(
    two_devices, tiny_data_dir, tmp_path, address
):
    first, second = _both(tmp_path / "run", tiny_data_dir, address)
    _wait_for_a_checkpoint(tmp_path / "run", first)
    second.kill()
    killed = time.monotonic()
    code, _, errors = _ended(first)
    assert time.monotonic() - killed < 60
    assert code not in (0, 2)
    messages = [line for line in errors.splitlines(keepends=True) if not line.startswith("train ")]
    assert messages == [native_log.LOST]
    second.communicate()
    again, other = map(_ended, _both(tmp_path / "run", tiny_data_dir, address))
    assert (again[0], other[0]) == (0, 0), again[2] + other[2]
    assert "going on after step" in again[1]
    _assert_same(two_devices, tmp_path / "run")


def test_processes_whose_messages_nobody_reads_save_when_told(tiny_data_dir, tmp_path, address):
    workdir = tmp_path / "run"
    both = _both(workdir, tiny_data_dir, address, "--config.train.num_steps=100000")
    _wait_for_a_checkpoint(workdir, both[0])
    for process in both:
        process.stdout.close(), process.stderr.close()
    for process in both:
        process.send_signal(signal.SIGTERM)
    try:
        assert [process.wait(timeout=60) for process in both] == [130, 130]
    finally:
        for process in both:
            process.kill()
    assert run_folder.saved_steps(workdir)[-1] == _metrics(workdir)[-1]["step"]


def test_processes_of_other_data_settings_refuse_to_train(tiny_data_dir, tmp_path, address):
    flags = f"--coordinator_address={address}", "--num_processes=2"
    both = [
        _train(
            *(tmp_path / "run", tiny_data_dir, *flags, f"--process_id={index}"),
            f"--config.data.num_predicted_frames={3 + index}",
            JAX_NUM_CPU_DEVICES="1",
        )
        for index in (0, 1)
    ]
    for code, _, errors in map(_ended, both):
        assert code == 2
        assert errors == (
            "error: processes 1 differ from process 0 in data; start the same command everywhere, "
            "with the same data\n"
        )


def test_the_least_of_all_is_known_to_all(address):
    both = [_start("-c", LEAST, address, index) for index in (0, 1)]
    assert [_ended(process)[1].splitlines()[-1] for process in both] == ["3.0"] * 2


def test_losing_the_coordinator_is_one_line_too(address):
    first, second = (_start("-c", JOIN, address, index) for index in (0, 1))
    assert [process.stdout.readline() for process in (first, second)] == ["joined\n"] * 2
    first.send_signal(signal.SIGKILL)
    code, _, errors = _ended(second)
    assert code != 0
    assert errors == native_log.LOST
    first.communicate()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--num_processes=2", "--process_id=2"), r"--process_id=2: must be 0 to 1"),
        (("--num_processes=2",), r"--process_id: is missing"),
        (
            ("--num_processes=2", "--process_id=1", "--initialization_timeout=1"),
            r"cannot be reached in 1 s",
        ),
    ],
)
def test_wrong_flags_are_one_line(tiny_data_dir, tmp_path, address, flags, message):
    process = _train(tmp_path / "run", tiny_data_dir, f"--coordinator_address={address}", *flags)
    code, _, errors = _ended(process)
    assert code == 2
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert message in errors
    assert not (tmp_path / "run").exists()
