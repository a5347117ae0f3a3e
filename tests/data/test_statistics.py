"""Statistics and fingerprint of a data set."""

import dataclasses
import json

import numpy as np
import pytest

from cvae_jax.data import statistics
from cvae_jax.data.clip import Clip
from cvae_jax.errors import UserError


def make_clips(seed: int, count: int) -> list[Clip]:
    rng = np.random.default_rng(seed)
    return [
        Clip(
            rng.integers(0, 256, (5, 6, 7, 3), dtype=np.uint8),
            rng.normal(1.0, 3.0, (5, 4)).astype(np.float32),
            rng.normal(-2.0, 0.5, (5, 3)).astype(np.float32),
        )
        for _ in range(count)
    ]


def compute(train: list[Clip], test: list[Clip]) -> statistics.Statistics:
    return statistics.compute({"train": lambda: iter(train), "test": lambda: iter(test)})


def test_moments_are_those_of_the_training_split():
    train, test = make_clips(0, 9), make_clips(1, 4)
    found = compute(train, test)
    actions = np.concatenate([clip.action for clip in train]).astype(np.float64)
    np.testing.assert_allclose(found.action_mean, actions.mean(0), rtol=1e-6)
    np.testing.assert_allclose(found.action_std, actions.std(0), rtol=1e-6)
    assert found.num_clips == {"train": 9, "test": 4}
    other_order = statistics.compute({"test": lambda: iter(test), "train": lambda: iter(train)})
    np.testing.assert_array_equal(other_order.action_mean, found.action_mean)


def test_without_a_training_split_moments_are_those_of_the_first():
    """As of `bair_test_256`."""
    test = make_clips(1, 4)
    found = statistics.compute({"test": lambda: iter(test)})
    expected = np.concatenate([clip.position for clip in test]).astype(np.float64)
    np.testing.assert_allclose(found.position_std, expected.std(0), rtol=1e-6)
    assert (found.num_frames, found.frame_size) == (5, (6, 7))


def test_a_constant_component_is_not_scaled():
    """Else what differs from it in another split would be millions."""
    train = [clip._replace(position=np.full((5, 3), 0.3, np.float32)) for clip in make_clips(0, 3)]
    found = compute(train, [])
    assert found.position_std.tolist() == [1.0, 1.0, 1.0]
    prepared_before = dataclasses.asdict(found) | {"position_std": [1e-6, 0.5, 1e-6]}
    assert statistics.from_json(prepared_before).position_std.tolist() == [1.0, 0.5, 1.0]


def test_fingerprint_sees_every_part_and_the_order():
    train, test = make_clips(0, 3), make_clips(1, 2)
    fingerprint = compute(train, test).fingerprint
    assert compute(train, test).fingerprint == fingerprint
    changed = [
        [train[0]._replace(**{part: _touched(getattr(train[0], part))}), *train[1:]]
        for part in Clip._fields
    ]
    turned = train[0]._replace(video=train[0].video.reshape(5, 7, 6, 3))  # the same bytes
    changed.append([turned, *train[1:]])
    others = [compute(clips, test).fingerprint for clips in [*changed, train[::-1]]]
    others += [
        compute(train, test[:1]).fingerprint,
        compute([*train, test[0]], test[1:]).fingerprint,
    ]
    assert len({fingerprint, *others}) == len(others) + 1


def test_saving_and_loading_changes_nothing(tmp_path):
    found = compute(make_clips(0, 3), make_clips(1, 2))
    statistics.save(found, tmp_path)
    loaded = statistics.load(tmp_path)
    assert loaded.fingerprint == found.fingerprint
    assert loaded.num_clips == found.num_clips
    assert loaded.frame_size == found.frame_size
    np.testing.assert_array_equal(loaded.action_std, found.action_std)
    np.testing.assert_array_equal(loaded.position_mean, found.position_mean)
    assert [path.name for path in tmp_path.iterdir()] == [statistics.FILE_NAME]


@pytest.mark.parametrize("damage", ["cut", "field", "list", "empty"])
def test_a_damaged_file_is_reported_with_its_remedy(tmp_path, damage):
    statistics.save(compute(make_clips(0, 3), []), tmp_path)
    path = tmp_path / statistics.FILE_NAME
    fields = json.loads(path.read_text())
    del fields["action_std"]
    contents = {
        "cut": path.read_text()[:100],
        "field": json.dumps(fields),
        "list": "[1, 2]",
        "empty": "",
    }
    path.write_text(contents[damage])
    with pytest.raises(UserError, match=r"delete the folder .* --mode=prepare"):
        statistics.load(tmp_path)


def _touched(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flat[0] += 1
    return array
