import threading
import time
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import tiny
from cvae_jax import parallel, train, train_state, validation
from cvae_jax.errors import UserError
from cvae_jax.programs import Programs
from cvae_jax.train_step import TrainStep

CONFIG = validation.from_config_dict(tiny.get_config())
STATE = train_state.shapes(CONFIG, 4, 3)
FORCED, FREE = np.ones((4, 3), bool), np.zeros((4, 3), bool)
SECONDS = 20.0
"""After which a test fails rather than hangs."""


class _Step(TrainStep):
    """Compiles when it is let; tells in what order it was asked to and how often it stepped."""

    def __init__(self):
        self.asked, self.steps = [], 0
        self.let = {True: threading.Event(), False: threading.Event()}

    def let_all(self):
        for event in self.let.values():
            event.set()

    def compile(self, state, forced, *dims):
        self.asked.append(forced)
        assert self.let[forced].wait(SECONDS)
        return forced

    def __call__(self, state, batch, use_true, kl_weight):
        self.steps += 1
        return state, {"mse": jnp.zeros(())}


@pytest.fixture
def step(monkeypatch):
    needs = {True: 2**20, False: 2**40}  # bytes, teacher-forced and free running
    monkeypatch.setattr(parallel, "memory_of", needs.get)
    return _Step()


def _programs(step, ways=(True, False), free=2.0**50):
    return Programs(CONFIG, step, STATE, ways, (4, 3), free)


def _until(is_true):
    end = time.monotonic() + SECONDS
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_other_program_is_compiled_from_the_second_step_on_and_not_waited_for(step):
    programs = _programs(step)
    assert not step.asked
    with programs:
        step.let[True].set()
        programs.step(STATE, None, FORCED, 0.0)
        programs.step(STATE, None, FORCED, 0.0)
        _until(lambda: step.asked == [True, False])
        programs.step(STATE, None, FORCED, 0.0)
        assert step.steps == 3  # while the other one is being compiled
        step.let[False].set()
        programs.step(STATE, None, FREE, 0.0)
    assert step.asked == [True, False]


def test_a_run_of_one_step_compiles_one_program(step):
    step.let_all()
    with _programs(step) as programs:
        programs.step(STATE, None, FORCED, 0.0)
    assert step.asked == [True]


def test_a_step_waits_for_its_program_and_tells_how_long_and_not_for_the_first_step(
    step, monkeypatch
):
    now = [0.0]

    def look():
        step.let[True].set()  # no program is there before the step looks at the clock
        return now[0]

    def take(seconds):
        now[0] += seconds

    def compile(_, forced, *dims):
        _Step.compile(step, _, forced, *dims)
        take(5.0)
        return forced

    class Figure:
        block_until_ready = staticmethod(lambda: take(100.0))

    monkeypatch.setattr("cvae_jax.programs.time", types.SimpleNamespace(monotonic=look))
    monkeypatch.setattr(step, "compile", compile)
    monkeypatch.setattr(_Step, "__call__", lambda self, state, *_: (state, {"mse": Figure()}))
    with _programs(step) as programs:
        programs.step(STATE, None, FORCED, 0.0)
        assert programs.take_waited() == 5.0
        programs.step(STATE, None, FORCED, 0.0)
        assert now[0] == 105.0
        assert programs.take_waited() == 0.0
        step.let[False].set()


def test_leaving_waits_for_what_is_being_compiled_and_says_so(step, capsys):
    step.let[True].set()
    with _programs(step, free=2.0**30) as programs:
        programs.step(STATE, None, FORCED, 0.0)
        programs.step(STATE, None, FORCED, 0.0)
        _until(lambda: step.asked == [True, False])
        threading.Timer(0.2, step.let[False].set).start()
    assert step.let[False].is_set()
    waited, _, found = capsys.readouterr().out.partition("that is being compiled\n")
    assert waited.endswith("waiting for a program ")
    assert "a free-running step needs 1024.00 GiB" in found  # though no step came to need it


def test_leaving_by_an_error_says_which_before_it_waits(step, capsys):
    step.let[True].set()
    programs = _programs(step).__enter__()
    programs.step(STATE, None, FORCED, 0.0)
    programs.step(STATE, None, FORCED, 0.0)
    _until(lambda: step.asked == [True, False])
    threading.Timer(0.2, step.let[False].set).start()
    programs.__exit__(UserError, UserError("the disk is full"), None)
    assert "being compiled, then ends: the disk is full\n" in capsys.readouterr().out


def test_a_compiler_out_of_memory_is_told_in_a_line(step, monkeypatch):
    def compile(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of 8 GiB\nallocations: ...")

    monkeypatch.setattr(step, "compile", compile)
    with (
        _programs(step) as programs,
        pytest.raises(
            UserError, match=r"batch_size=4.* \(RESOURCE_EXHAUSTED: out of 8 GiB\); lower"
        ),
    ):
        programs.step(STATE, None, FORCED, 0.0)


def test_what_was_not_foreseen_is_compiled_when_it_is_needed(step):
    step.let_all()
    with _programs(step, [False]) as programs:
        programs.step(STATE, None, FREE, 0.0)
        programs.step(STATE, None, FORCED, 0.0)
    assert step.asked == [False, True]


def test_several_processes_leave_compiling_to_the_steps(step):
    with _programs(step, []) as programs:
        programs.step(STATE, None, FORCED, 0.0)
    assert step.steps == 1
    assert not step.asked


@pytest.mark.parametrize("use_true", [FREE, FORCED])
def test_a_later_program_that_turns_out_too_large_ends_the_run_whatever_the_step(
    step, use_true, capsys
):
    step.let_all()
    with _programs(step, free=2.0**30) as programs:
        programs.step(STATE, None, FORCED, 0.0)
        programs.step(STATE, None, FORCED, 0.0)
        _until(lambda: programs._jobs[False].done())
        with pytest.raises(UserError, match=r"a free-running step needs 1024\.00 GiB"):
            programs.step(STATE, None, use_true, 0.0)
    assert step.steps == 2
    assert "a teacher-forced step needs 0.00 GiB of 1.00 GiB free" in capsys.readouterr().out


def test_the_need_of_a_real_program_is_told(capsys):
    with _programs(TrainStep(CONFIG), [True], 2.0**30) as programs:
        programs._jobs[True].result()
    need = capsys.readouterr().out.partition("a teacher-forced step needs ")[2]
    assert 0.01 < float(need.partition(" GiB of 1.00 GiB")[0]) < 1


@pytest.mark.parametrize(
    ("unit", "ratio", "start_step", "ways"),
    [
        ("batch", [1.0, 1.0, 0.0], 0, [True, False]),
        ("clip", [1.0, 1.0, 0.5], 0, [True, False]),
        ("clip", [1.0, 1.0, 0.2], 2, [False]),
        ("clip", [0.98, 0.98, 0.98], 0, [True, False]),
        ("clip", [0.2] * 100, 0, [False, True]),
        ("clip", [0.3] * 99, 98, [True, False]),  # a chance of 1 in 123, yet the first step's
        ("frame", [1.0, 1.0], 0, [True]),
        ("batch", [0.0, 0.0], 0, [False]),
        ("batch", [0.5, 0.0, 0.0], 1, [False]),
    ],
)
def test_the_steps_left_say_which_programs_come_and_the_first_one_first(
    unit, ratio, start_step, ways
):
    values = tiny.get_config()
    values.teacher_forcing.unit = unit
    config = validation.from_config_dict(values)
    assert train._ways(config, np.array(ratio), start_step) == ways
