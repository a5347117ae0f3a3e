"""What of an error on simulated clips is chance, and what is pushed things."""

import numpy as np
import pytest

from benchmarks import chance
from cvae_jax.data import simulator
from cvae_jax.data.simulator import drawing, record
from cvae_jax.errors import UserError

PUSHING, PUSHING_NOTHING = 5, 3
CONTEXT, LENGTH = chance.NUM_CONTEXT, chance.NUM_CONTEXT + chance.NUM_TARGETS


def _truth(seed):
    return simulator.clip(seed).video[:LENGTH]


def test_things_left_where_they_lay_are_wrong_where_things_moved():
    run = record.simulate(PUSHING)
    still = np.concatenate([run.objects[:CONTEXT], np.repeat(run.objects[1:2], 10, axis=0)])
    left = drawing.draw(run.layout, run.gripper[:LENGTH], still)[CONTEXT:]
    found = chance.of_clip(PUSHING, _truth(PUSHING), left, num_runs=2)
    assert found.model_where_things_moved == found.things_left_where_things_moved
    assert 0.95 * found.model < found.model_where_things_moved <= found.model
    assert 0.0 < found.chance_where_things_moved <= found.chance < found.model
    assert 0.0 < found.pixels_where_things_moved < 0.1
    simpler = found.things_not_turned_where_things_moved, found.things_carried_where_things_moved
    assert 0.0 < simpler[0] < simpler[1] < found.things_left_where_things_moved


def test_things_that_go_as_in_a_simpler_world_are_right_in_it():
    run = record.simulate(PUSHING)
    world = run.objects.copy()
    with_arm = run.gripper[CONTEXT - 1 :, :2] - run.gripper[CONTEXT - 1, :2]
    world[CONTEXT - 1 :] = run.objects[CONTEXT - 1]
    world[CONTEXT - 1 :, 0, :2] += with_arm  # the arm carries the first thing, the others rest
    carried = run._replace(objects=world)
    np.testing.assert_allclose(chance._carried(carried), world, atol=1e-12)
    slow = world.copy()
    slow[CONTEXT - 1 :, 0, :2] -= 0.6 * with_arm  # nearer to resting
    found = chance._carried(run._replace(objects=slow))
    np.testing.assert_array_equal(found[CONTEXT:, 0], np.tile(slow[CONTEXT - 1, 0], (28, 1)))

    turning = world.copy()
    turning[..., 2] += np.arange(len(world))[:, None]
    still = chance._not_turned(run._replace(objects=turning))
    np.testing.assert_array_equal(still[CONTEXT - 1 :, :, 2], np.tile(turning[1, :, 2], (29, 1)))
    np.testing.assert_array_equal(still[..., :2], world[..., :2])


def test_a_perfect_prediction_has_no_error():
    truth = _truth(PUSHING)
    found = chance.of_clip(PUSHING, truth, truth[CONTEXT:], num_runs=2)
    assert (found.model, found.model_where_things_moved) == (0.0, 0.0)


def test_where_nothing_is_pushed_nothing_is_chance():
    truth = _truth(PUSHING_NOTHING)
    predicted = truth[CONTEXT:].copy()
    predicted[:, :8] = np.where(
        predicted[:, :8] < 128, predicted[:, :8] + 51, predicted[:, :8] - 51
    )
    found = chance.of_clip(PUSHING_NOTHING, truth, predicted, num_runs=2)
    assert found.model == pytest.approx(8 / 64 * 0.2**2)
    assert found[1:] == (0.0,) * 7


def test_other_clips_than_the_simulator_s_are_refused():
    truth = _truth(6)
    with pytest.raises(UserError, match="the clip of seed 5 is another one"):
        chance.of_clip(5, truth, truth[CONTEXT:], num_runs=2)
