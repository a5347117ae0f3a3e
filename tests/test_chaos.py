"""A run that is killed again and again ends as one that was left alone."""

import json
import subprocess
import sys
from pathlib import Path


def test_a_few_kills_change_nothing(tmp_path):
    output = tmp_path / "chaos.json"
    command = [sys.executable, "-m", "benchmarks.chaos", "--kills=3", f"--output={output}"]
    subprocess.run(command, cwd=Path(__file__).parents[1], check=True)
    result = json.loads(output.read_text())
    assert result["equal"]
    assert result["kills"] == 3
    assert result["inside_saves"] >= 1
