"""Choosing among plans by what is predicted for them."""

import json
import re

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import planning
from cvae_jax.data import simulator
from cvae_jax.errors import UserError
from tests.command_line import ROOT

SEED, NUM_PLANS = 5, 5  # a clip in which an object is pushed
PLANS = planning.make_plans(SEED, NUM_PLANS)
OUTCOMES = [planning.carry_out(SEED, plan) for plan in PLANS]
GOAL = planning.carry_out(SEED, simulator.clip(SEED).action)
ERRORS = [np.square((outcome.frame - GOAL.frame / 1.0) / 255).mean() for outcome in OUTCOMES]


def _choose(frames, plans=PLANS):
    """By a model that predicts `frames` for the plans."""
    return planning.choose(lambda *_: jnp.asarray(np.stack(frames)) / 255, SEED, plans)


def test_plans_vary_what_the_clip_does_after_its_context():
    own = simulator.clip(SEED).action[: planning.NUM_FRAMES]
    assert PLANS.shape == (NUM_PLANS, *own.shape)
    assert np.abs(PLANS).max() <= 1.0
    np.testing.assert_array_equal(PLANS[:, 0], np.tile(own[0], (NUM_PLANS, 1)))
    for plans, actions in zip(np.split(PLANS, 3, axis=1)[1:], np.split(own, 3)[1:], strict=True):
        free = (np.abs(plans) < 1.0).all(axis=1)
        assert free.any()
        assert np.ptp(plans - actions, axis=1)[free].max() < 1e-6  # one variation
        assert np.abs(plans - actions).max(axis=(1, 2)).min() > 0.1
    np.testing.assert_array_equal(planning.make_plans(SEED, NUM_PLANS), PLANS)


def test_the_clip_s_own_actions_lead_to_what_the_clip_shows():
    clip = simulator.clip(SEED)
    np.testing.assert_array_equal(GOAL.frame, clip.video[planning.NUM_FRAMES - 1])
    np.testing.assert_array_equal(GOAL.position, clip.position[: planning.NUM_FRAMES])
    moved = np.linalg.norm(GOAL.objects - GOAL.start, axis=1)
    assert moved.max() > 0.05
    assert (GOAL.left != GOAL.frame).any()
    still = np.zeros_like(clip.action)
    rests = planning.carry_out(SEED, np.concatenate([clip.action[:1], still[1:]]))
    np.testing.assert_array_equal(rests.start, GOAL.start)
    np.testing.assert_array_equal(rests.frame, rests.left)


def test_who_knows_what_comes_takes_the_best():
    found, picture = _choose([outcome.frame for outcome in OUTCOMES])
    assert found["model"] == found["true_frames"]
    assert found["model"]["rank_correlation"] == pytest.approx(1.0)
    assert found["model"]["num_better"] == 0
    assert found["model"]["best_taken"]
    best = OUTCOMES[np.argmin(ERRORS)]
    assert found["model"]["squared_error"] == pytest.approx(min(ERRORS), rel=1e-4)
    assert found["any_plan"]["squared_error"] == pytest.approx(np.mean(ERRORS), rel=1e-4)
    distance = np.linalg.norm(best.objects - GOAL.objects, axis=1).sum()
    assert found["model"]["distance"] == pytest.approx(distance)
    assert found["nearest_objects"]["distance"] <= distance
    context, goal, predicted, truth = (part[4:-4, 4:-4] for part in np.split(picture, 4))
    np.testing.assert_array_equal(predicted, truth)
    assert len({part.tobytes() for part in (context, goal, truth)}) == 3


def test_who_takes_the_worst_for_the_goal_takes_it():
    frames = [outcome.frame for outcome in OUTCOMES]
    frames[np.argmax(ERRORS)] = GOAL.frame
    model = _choose(frames)[0]["model"]
    assert model["num_better"] == NUM_PLANS - 1
    assert not model["best_taken"]
    assert model["squared_error"] == pytest.approx(max(ERRORS), rel=1e-4)
    assert model["rank_correlation"] < 1.0


def test_who_moves_no_object_is_told_apart():
    plans = planning.make_plans(SEED, 24)
    found, _ = _choose([planning.carry_out(SEED, plan).left for plan in plans], plans)
    assert found["model"] == found["objects_left"]
    assert 0.5 < found["model"]["rank_correlation"] < found["true_frames"]["rank_correlation"]


def test_figures_and_picture_are_written_of_the_shipped_model(tmp_path, monkeypatch):
    results, picture = tmp_path / "planning.json", tmp_path / "planning.png"
    monkeypatch.setattr(planning, "RESULTS", results)
    monkeypatch.setattr(planning, "PICTURE", picture)
    told = planning.measure(None, 2, 24)
    found = json.loads(results.read_text())
    assert f"model: rank correlation {found['model']['rank_correlation']:.4f}" in told
    assert (found["num_clips"], found["num_plans"]) == (2, 24)
    assert found["model"]["rank_correlation"] > 0.7
    gain = found["gain_over_objects_left"]
    assert gain["distance_low"] <= gain["distance"] <= gain["distance_high"]
    assert gain["distance"] == pytest.approx(
        found["objects_left"]["distance"] - found["model"]["distance"]
    )
    assert picture.stat().st_size > 10_000


def test_what_cannot_be_measured_is_told(trained):
    with pytest.raises(UserError, match="--clips=1"):
        planning.measure(None, 1, 5)
    with pytest.raises(UserError, match="trained on simulated_push_tiny"):
        planning.measure(trained, 2, 5)


def test_the_readme_tells_these_figures():
    found = json.loads(planning.RESULTS.read_text())
    readme = (ROOT / "README.md").read_text()
    rows = {
        "the model that comes with the project": "model",
        "the true arm, all objects where they lay": "objects_left",
        "the true frames": "true_frames",
    }
    for words, who in rows.items():
        (row,) = re.findall(rf"^\| {words} \| (.*) \|$", readme, re.MULTILINE)
        expected = [
            f"{found[who]['rank_correlation']:.2f}",
            f"{found[who]['best_taken']:.0%}".replace("%", " %"),
            f"{found[who]['distance']:.2f}",
        ]
        assert row.split(" | ") == expected
