import dataclasses

import pytest

from configs import tiny
from cvae_jax import memory, parallel, train_state, validation
from cvae_jax.errors import UserError
from cvae_jax.train_step import TrainStep

CONFIG = validation.from_config_dict(tiny.get_config())


def _check(config):
    return memory.check_state(config, train_state.shapes(config, 4, 3))


def _programs(free):
    state = train_state.shapes(CONFIG, 4, 3)
    return memory.Programs(CONFIG, TrainStep(CONFIG), state, [True, False], (4, 3), free)


def test_a_model_larger_than_memory_is_refused_before_it_is_compiled():
    model = dataclasses.replace(CONFIG.model, width=4096, predictor_width=65536)
    with pytest.raises(UserError) as error:
        _check(dataclasses.replace(CONFIG, model=model))
    assert "--config.model.width=4096 --config.model.predictor_width=65536" in str(error.value)
    assert "GiB are free; lower one of them" in str(error.value)


def test_a_batch_larger_than_memory_is_refused_before_it_is_compiled():
    train = dataclasses.replace(CONFIG.train, batch_size=2**22)
    with pytest.raises(UserError) as error:
        _check(dataclasses.replace(CONFIG, train=train))
    assert "--config.train.batch_size=4194304 --config.data.num_predicted_frames=3" in str(
        error.value
    )
    assert "first map of each frame needs 1280.00 GiB" in str(error.value)


def test_a_step_that_fits_is_told_and_one_that_does_not_names_the_fields(capsys):
    with _programs(2**30) as programs:
        programs.wait_for(True)
        told = capsys.readouterr().out
    need = float(told.partition("a teacher-forced step needs ")[2].split(" GiB of 1.00 GiB")[0])
    assert 0.01 < need < 1
    fields = r"train.batch_size=4 .*num_predicted_frames=3 .*a teacher-forced step needs"
    with _programs(int(need * 2**30 * 0.8)) as programs, pytest.raises(UserError, match=fields):
        programs.wait_for(True)


def test_a_later_program_is_compiled_meanwhile_and_told_once_it_turns_out_too_large(
    monkeypatch, capsys
):
    needs = iter([2**20, 2**40])
    monkeypatch.setattr(parallel, "memory_of", lambda program: next(needs))
    with _programs(2**30) as programs:
        programs.wait_for(True)
        programs.wait_for(True)  # from here on the other one is being compiled
        with pytest.raises(UserError, match=r"a free-running step needs 1024\.00 GiB"):
            programs.wait_for(False)
        with pytest.raises(UserError, match=r"a free-running step needs 1024\.00 GiB"):
            programs.wait_for(True)
    assert "a teacher-forced step needs 0.00 GiB" in capsys.readouterr().out


@pytest.mark.parametrize(("most", "left"), [("5000", 2600), ("max", None), ("1000", 0)])
def test_limit_of_a_group_counts_what_can_be_given_back(tmp_path, most, left):
    (tmp_path / "memory.max").write_text(f"{most}\n")
    (tmp_path / "memory.current").write_text("3000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 600\n")
    found = list(memory._left(tmp_path, "memory.max", "memory.current"))
    assert found == ([] if left is None else [left])
    assert not list(memory._left(tmp_path / "none", "memory.max", "memory.current"))
