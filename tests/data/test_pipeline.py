"""Batches: pure functions of (seed, step), whatever the process, the thread or the start."""

import contextlib
import dataclasses
import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvae_jax.data import pipeline, sources
from cvae_jax.errors import UserError


@pytest.fixture(scope="module")
def source(tiny_data_dir):
    return sources.open_split(tiny_data_dir, "train")


def take(source, count, *, num_frames=4, batch_size=6, seed=0, **kwargs):
    batches = pipeline.train_batches(
        source, num_frames=num_frames, batch_size=batch_size, seed=seed, **kwargs
    )
    with contextlib.closing(batches):
        return list(itertools.islice(batches, count))


def assert_same(one, other):
    for left, right in zip(one, other, strict=True):
        for field, expected in zip(left, right, strict=True):
            assert field.dtype == expected.dtype
            np.testing.assert_array_equal(field, expected)


def test_shapes_and_types(source):
    (batch,) = take(source, 1, num_frames=5, batch_size=7)
    assert (batch.video.shape, batch.video.dtype) == ((7, 5, 64, 64, 3), np.uint8)
    assert (batch.action.shape, batch.action.dtype) == ((7, 5, 4), np.float32)
    assert (batch.position.shape, batch.position.dtype) == ((7, 5, 3), np.float32)
    assert (batch.clip_id.shape, batch.clip_id.dtype) == ((7,), np.int32)


def test_examples_are_windows_of_their_clips(source):
    statistics = source.statistics
    starts = set()
    for batch in take(source, 8):
        for video, action, position, clip_id in zip(*batch, strict=True):
            whole = source.read(int(clip_id))
            matches = [
                start
                for start in range(27)
                if np.array_equal(video, whole.video[start : start + 4])
            ]
            assert matches
            action = action * statistics.action_std + statistics.action_mean
            position = position * statistics.position_std + statistics.position_mean
            assert any(
                np.allclose(action, whole.action[start : start + 4], atol=1e-5)
                and np.allclose(position, whole.position[start : start + 4], atol=1e-5)
                for start in matches
            )
            starts.update(matches)
    assert len(starts) > 10


def test_windows_start_anywhere_from_the_first_frame_to_the_last_possible(source):
    starts = set()
    for batch in take(source, 4, num_frames=28):
        for video, clip_id in zip(batch.video, batch.clip_id, strict=True):
            whole = source.read(int(clip_id)).video
            starts |= {s for s in range(3) if np.array_equal(video, whole[s : s + 28])}
    assert starts == {0, 1, 2}


def test_every_epoch_holds_every_clip_once_in_another_order(source):
    clip_ids = np.concatenate([batch.clip_id for batch in take(source, 12)])
    epochs = clip_ids.reshape(3, 24)
    for epoch in epochs:
        assert sorted(epoch) == list(range(24))
    assert not np.array_equal(epochs[0], epochs[1])
    assert not np.array_equal(epochs[1], epochs[2])


def test_windows_differ_between_epochs(source):
    batches = take(source, 8)
    videos = {}
    for batch in batches:
        for clip_id, video in zip(batch.clip_id, batch.video, strict=True):
            videos.setdefault(int(clip_id), []).append(video)
    assert sum(not np.array_equal(*pair) for pair in videos.values()) > 18


def test_seeds_give_other_orders_that_are_no_shifted_copies(source):
    orders = [
        np.concatenate([batch.clip_id for batch in take(source, 12, seed=seed)]).reshape(3, 24)
        for seed in (0, 1, 2)
    ]
    flat = {tuple(epoch) for order in orders for epoch in order}
    assert len(flat) == 9


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 12), st.integers(1, 30), st.integers(0, 2**31), st.integers(1, 4))
def test_resuming_equals_running_on(source, start_step, batch_size, seed, num_threads):
    settings = {"batch_size": batch_size, "seed": seed, "num_frames": 2}
    through = take(source, start_step + 2, **settings)[start_step:]
    assert_same(
        take(source, 2, start_step=start_step, num_threads=num_threads, **settings), through
    )


def test_starting_late_costs_nothing(source):
    (batch,) = take(source, 1, start_step=10_000_000)
    assert batch.clip_id.shape == (6,)


