"""The alignment of conditions with frames, against the simulator that made both."""

import jax.numpy as jnp
import numpy as np
import pytest

from cvae_jax import rollout
from cvae_jax.data import simulator

ACTION = 4


@pytest.fixture(scope="module", params=[0, 7])
def clip(request):
    return simulator.clip(request.param)


def _conditions(clip, condition="action_position"):
    action, position = jnp.asarray(clip.action)[None], jnp.asarray(clip.position)[None]
    return np.asarray(rollout.align_conditions(action, position, condition).step[0])


def test_condition_holds_the_action_that_leads_to_the_position_beside_it(clip):
    conditions = _conditions(clip)
    arrived = simulator.move(clip.position[:-1], conditions[1:, :ACTION])
    np.testing.assert_array_equal(arrived, conditions[1:, ACTION:])


def test_condition_holds_the_position_of_its_own_frame(clip):
    np.testing.assert_array_equal(_conditions(clip)[:, ACTION:], clip.position)


def test_first_condition_has_no_action(clip):
    np.testing.assert_array_equal(_conditions(clip)[0, :ACTION], 0)


def test_actions_alone_are_aligned_alike(clip):
    np.testing.assert_array_equal(_conditions(clip, "action"), _conditions(clip)[:, :ACTION])


@pytest.mark.parametrize("shift", [-1, 1])
def test_actions_shifted_by_one_frame_miss_the_position(clip, shift):
    """The simulator tells the alignments apart, so the test above means something."""
    conditions = _conditions(clip)
    shifted = np.roll(conditions[:, :ACTION], shift, axis=0)
    arrived = simulator.move(clip.position[:-1], shifted[1:])
    wrong = np.abs(arrived - conditions[1:, ACTION:]).max(axis=1) > 1e-3
    assert wrong.mean() > 0.5
