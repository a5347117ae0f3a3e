import json

import numpy as np
import pytest

from cvae_jax import divergence
from cvae_jax.errors import UserError


def _clips(step):
    return np.array([10 * step, 10 * step + 1], np.int32)


def test_too_many_skipped_steps_stop_the_run_with_their_clips(tmp_path):
    watch = divergence.Watch(tmp_path)
    for step in range(1, 17):  # steps 4 to 13 are ten, and a count is read four steps late
        watch.saw(step, _clips(step), np.int32(max(0, step - 3)))
    with pytest.raises(UserError, match=r"last 10 steps, from step 4 on, .* not_finite\.json"):
        watch.saw(17, _clips(17), np.int32(14))
    saved = json.loads((tmp_path / "not_finite.json").read_text())
    assert saved == [{"step": s, "clip_ids": _clips(s).tolist()} for s in range(4, 14)]


def test_a_run_that_ends_in_skipped_steps_is_told_too(tmp_path):
    watch = divergence.Watch(tmp_path)
    for step in range(1, 12):
        watch.saw(step, _clips(step), np.int32(max(0, step - 1)))
    with pytest.raises(UserError, match="from step 2 on"):
        watch.check()


def test_a_good_step_after_too_many_does_not_hide_them(tmp_path):
    watch = divergence.Watch(tmp_path)
    for step in range(1, 12):
        watch.saw(step, _clips(step), np.int32(step % 11))
    with pytest.raises(UserError, match="last 10 steps, from step 1 on"):
        watch.check()


def test_a_good_step_between_them_lets_the_run_go_on(tmp_path):
    watch = divergence.Watch(tmp_path)
    for step in range(1, 100):
        watch.saw(step, _clips(step), np.int32(step % 10))
    assert watch.check() == 9
    assert not list(tmp_path.iterdir())


def test_spikes_are_seen_and_skipped_steps_leave_the_means_alone():
    step = {"gradient_norm": 1.0, "learning_rate": 0.1, "num_skipped_in_row": 0}
    losses = [(1.0, 3), (5.0, 3), (np.nan, 4), (9.0, 5)]
    recent = [{**step, "loss": np.float32(x), "num_skipped": n} for x, n in losses]
    recent[1] = recent[1] | {"gradient_norm": 7.0}
    recent[3] = recent[3] | {"gradient_norm": np.inf, "learning_rate": 0.2}
    found = divergence.summarise(recent)
    assert (found["loss"], found["loss_max"]) == (3.0, 5.0)
    assert (found["gradient_norm"], found["gradient_norm_max"]) == (4.0, 7.0)
    assert (found["num_skipped"], found["learning_rate"]) == (5, 0.2)
    assert "num_skipped_in_row" not in found
    assert np.isnan(divergence.summarise(recent[2:])["loss_max"])
