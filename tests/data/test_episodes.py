"""RoboNet and Open X-Embodiment as TFDS stores them: content, splits and broken files."""

import dataclasses
import importlib.util
import io

import numpy as np
import pytest
import tensorflow_datasets as tfds
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from cvae_jax.config import DataConfig
from cvae_jax.data import episodes, frames, preparation, robonet, sources
from cvae_jax.data.readers import BadClip
from cvae_jax.errors import UserError
from tests.data import recordings


@pytest.fixture
def config(tmp_path):
    place = {"path": str(tmp_path / "robonet/4.0.1"), "dir": str(tmp_path / "data")}
    return DataConfig(source="robonet", clip_length=6, **place)


@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
def test_an_episode_is_what_was_written(config, tmp_path, file_format):
    recordings.write_robonet(tmp_path / "robonet/4.0.1", file_format)
    preparation.prepare(config)
    seen = []
    for split, count in (("train", 10), ("validation", 1), ("test", 1)):
        source = sources.open_split(config, split)
        assert len(source) == count
        for clip in map(source.read, range(count)):
            seen += [s for s in range(12) if (clip.action == recordings.table(s, 6, 5)).all()]
            np.testing.assert_array_equal(clip.video, recordings.moving_square(seen[-1], 7)[:6])
            positions = recordings.table(1000 + seen[-1], 7, 5)
            np.testing.assert_array_equal(clip.position, positions[:6])
    assert sorted(seen) == list(range(12))


def test_later_clips_of_an_episode_have_their_own_rows(config, tmp_path):
    recordings.write_robonet(tmp_path / "robonet/4.0.1", num_episodes=3)
    reader = robonet.open_reader(dataclasses.replace(config, clip_length=3))
    refs = [ref for refs in reader.splits().values() for ref in refs if ref.key.start == 3]
    tables = [(recordings.table(s, 6, 5), recordings.table(1000 + s, 7, 5)) for s in range(3)]
    found = [(clip.action.tolist(), clip.position.tolist()) for clip in map(reader.read, refs)]
    assert sorted(found) == sorted((a[3:6].tolist(), p[3:6].tolist()) for a, p in tables)


def test_a_set_s_own_splits_are_used(config, tmp_path):
    folder = tmp_path / "robonet/4.0.1"
    recordings.write_robonet(folder)
    for path in list(folder.glob("*-train.*")):
        path.with_name(path.name.replace("-train.", "-val.")).write_bytes(path.read_bytes())
    splits = robonet.open_reader(config).splits()
    assert {split: len(refs) for split, refs in splits.items()} == {"train": 12, "validation": 12}


def _rlds(num_steps=9):
    """A record of an Open X-Embodiment set, by TFDS's own features."""
    image = tfds.features.Image(shape=(48, 80, 3), encoding_format="jpeg")
    number = {name: tfds.features.Tensor(shape=(2,), dtype=np.float32) for name in ("a", "b")}
    features = tfds.features.FeaturesDict(
        {"steps": tfds.features.Dataset({"observation": {"image": image}, "action": number})}
    )
    steps = []
    for time, frame in enumerate(recordings.moving_square(0, num_steps, 48, 80)):
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "JPEG", quality=95)
        action = {"a": np.full(2, time, np.float32), "b": np.full(2, -time, np.float32)}
        steps.append({"observation": {"image": file.getvalue()}, "action": action})
    return features.serialize_example(features.encode_example({"steps": steps}))


def test_steps_of_an_open_x_set_are_read(config, tmp_path):
    recordings.write_tfds(tmp_path / "robonet/4.0.1", "bridge", [_rlds()] * 3, "tfrecord")
    keys = episodes.Keys("steps/observation/image", ("steps/action/a", "steps/action/b"))
    reader = episodes.EpisodeReader(dataclasses.replace(config, clip_length=4), keys)
    assert (reader.action_dim, reader.position_dim) == (4, 0)
    splits = reader.splits()
    assert {split: len(refs) for split, refs in splits.items()} == {
        "train": 2,
        "validation": 2,
        "test": 2,
    }
    clip = reader.read(splits["train"][1])
    times = np.arange(4, 8, dtype=np.float32)[:, None]
    np.testing.assert_array_equal(clip.action, np.concatenate([times, times, -times, -times], 1))
    truth = np.stack([frames.fit(f) for f in recordings.moving_square(0, 9, 48, 80)[4:8]])
    assert np.abs(clip.views["image_main"].astype(int) - truth).mean() < 3


def test_robonet_is_a_data_set_of_tfds_with_these_keys(tmp_path):
    from tensorflow_datasets.datasets.robonet import robonet_dataset_builder

    assert robonet_dataset_builder.Builder.name == "robonet"
    if importlib.util.find_spec("tensorflow"):  # its Video feature needs it
        builder = robonet_dataset_builder.Builder(data_dir=tmp_path, config="robonet_sample_64")
        used = {robonet.KEYS.image, *robonet.KEYS.action, *robonet.KEYS.position}
        assert used < set(builder.info.features)


