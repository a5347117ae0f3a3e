"""Choosing among plans by what is predicted for them."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import planning
from cvae_jax.data import simulator
from cvae_jax.errors import UserError

SEED, NUM_PLANS = 5, 5
OTHERS = np.random.default_rng(0).uniform(-1, 1, (3, planning.LENGTH, 4)).astype(np.float32)
PLANS = planning.make_plans(SEED, OTHERS, NUM_PLANS)


def _frames(plans):
    return np.stack([planning.carry_out(SEED, plan).frame for plan in plans]) / np.float32(255)


def _goal():
    return _frames(simulator.clip(SEED).action[None])[0]


def _errors(frames):
    return np.square(frames - _goal()).mean(axis=(1, 2, 3))


def test_plans_begin_as_the_clip_does_and_are_other_ones():
    own = simulator.clip(SEED).action[: planning.LENGTH]
    assert PLANS.shape == (NUM_PLANS, *own.shape)
    assert np.abs(PLANS).max() <= 1.0
    np.testing.assert_array_equal(PLANS[:, 0], np.tile(own[0], (NUM_PLANS, 1)))
    varied, of_others = PLANS[:3], PLANS[3:, 1:]
    holds = np.split(varied, 3, axis=1)[1:], np.split(own, 3)[1:]
    for plans, actions in zip(*holds, strict=True):
        free = (np.abs(plans) < 1.0).all(axis=1)
        assert free.any()
        assert np.ptp(plans - actions, axis=1)[free].max() < 1e-6
        assert np.abs(plans - actions).max(axis=(1, 2)).min() > 0.1
    assert all((plan == OTHERS[:, 1:]).all(axis=(1, 2)).any() for plan in of_others)
    np.testing.assert_array_equal(planning.make_plans(SEED, OTHERS, NUM_PLANS), PLANS)


def test_the_clip_s_own_actions_lead_to_what_the_clip_shows():
    clip = simulator.clip(SEED)
    outcome = planning.carry_out(SEED, clip.action)
    np.testing.assert_array_equal(outcome.frame, clip.video[planning.LENGTH - 1])
    np.testing.assert_array_equal(outcome.position, clip.position[: planning.LENGTH])


def test_who_knows_what_comes_chooses_the_best():
    choice, picture = planning.choose(
        lambda context, plans, _: jnp.asarray(_frames(plans)), SEED, PLANS
    )
    assert choice.rank_correlation == pytest.approx(1.0)
    assert choice.num_better == 0
    errors = _errors(_frames(PLANS))
    assert choice.error_chosen == choice.error_best == pytest.approx(errors.min(), rel=1e-4)
    assert choice.error_mean == pytest.approx(errors.mean(), rel=1e-4)
    assert choice.distance_chosen == choice.distance_best
    context, goal, predicted, truth = (part[4:-4, 4:-4] for part in np.split(picture, 4))
    np.testing.assert_array_equal(predicted, truth)
    assert len({part.tobytes() for part in (context, goal, truth)}) == 3


def test_who_takes_the_worst_for_the_goal_chooses_it():
    def predict(context, plans, positions):
        frames = _frames(plans)
        frames[_errors(frames).argmax()] = _goal()
        return jnp.asarray(frames)

    choice, _ = planning.choose(predict, SEED, PLANS)
    assert choice.num_better == NUM_PLANS - 1
    assert choice.error_chosen == pytest.approx(_errors(_frames(PLANS)).max(), rel=1e-4)
    assert choice.rank_correlation < 1.0


def test_figures_and_picture_are_written(tmp_path, monkeypatch):
    results, picture = tmp_path / "planning.json", tmp_path / "planning.png"
    monkeypatch.setattr(planning, "RESULTS", results)
    monkeypatch.setattr(planning, "PICTURE", picture)
    told = planning.measure(None, 2, 6)
    found = json.loads(results.read_text())
    assert f"rank correlation: {found['rank_correlation']:.4f}" in told
    assert (found["num_clips"], found["num_plans"]) == (2, 6)
    assert found["rank_correlation"] > 0.7  # of a model that is trained
    assert picture.stat().st_size > 10_000


def test_what_cannot_be_measured_is_told(trained):
    with pytest.raises(UserError, match="--clips=0"):
        planning.measure(None, 0, 5)
    with pytest.raises(UserError, match="trained on simulated_push_tiny"):
        planning.measure(trained, 1, 5)
