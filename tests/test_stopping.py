"""Real signals to a real process."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import re, sys
from cvae_jax import stopping
with stopping.on_signal() as asked:
    print("ready", flush=True)
    {work}
print("saved", flush=True)
"""
WAITS = "asked.wait(60)"
BUSY_IN_C = "asked.wait(60); import hashlib; hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)"
"""Minutes in C, where no signal handler of Python's runs."""


def _start(work):
    process = subprocess.Popen(
        [sys.executable, "-c", CODE.format(work=work)],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_asks_to_stop(number):
    process = _start(WAITS)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "saved\n")
    assert err.strip() == "finishing this step, then saving; Ctrl-C (again) stops at once"


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_a_second_ctrl_c_stops_at_once_whatever_runs(first):
    process = _start(BUSY_IN_C)
    process.send_signal(first)
    process.stderr.readline(), process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err.strip() == "stopped at once; the same command goes on from the last checkpoint"


def test_a_second_sigterm_changes_nothing():
    process = _start("asked.wait(60); import time; time.sleep(0.5)")
    process.send_signal(signal.SIGTERM)
    process.stderr.readline(), process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=60)[0] == "saved\n"
    assert process.returncode == 0
