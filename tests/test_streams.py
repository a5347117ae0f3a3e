"""Processes whose words nobody reads, or whose terminal lacks the letters."""

import os
import subprocess
import sys

import pytest

from tests.run_main import ROOT

CODE = """
import sys
from cvae_jax import streams
streams.outlive_readers()
for line in range(3):
    print("said", line)
    print("\\u00fc", file=sys.stderr)
open(sys.argv[1], "w").write("work done")
"""


def _process(done, **options):
    command = [sys.executable, "-c", CODE, str(done)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
    return subprocess.Popen(command, env=environment, **options)


@pytest.mark.parametrize("ends", [os.pipe, os.openpty])
def test_work_goes_on_where_a_pipe_or_a_terminal_is_gone(tmp_path, ends):
    read_end, write_end = ends()
    process = _process(tmp_path / "done", stdout=write_end, stderr=write_end)
    os.close(read_end), os.close(write_end)
    assert process.wait(timeout=60) == 0
    assert (tmp_path / "done").read_text() == "work done"


def test_a_letter_that_the_encoding_lacks_is_told_by_its_number(tmp_path):
    process = _process(tmp_path / "done", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.communicate(timeout=60) == (b"said 0\nsaid 1\nsaid 2\n", b"\\xfc\n" * 3)
