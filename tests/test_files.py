"""Writing is all or nothing, and JSON comes back as it went in."""

import errno
import fcntl
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvae_jax.errors import UserError
from cvae_jax.files import (
    atomic_path,
    check_writable,
    lock,
    plain,
    read_json,
    write_atomically,
    write_json,
)


def test_writes_text_and_bytes_into_new_folders(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a" / "b" / "text", "ärm\n")
    write_atomically(tmp_path / "bytes", b"\x00\xff")
    assert (tmp_path / "a" / "b" / "text").read_bytes() == "ärm\n".encode()
    assert (tmp_path / "bytes").read_bytes() == b"\x00\xff"


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "clip.gif"
    write_atomically(path, "old")
    with pytest.raises(TypeError), atomic_path(path) as temporary:
        temporary.write_text("half") + None  # type: ignore[operator]
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["clip.gif"]


def test_the_temporary_file_is_beside_and_has_the_same_suffix(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "clip.mp4") as temporary:
        assert (temporary.parent, temporary.suffix) == (tmp_path, ".mp4")
        temporary.write_bytes(b"1")
        assert not (tmp_path / "clip.mp4").exists()


def test_others_may_read_what_was_written(tmp_path: Path) -> None:
    write_atomically(tmp_path / "one", "1")
    (tmp_path / "two").write_text("2")
    assert (tmp_path / "one").stat().st_mode == (tmp_path / "two").stat().st_mode


def test_a_disk_that_refuses_is_the_users_to_mend(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UserError, match=r"file/report\.html: cannot be written \(.*workdir"):
        write_atomically(tmp_path / "file" / "report.html", "page")


def test_a_folder_is_tried_before_long_work_and_left_as_it_was(tmp_path: Path) -> None:
    check_writable(tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UserError, match=rf"^{tmp_path}/file: cannot be written .* copy of the run"):
        check_writable(tmp_path / "file")


def test_a_killed_writer_leaves_whole_files_only(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    code = (
        "import itertools, pathlib, sys\n"
        "from cvae_jax.files import write_json\n"
        "for number in itertools.count():\n"
        "    write_json(pathlib.Path(sys.argv[1]), [number] * 50_000)\n"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], cwd=Path(__file__).parents[1]
    )
    try:
        while not path.exists() and writer.poll() is None:
            time.sleep(0.01)
        time.sleep(0.5)
    finally:
        writer.kill()
        writer.wait()
    value = read_json(path)
    assert len(value) == 50_000
    assert len(set(value)) == 1


HOLDS = """
import pathlib, sys, time
from cvae_jax.files import lock
with lock(pathlib.Path(sys.argv[1]), "go elsewhere"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_keeps_another_process_out_until_its_holder_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    command = [sys.executable, "-c", HOLDS, str(folder)]
    holder = subprocess.Popen(command, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        refusal = rf"{folder}: another process is at work there; wait for its end, or go elsewhere"
        with pytest.raises(UserError, match=refusal), lock(folder, "go elsewhere"):
            pass
    finally:
        holder.kill()
        holder.communicate()
    for _ in range(2):
        with lock(folder, "go elsewhere"):
            pass


def test_a_disk_without_locks_is_warned_of(tmp_path: Path, monkeypatch, capsys) -> None:
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with lock(tmp_path, "go elsewhere"):
        assert "has no locks" in capsys.readouterr().err


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_plain_says_the_same_in_strict_json(value: object) -> None:
    def expected(part: object) -> object:
        if isinstance(part, float) and not math.isfinite(part):
            return None
        if isinstance(part, list):
            return [expected(item) for item in part]
        if isinstance(part, dict):
            return {key: expected(item) for key, item in part.items()}
        return part

    assert json.loads(json.dumps(plain(value), allow_nan=False)) == expected(value)


def test_json_keeps_order_and_takes_arrays_and_what_is_not_a_number(tmp_path: Path) -> None:
    value = {
        "z": np.float32(0.5),
        "a": np.array([[1.0, np.nan], [np.inf, 2.0]]),
        "path": Path("runs/demo"),
        "none": float("nan"),
        "tuple": (1, True),
    }
    write_json(tmp_path / "value.json", value)
    text = (tmp_path / "value.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    read = read_json(tmp_path / "value.json")
    assert list(read) == list(value)
    assert read == {
        "z": 0.5,
        "a": [[1.0, None], [None, 2.0]],
        "path": "runs/demo",
        "none": None,
        "tuple": [1, True],
    }


def test_json_refuses_what_it_cannot_say(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="object"):
        write_json(tmp_path / "value.json", {"a": object()})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("content", [b"", b'{"a": 1', b"\xff\xfe{}", b"[1,]"])
def test_damaged_json_names_path_and_remedy(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"config\.json: damaged.*delete it and run --mode=train"):
        read_json(path, "run --mode=train")


def test_missing_json_names_path_and_remedy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.json: no such file; run --mode=train"):
        read_json(tmp_path / "config.json", "run --mode=train")
    with pytest.raises(UserError, match="cannot be read"):
        read_json(tmp_path)
