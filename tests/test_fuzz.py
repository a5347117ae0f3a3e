"""A short run of benchmarks/fuzz.py, and command lines with several mistakes."""

import pytest
from hypothesis import HealthCheck, given, settings

from benchmarks import fuzz
from cvae_jax.errors import UserError
from tests.command_line import parse


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    return fuzz.Fuzz(tmp_path_factory.mktemp("fuzz"), builds=1)


def test_random_command_lines_start_or_are_refused_clearly(runner):
    run = settings(max_examples=100, suppress_health_check=list(HealthCheck))(
        given(fuzz.CASES)(runner.__call__)
    )
    run()
    assert not runner.failures, runner.failures[0]
    assert runner.counts["accepted"] > 10
    assert runner.counts["refused"] > 10


def test_every_mistake_of_a_command_line_has_its_line(monkeypatch):
    with pytest.raises(UserError) as error:
        parse(
            monkeypatch,
            *("--mode=tarin", "--wrokdir=x", "--config=configs/tiny.py", "words"),
            *("--config.model.wdith=3", "--config.model.width=big", "--config.kl.weight", "none"),
            *("--config.train.batch_size=0", "--config.model.last_frame_skip=true"),
        )
    title, *lines = str(error.value).splitlines()
    assert title == "the command has 8 problems:"
    for flag in ("mode=tarin", "wrokdir", "words", "wdith", "width='big'", "kl.weight='none'"):
        assert sum(flag in line for line in lines) == 1, flag
    assert "--config.train.batch_size=0: must be int (at least 1, at most 65536)" in lines
    assert any("last_frame_skip=True: with" in line for line in lines)