def _reader(config, tmp_path, change=lambda record: record, num_good=3):
    recordings.write_robonet(tmp_path / "whole", num_episodes=2)
    path = tmp_path / "whole/robonet-train.tfrecord-00000-of-00002"
    record = path.read_bytes()[12:-4]
    recordings.write_tfds(
        tmp_path / "robonet/4.0.1", "robonet", [record] * num_good + [change(record)], "tfrecord"
    )
    return robonet.open_reader(config)


def _problems(reader):
    problems = []
    for ref in (ref for refs in reader.splits().values() for ref in refs):
        try:
            reader.read(ref)
        except BadClip as error:
            problems.append(str(error))
    return problems


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda r: r.replace(b"actions", b"axtions"), "has no actions, only axtions, filename"),
        (lambda r: r.replace(b"IDAT", b"IDxT"), "a frame is not a whole PNG or JPEG"),
        (lambda r: r[: len(r) // 2], "its record is damaged ("),
        (lambda r: b"", "has no video, only "),
    ],
)
def test_a_broken_episode_is_told(config, tmp_path, change, told):
    (problem,) = _problems(_reader(config, tmp_path, change))
    assert problem.startswith(told)


def test_episodes_shorter_than_a_clip_are_left_out_and_told(config, tmp_path):
    records = [_rlds(length) for length in (9, 5, 8, 8, 7)]
    recordings.write_tfds(tmp_path / "robonet/4.0.1", "bridge", records, "tfrecord")
    keys = episodes.Keys("steps/observation/image", ("steps/action/a",))
    reader = episodes.EpisodeReader(dataclasses.replace(config, clip_length=8), keys)
    assert {split: len(refs) for split, refs in reader.splits().items()} == dict.fromkeys(
        ("train", "validation", "test"), 1
    )
    assert not _problems(reader)
    assert "clips of 8 frames; 2 shorter episodes left out; " in reader.describe()
    reader = episodes.EpisodeReader(dataclasses.replace(config, clip_length=10), keys)
    with pytest.raises(UserError, match=r"clip_length=10: the longest episode .* has 9 frames"):
        reader.splits()


def test_a_flipped_bit_is_noticed_by_the_checksum(config, tmp_path):
    recordings.write_robonet(tmp_path / "robonet/4.0.1")
    path = tmp_path / "robonet/4.0.1/robonet-train.tfrecord-00001-of-00002"
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    (problem,) = _problems(robonet.open_reader(config))
    assert "checksum is wrong" in problem


def test_a_truncated_file_is_refused(config, tmp_path):
    recordings.write_robonet(tmp_path / "robonet/4.0.1")
    path = tmp_path / "robonet/4.0.1/robonet-train.tfrecord-00001-of-00002"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"00001-of-00002: .*get that file again"):
        robonet.open_reader(config)


def test_a_truncated_array_record_is_refused(config, tmp_path):
    recordings.write_robonet(tmp_path / "robonet/4.0.1", "array_record")
    path = tmp_path / "robonet/4.0.1/robonet-train.array_record-00001-of-00002"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"4\.0\.1: .*get its files again"):
        robonet.open_reader(config)


@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
def test_a_missing_file_of_a_set_is_named(config, tmp_path, file_format):
    recordings.write_robonet(tmp_path / "robonet/4.0.1", file_format)
    name = f"robonet-train.{file_format}-00000-of-00002"
    (tmp_path / "robonet/4.0.1" / name).unlink()
    with pytest.raises(UserError, match=rf"4\.0\.1: {name} is missing; get it too"):
        robonet.open_reader(config)


def test_another_folder_is_told_what_is_expected(config, tmp_path):
    (tmp_path / "robonet/4.0.1").mkdir(parents=True)
    with pytest.raises(UserError, match=r"no files like NAME-train.tfrecord"):
        robonet.open_reader(config)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_random_records_are_told_and_nothing_else_is_raised(tmp_path_factory, data):
    top = tmp_path_factory.mktemp("random")
    record = _rlds(2)
    start = data.draw(st.integers(0, len(record)))
    new = data.draw(st.binary(max_size=20))
    damaged = data.draw(st.sampled_from([new, record[:start] + new + record[start + len(new) :]]))
    recordings.write_tfds(top / "set", "bridge", [record, record, damaged], "tfrecord")
    keys = episodes.Keys("steps/observation/image", ("steps/action/a",))
    reader = episodes.EpisodeReader(DataConfig(path=str(top / "set"), clip_length=2), keys)
    assert len(_problems(reader)) <= 1
