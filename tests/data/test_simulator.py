"""The simulator: determinism, exact arm, hidden physics that stays hidden, plausible physics."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as np_st

from cvae_jax.data import simulator
from cvae_jax.data.simulator import arm, drawing, physics, record, scene


def content_hash(seed: int) -> str:
    clip = simulator.clip(seed)
    return hashlib.sha256(b"".join(array.tobytes() for array in clip)).hexdigest()


@pytest.fixture
def object_poses():
    """Maps seeds to a scene and the poses of gripper (30, 4) and objects (30, n, 3)."""
    return lambda seed, hidden_seed=None: record.simulate(seed, hidden_seed=hidden_seed)[:3]


def test_shapes_and_types():
    clip = simulator.clip(0)
    assert (clip.video.shape, clip.video.dtype) == ((30, 64, 64, 3), np.uint8)
    assert (clip.action.shape, clip.action.dtype) == ((30, 4), np.float32)
    assert (clip.position.shape, clip.position.dtype) == ((30, 3), np.float32)


def test_clip_depends_on_its_seed_alone():
    first = content_hash(3)
    assert content_hash(4) != first
    assert content_hash(3) == first


def test_another_process_makes_the_same_clip():
    code = "from tests.data.test_simulator import content_hash; print(content_hash(5))"
    elsewhere = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert elsewhere.stdout.strip() == content_hash(5)


@pytest.mark.parametrize("seed", range(8))
def test_arm_follows_its_actions_to_the_last_bit(seed):
    clip = simulator.clip(seed)
    moved = simulator.move(clip.position[:-1], clip.action[:-1])
    np.testing.assert_array_equal(moved, clip.position[1:])
    assert np.abs(clip.action).max() <= 1.0


@given(
    np_st.arrays(np.float32, 3, elements=st.floats(0, 1, width=32)),
    np_st.arrays(np.float32, 4, elements=st.floats(-1, 1, width=32)),
)
def test_move_stays_within_reach_and_obeys_its_units(position, action):
    moved = simulator.move(position, action)
    assert moved.dtype == np.float32
    assert np.all(moved >= arm.REACH_LOW)
    assert np.all(moved <= arm.REACH_HIGH)
    free = position + np.array([0.16, 0.16, 0.25]) * action[[0, 1, 3]]
    np.testing.assert_allclose(moved, free.clip([-1, -1, 0], 1), atol=1e-6)
    np.testing.assert_array_equal(simulator.move(position, np.zeros(4, np.float32)), position)


def test_first_frame_leaks_no_hidden_physics():
    later_differ = 0
    for seed in range(6):
        (layout, *one), (_, *other) = (record.simulate(seed, hidden_seed=h) for h in (1, 2))
        for ours, others in zip(one, other, strict=True):  # gripper, objects and action
            np.testing.assert_array_equal(ours[0], others[0])
        first, again = (drawing.draw(layout, *run[:2]) for run in (one, other))
        np.testing.assert_array_equal(first[0], again[0])
        later_differ += not np.array_equal(first, again)
    assert later_differ >= 3  # in some clips the arm touches nothing


def test_hidden_physics_is_drawn_after_the_scene_has_settled(object_poses):
    settled = 0
    for seed in range(20):
        layout, _, one = object_poses(seed, hidden_seed=1)
        _, _, other = object_poses(seed, hidden_seed=2)
        np.testing.assert_array_equal(one[0], other[0])
        settled += np.abs(one[0] - layout.places).max() > 1e-3
    assert settled >= 3  # or the test would prove nothing


def test_a_clip_in_which_the_arm_never_gave_in_is_run_again_by_its_actions():
    first = record.simulate(3)
    again = record.simulate(3, action=first.action)
    other = record.simulate(3, hidden_seed=99, action=first.action)
    for one, same in zip(first[1:], again[1:], strict=True):
        np.testing.assert_array_equal(one, same)
    np.testing.assert_array_equal(other.gripper, first.gripper)
    np.testing.assert_array_equal(other.objects[0], first.objects[0])
    assert np.abs(other.objects - first.objects).max() > 0.05


def test_action_leads_from_its_frame_to_the_next():
    """What the pictures show agrees with the actions, and not with those a frame off."""
    agreement = {-2: [], -1: [], 0: [], 1: [], 2: []}
    for seed in range(12):
        clip = simulator.clip(seed)
        red, green, blue = np.moveaxis(clip.video.astype(int), -1, 0)
        columns = np.broadcast_to(np.arange(64), red.shape)
        is_arm = (red > 2.5 * green) & (red > 2.5 * blue)
        centre = np.array([columns[t][is_arm[t]].mean() for t in range(30)])
        shift = np.diff(centre)[2:-2]
        for lag in agreement:
            dx = clip.action[2 + lag : 27 + lag, 0]
            agreement[lag].append(np.corrcoef(shift, dx)[0, 1])
    means = {lag: np.nanmean(values) for lag, values in agreement.items()}
    assert max(means, key=means.get) == 0
    assert means[0] > 0.9


def test_pushing_happens_and_nothing_leaves_the_bin(object_poses):
    pushed = 0
    for seed in range(20):
        layout, _, objects = object_poses(seed)
        assert scene.MIN_OBJECTS <= objects.shape[1] <= scene.MAX_OBJECTS
        travel = np.linalg.norm(objects[-1, :, :2] - objects[0, :, :2], axis=-1)
        pushed += travel.max() > 0.15
        for index, prism in enumerate(layout.prisms):
            corners = _corners(prism, objects[:, index])
            assert np.all(corners > np.array(scene.BIN_LOW) - 0.05)
            assert np.all(corners < np.array(scene.BIN_HIGH) + 0.05)
    assert pushed >= 14


@pytest.mark.parametrize("seed", range(10))
def test_objects_that_nothing_touches_stand_still(seed):
    layout = scene.random_scene(np.random.default_rng(seed))
    world = physics.World(layout)
    world.settle()
    before = world.poses()
    rng = np.random.default_rng(seed)
    world.draw_hidden(rng)
    raised = layout.gripper * [1, 1, 0, 1] + [0, 0, 1, 0]
    for _ in range(5):
        assert world.advance(raised, raised, rng)
    np.testing.assert_allclose(world.poses(), before, atol=0.002)


def test_lifted_gripper_passes_over_objects():
    layout = scene.random_scene(np.random.default_rng(0))
    raised, lowered = physics.World(layout), physics.World(layout)
    target = raised.poses()[0]
    for world, z in ((raised, 1.0), (lowered, 0.0)):
        start = np.array([target[0] - 0.4, target[1], z, 0.0])
        end = start + np.array([0.3, 0.0, 0.0, 0.0])
        world.advance(start, end, np.random.default_rng(0))
    np.testing.assert_allclose(raised.poses()[0], target, atol=1e-3)
    assert np.linalg.norm(lowered.poses()[0] - target) > 0.02


def _corners(prism, poses):
    cos, sin = np.cos(poses[:, None, 2]), np.sin(poses[:, None, 2])
    x, y = prism.footprint.T
    turned = np.stack([cos * x - sin * y, sin * x + cos * y], axis=-1)
    return poses[:, None, :2] + turned
