"""What of an error on simulated clips is chance, and what is pushed things."""

import numpy as np
import pytest

from benchmarks import chance
from cvae_jax.data import simulator
from cvae_jax.errors import UserError

PUSHING, PUSHING_NOTHING = 5, 3
LENGTH = chance.NUM_CONTEXT + chance.NUM_TARGETS


def _found(seed, changed=0):
    truth = simulator.clip(seed).video[:LENGTH]
    predicted = truth[chance.NUM_CONTEXT :].copy()
    predicted[:, :8] += np.uint8(changed)  # far from what moves
    return chance.of_clip(seed, truth, predicted, num_runs=2)


def test_where_things_are_pushed_there_is_chance_and_a_perfect_prediction_has_no_error():
    found = _found(PUSHING)
    assert (found.model, found.model_where_things_moved) == (0.0, 0.0)
    assert 0.0 < found.chance < found.things_left_where_they_lay
    assert 0.0 < found.pixels_where_things_moved < 0.1


def test_where_nothing_is_pushed_nothing_is_chance():
    found = _found(PUSHING_NOTHING, changed=51)
    assert found[1:] == (0.0, 0.0, 0.0, 0.0)
    assert found.model > 0.0


def test_other_clips_than_the_simulator_s_are_refused():
    truth = simulator.clip(6).video[:LENGTH]
    with pytest.raises(UserError, match="the clip of seed 5 is another one"):
        chance.of_clip(5, truth, truth[chance.NUM_CONTEXT :], num_runs=2)
