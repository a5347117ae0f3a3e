"""No step is logged twice or lost, whenever a run is cut off."""

import io
import json
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboardX.proto.event_pb2 import Event, SessionLog

from cvae_jax import logs
from cvae_jax.errors import UserError
from cvae_jax.logs import MetricsLog, Progress, read_metrics


def _events(workdir: Path) -> list[Event]:
    """All of TensorBoard's records, file after file."""
    events = []
    for path in sorted(workdir.glob("events.*")):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            events.append(Event.FromString(data[12 : 12 + length]))
            data = data[12 + length + 4 :]
    return events


def _run(workdir: Path, start: int, end: int, tag: float) -> None:
    with MetricsLog(workdir, start) as log:
        for step in range(start + 1, end + 1):
            log.write(step, {"train/mse": tag})


def test_lines_are_flat_and_in_order(tmp_path: Path) -> None:
    with MetricsLog(tmp_path) as log:
        log.write(10, {"train/mse": np.float32(0.5), "train/kl": float("nan")})
        log.write(10, {"validation/psnr_mean": 20})
        assert read_metrics(tmp_path)[0]["step"] == 10  # readable while the run goes on
    assert (tmp_path / "metrics.jsonl").read_text().splitlines() == [
        '{"step": 10, "train/mse": 0.5, "train/kl": null}',
        '{"step": 10, "validation/psnr_mean": 20.0}',
    ]


@given(
    start=st.integers(0, 12),
    torn=st.text(st.characters(exclude_characters="\n", codec="utf-8"), max_size=12),
)
def test_resuming_drops_later_steps_and_a_torn_line(
    tmp_path_factory: pytest.TempPathFactory, start: int, torn: str
) -> None:
    workdir = tmp_path_factory.mktemp("run")
    lines = [json.dumps({"step": step, "train/mse": 1.0}) for step in range(1, 11)]
    (workdir / "metrics.jsonl").write_text("\n".join(lines) + "\n" + torn)
    _run(workdir, start, 15, tag=2.0)
    read = read_metrics(workdir)
    expected = [*range(1, min(start, 10) + 1), *range(start + 1, 16)]
    assert [line["step"] for line in read] == expected
    assert [line["train/mse"] for line in read] == [1.0 if s <= start else 2.0 for s in expected]


def test_a_torn_last_line_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "a": 2.0}\n{"step": 2, "a"')
    assert read_metrics(tmp_path) == [{"step": 1, "a": 2.0}]


@pytest.mark.parametrize("damage", ["{", "[]", "null", '{"a": 1}', '{"step": "x"}', ""])
def test_damage_before_the_last_line_is_reported(tmp_path: Path, damage: str) -> None:
    (tmp_path / "metrics.jsonl").write_text(f'{{"step": 1}}\n{damage}\n{{"step": 3}}\n')
    for use in (read_metrics, MetricsLog):
        with pytest.raises(UserError, match=r"metrics\.jsonl: line 2 is damaged"):
            use(tmp_path)
    assert damage in (tmp_path / "metrics.jsonl").read_text()


def test_no_log_says_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"metrics\.jsonl: no such file; run --mode=train"):
        read_metrics(tmp_path)


def test_tensorboard_forgets_the_same_steps(tmp_path: Path) -> None:
    _run(tmp_path, 0, 8, tag=1.0)
    _run(tmp_path, 4, 6, tag=2.0)
    shown: dict[int, float] = {}
    for event in _events(tmp_path):  # as TensorBoard reads: a start purges what comes after it
        if event.session_log.status == SessionLog.START:
            shown = {step: value for step, value in shown.items() if step < event.step}
        for value in event.summary.value:
            assert value.tag == "train/mse"
            shown[event.step] = value.simple_value
    assert shown == {step: 1.0 if step <= 4 else 2.0 for step in range(1, 7)}


def test_progress_writes_whole_lines_where_nobody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "SECONDS_BETWEEN_LINES", 0.0)
    stream = io.StringIO()
    with Progress(total=40, start=10, frames_per_step=100, stream=stream) as bar:
        bar.advance(10, loss=0.012345, psnr=21.5)
        bar.advance(20, loss=0.01)
    lines = stream.getvalue().splitlines()
    assert "\r" not in stream.getvalue()
    assert lines[0].startswith("train  25% step 10/40")
    assert any("step 20/40" in line and "loss 0.01235, psnr 21.5" in line for line in lines)
    assert "train 100% step 40/40" in lines[-1]
    assert " left, " in lines[-1]
    assert lines[-1].endswith("frames/s, loss 0.01, psnr 21.5")


def test_progress_is_quiet_between_lines() -> None:
    stream = io.StringIO()
    with Progress(total=1000, stream=stream) as bar:
        for _ in range(1000):
            bar.advance(loss=1.0)
    assert stream.getvalue() == ""


def test_bars_within_a_bar_write_lines_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "SECONDS_BETWEEN_LINES", 0.0)
    stream = io.StringIO()
    with Progress(total=2, stream=stream) as bar:
        for _ in range(2):
            with Progress(total=1, description="validation", stream=stream) as inner:
                inner.advance()
            bar.advance()
    assert "\x1b" not in stream.getvalue()
    assert all(line.startswith(("train", "validation")) for line in stream.getvalue().splitlines())


def test_progress_counts_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    bar = Progress(total=100, start=50, frames_per_step=7, stream=io.StringIO())
    now = bar.start_t
    monkeypatch.setattr(bar, "_time", lambda: now + 5)
    bar.n = 60
    assert bar.format_dict["frames_per_second"] == "14"
    bar.close()


def test_progress_redraws_one_line_in_a_terminal() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    with Progress(total=3, stream=stream) as bar:
        bar.advance(3)
    assert "\r" in stream.getvalue()
    assert stream.getvalue().count("\n") == 1
    assert "step 3/3" in stream.getvalue()


def test_tensorboard_has_what_was_logged_when_the_run_is_killed(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    log.write(1, {"train/mse": 1.0})
    shown = [value.simple_value for event in _events(tmp_path) for value in event.summary.value]
    assert shown == [1.0]
    log.close()


def test_tensorboard_reads_files_in_the_order_they_were_written_whatever_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for now in (2_000_000_000, 1_000_000_000, 1_500_000_000):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        before = set(tmp_path.glob("events.*"))
        _run(tmp_path, 0, 1, tag=1.0)
        (new,) = set(tmp_path.glob("events.*")) - before
        assert new == max(tmp_path.glob("events.*"))


def test_a_full_disk_is_told_in_a_line_and_the_run_does_not_hang(small_disk: Path) -> None:
    log = MetricsLog(small_disk)

    def fill() -> None:
        for step in range(10_000):
            log.write(step, {"train/mse": 1.0})

    with pytest.raises(UserError, match=r"metrics\.jsonl: step \d+ cannot be logged \(No space"):
        fill()
    log.close()
    assert [line["step"] for line in read_metrics(small_disk)][-1] > 100
    with pytest.raises(UserError, match="cannot be written"):
        MetricsLog(small_disk)


def test_progress_is_not_led_astray_by_the_wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1e9
    for clock in ("time.time", "tqdm.std.time"):
        monkeypatch.setattr(clock, lambda: now)
    bar = Progress(total=100, frames_per_step=7, stream=io.StringIO())
    now = 0.0
    bar.advance(10)
    assert 0 <= bar.format_dict["elapsed"] < 60
    bar.close()
