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


def test_things_in_a_simpler_world_are_where_its_rule_says():
    run = record.simulate(PUSHING)
    last = run.objects[CONTEXT - 1]
    turns = np.arange(len(run.objects), dtype=float)[:, None]
    steps = np.diff(run.gripper[CONTEXT - 1 : LENGTH, :2], axis=0)
    carried = np.array([0, 1, 1, 0, 1, 0, 0, 1, 1, 1])[:, None]  # of the first thing
    world = run.objects.copy()
    world[0] += 0.5  # what lies there before the last context frame does not count
    world[CONTEXT - 1 :] = last
    world[CONTEXT:LENGTH, 0, :2] += np.cumsum(carried * steps, axis=0)
    world[..., 2] += turns
    in_world = run._replace(objects=world)

    left, with_arm, not_turned = (
        where(in_world)[CONTEXT:LENGTH]
        for where in (chance._left, chance._carried, chance._not_turned)
    )
    still = np.tile(world[CONTEXT - 1], (LENGTH - CONTEXT, 1, 1))
    np.testing.assert_array_equal(left, still)
    for places in (with_arm, not_turned):
        np.testing.assert_allclose(places[..., :2], world[CONTEXT:LENGTH, :, :2], atol=1e-12)
        np.testing.assert_array_equal(places[..., 2], still[..., 2])


def test_a_thing_that_goes_half_of_the_arm_s_way_is_carried_in_some_frames():
    run = record.simulate(PUSHING)
    way = run.gripper[CONTEXT - 1 : LENGTH, :2] - run.gripper[CONTEXT - 1, :2]
    world = run.objects.copy()
    world[CONTEXT - 1 : LENGTH, 0, :2] = world[CONTEXT - 1, 0, :2] + 0.5 * way
    gap = chance._carried(run._replace(objects=world))[CONTEXT:LENGTH] - world[CONTEXT:LENGTH]
    longest = np.linalg.norm(np.diff(way, axis=0), axis=1).max()
    assert 0.0 < np.linalg.norm(gap[:, 0, :2], axis=1).max() < longest


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
