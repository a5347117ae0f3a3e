import dataclasses
import math

import jax
import pytest

from configs import tiny
from cvae_jax import memory, parallel, train_state, validation
from cvae_jax.errors import UserError

CONFIG = validation.from_config_dict(tiny.get_config())


def _check(config):
    memory.check_state(config, train_state.shapes(config, 4, 3), memory.available())


def test_a_model_larger_than_memory_is_refused_before_it_is_compiled():
    model = dataclasses.replace(CONFIG.model, width=4096, predictor_width=65536)
    with pytest.raises(UserError) as error:
        _check(dataclasses.replace(CONFIG, model=model))
    assert "--config.model.width=4096 --config.model.predictor_width=65536" in str(error.value)
    assert "GiB are free; lower one of them" in str(error.value)


def test_what_any_step_holds_is_counted_to_the_byte():
    """Muon keeps one moment of most kernels, where Adam keeps two."""
    values = tiny.get_config()
    values.optimizer.name, values.train.batch_size = "muon", 1
    config = validation.from_config_dict(values)
    state = train_state.create(config, 4, 3)
    held = sum(x.nbytes for x in jax.tree.leaves(state) + jax.tree.leaves(state.params))
    assert held < 3.9 * sum(x.nbytes for x in jax.tree.leaves(state.params))
    held *= float(parallel.copies_of_the_state())
    memory.check_state(config, train_state.shapes(config, 4, 3), held)
    with pytest.raises(UserError, match="parameters, gradient and moments"):
        memory.check_state(config, train_state.shapes(config, 4, 3), held - 1)


def test_a_batch_larger_than_memory_is_refused_before_it_is_compiled():
    train = dataclasses.replace(CONFIG.train, batch_size=2**22)
    with pytest.raises(UserError) as error:
        _check(dataclasses.replace(CONFIG, train=train))
    assert "--config.train.batch_size=4194304 --config.data.num_predicted_frames=3" in str(
        error.value
    )
    assert "first map of each frame needs 1280.00 GiB" in str(error.value)


def test_a_step_that_fits_is_told_and_one_that_does_not_names_the_fields():
    need, what = 2**29, "a teacher-forced step"
    told = memory.check_step(CONFIG, what, need, 2.0**30)
    assert told == "a teacher-forced step needs 0.50 GiB of 1.00 GiB free"
    assert memory.check_step(CONFIG, what, need, math.inf) == f"{what} needs 0.50 GiB"
    fields = r"train.batch_size=4 .*num_predicted_frames=3 .*a teacher-forced step needs 0\.50 GiB"
    with pytest.raises(UserError, match=f"{fields}.*, or set --config.model.rematerialize=True"):
        memory.check_step(CONFIG, what, need, need - 1.0)
    model = dataclasses.replace(CONFIG.model, rematerialize=True)
    with pytest.raises(UserError, match=f"{fields}.*lower one of them in a new --workdir$"):
        memory.check_step(dataclasses.replace(CONFIG, model=model), what, need, need - 1.0)


@pytest.mark.parametrize(("most", "left"), [("5000", 2600), ("max", None), ("1000", 0)])
def test_limit_of_a_group_counts_what_can_be_given_back(tmp_path, most, left):
    (tmp_path / "memory.max").write_text(f"{most}\n")
    (tmp_path / "memory.current").write_text("3000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 600\n")
    found = list(memory._left(tmp_path, "memory.max", "memory.current"))
    assert found == ([] if left is None else [left])
    assert not list(memory._left(tmp_path / "none", "memory.max", "memory.current"))