@pytest.mark.parametrize("process_count", [2, 3])
def test_processes_share_the_batch(source, process_count):
    whole = take(source, 6)
    share = len(whole[0].clip_id) // process_count
    for process_index in range(process_count):
        part = slice(process_index * share, (process_index + 1) * share)
        shard = take(source, 6, process_index=process_index, process_count=process_count)
        expected = [pipeline.Batch(*(field[part] for field in batch)) for batch in whole]
        assert_same(shard, expected)


def test_a_batch_may_exceed_the_data_set(source):
    (batch,) = take(source, 1, batch_size=60, num_frames=1)
    assert batch.clip_id.shape == (60,)
    assert np.bincount(batch.clip_id).min() >= 2


def test_evaluation_goes_through_the_first_clips_in_order(source):
    batches = list(pipeline.evaluation_batches(source, num_frames=3, num_clips=10, batch_size=4))
    assert [len(batch.clip_id) for batch in batches] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate([b.clip_id for b in batches]), np.arange(10))
    for batch in batches:
        for clip_id, video in zip(batch.clip_id, batch.video, strict=True):
            np.testing.assert_array_equal(video, source.read(int(clip_id)).video[:3])


def test_evaluation_goes_on_from_a_clip(source):
    batches = pipeline.evaluation_batches(
        source, num_frames=3, num_clips=10, batch_size=4, first_clip=5
    )
    assert [batch.clip_id.tolist() for batch in batches] == [[5, 6, 7, 8], [9]]


def test_batches_are_normalised_with_the_scale_that_a_model_was_trained_on(source):
    double = dataclasses.replace(
        source.statistics,
        action_std=2 * source.statistics.action_std,
        position_mean=source.statistics.position_mean - 1,
    )
    own, scaled = (
        pipeline.read_clips(s, [3], num_frames=5) for s in (source, source.scaled_by(double))
    )
    np.testing.assert_allclose(scaled.action, own.action / 2, rtol=1e-5)
    shift = 1 / source.statistics.position_std
    np.testing.assert_allclose(scaled.position, own.position + shift, rtol=1e-5, atol=1e-5)


def test_action_is_normalised_with_the_training_split(tiny_data_dir):
    test = sources.open_split(tiny_data_dir, "test")
    (batch,) = pipeline.evaluation_batches(test, num_frames=30, num_clips=8, batch_size=8)
    train = sources.open_split(tiny_data_dir, "train")
    raw = np.stack([test.read(clip_id).action for clip_id in range(8)])
    actions = np.concatenate([train.read(clip_id).action for clip_id in range(24)])
    expected = (raw - actions.mean(0)) / actions.std(0)
    np.testing.assert_allclose(batch.action, expected, atol=1e-4)


def test_impossible_requests_carry_both_numbers(source):
    with pytest.raises(UserError, match=r"31 frames .* clips have 30"):
        pipeline.train_batches(source, num_frames=31, batch_size=2, seed=0)
    with pytest.raises(UserError, match=r"31 frames .* clips have 30"):
        pipeline.evaluation_batches(source, num_frames=31, num_clips=2, batch_size=2)
    with pytest.raises(UserError, match=r"25 clips .* train holds 24"):
        pipeline.evaluation_batches(source, num_frames=3, num_clips=25, batch_size=2)
    with pytest.raises(UserError, match=r"batch_size=3 .* 2 processes"):
        pipeline.train_batches(source, num_frames=3, batch_size=3, seed=0, process_count=2)


def test_damage_is_reported_from_the_reading_threads(source, monkeypatch):
    monkeypatch.setattr(source, "records", [b"\xff\xff"] * 24)
    with pytest.raises(UserError, match=r"train clip .* is damaged"):
        take(source, 1)


def test_time_waited_for_batches_is_told_once(source):
    (batch,) = take(source, 1)

    def slow():
        for _ in range(2):
            time.sleep(0.02)
            yield batch

    batches = pipeline.Timed(slow())
    assert len(list(batches)) == 2
    assert batches.take_waited() >= 0.04
    assert batches.take_waited() == 0
