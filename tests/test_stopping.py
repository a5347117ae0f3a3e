"""Real signals to a real process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cvae_jax import stopping

ROOT = Path(__file__).parents[1]
CODE = """
import signal, time
from cvae_jax import stopping
with stopping.{how}() as asked:
    print("ready", flush=True)
    {work}
print("saved", flush=True)
"""
START = """
import os, signal, sys
signal.signal(signal.SIGINT, getattr(signal, sys.argv[1]))
signal.signal(signal.SIGHUP, signal.SIG_DFL)
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""
WAITS = "asked.wait(60)"
IN_C = "import hashlib; hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)"
"""Minutes in C, where no signal handler of Python's runs."""
BUSY_IN_C = f"asked.wait(60); {IN_C}"


def _popen(arguments, folder, ctrl_c="SIG_DFL"):
    """A process that takes Ctrl-C as `ctrl_c` says, whatever the tests' own shell made of it."""
    return subprocess.Popen(
        [sys.executable, "-c", START, ctrl_c, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _start(work, how="on_signal", ctrl_c="SIG_DFL"):
    process = _popen(["-c", CODE.format(work=work, how=how)], ROOT, ctrl_c)
    assert process.stdout.readline() == "ready\n"
    return process


def _interrupted(process):
    """Exit code, standard output and standard error after Ctrl-C."""
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_first_signal_asks_to_stop(number):
    process = _start(WAITS)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "saved\n")
    assert err.strip() == "finishing, then saving; Ctrl-C (again) stops at once"


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_a_second_ctrl_c_stops_at_once_whatever_runs(first):
    process = _start(BUSY_IN_C)
    process.send_signal(first)
    process.stderr.readline(), process.stderr.readline()
    code, out, err = _interrupted(process)
    assert (code, out) == (130, "")
    assert err.strip() == "stopped at once; the same command goes on from the last checkpoint"


def test_a_second_sigterm_changes_nothing():
    process = _start("asked.wait(60); time.sleep(0.5)")
    process.send_signal(signal.SIGTERM)
    process.stderr.readline(), process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=60)[0] == "saved\n"
    assert process.returncode == 0


def test_ctrl_c_ends_what_runs_in_c_at_once():
    assert _interrupted(_start(IN_C, "at_once")) == (130, "", f"\n{stopping.STOPPED}\n")


def test_ctrl_c_raises_where_there_is_something_to_tidy_up():
    tidy = """
    try:
        with stopping.by_exception():
            print("in", flush=True)
            time.sleep(60)
    except KeyboardInterrupt:
        print("tidy", flush=True)
    signal.raise_signal(signal.SIGINT); time.sleep(60)"""
    process = _start(tidy, "at_once")
    assert process.stdout.readline() == "in\n"
    assert _interrupted(process) == (130, "tidy\n", f"\n{stopping.STOPPED}\n")


@pytest.mark.parametrize("how", ["at_once", "on_signal"])
def test_ctrl_c_that_the_shell_keeps_off_is_not_heard(how):
    process = _start("time.sleep(0.5)", how, "SIG_IGN")  # as behind & in a script
    assert _interrupted(process) == (0, "saved\n", "")


@pytest.mark.parametrize("seconds", [0.0, 0.3, 1.0])
def test_main_ends_in_a_line_wherever_ctrl_c_meets_it(seconds, tmp_path):
    """Within the imports, or as the model is read and compiled."""
    process = _popen([str(ROOT / "main.py"), "--mode=sample"], tmp_path)
    while len(os.listdir(f"/proc/{process.pid}/task")) < 2:  # before the thread that listens
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(seconds)
    code, _, err = _interrupted(process)
    assert code == 130
    assert err.endswith(f"\n{stopping.STOPPED}\n")
    assert "Traceback" not in err
