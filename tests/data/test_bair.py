"""BAIR from original files: our reader against TFDS's own builder, and broken files."""

import dataclasses
import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from cvae_jax import config
from cvae_jax.data import preparation, sources
from cvae_jax.errors import UserError
from tests.data import bair_files

NAME = "bair_robot_pushing_small"
SMALL_SPLITS = {"train": "train[4:]", "validation": "train[:4]", "test": "test"}
REAL_CLIP = Path(__file__).resolve().parents[3] / "shared" / "data" / "bair_clip.npz"


@pytest.fixture
def small_splits(monkeypatch):
    """4 validation clips in place of 256."""
    source = dataclasses.replace(sources.SOURCES[NAME], splits=SMALL_SPLITS)
    monkeypatch.setitem(sources.SOURCES, NAME, source)


@pytest.fixture(scope="session")
def originals(tmp_path_factory):
    """A folder with `softmotion30_44k` and an archive of it; not to be changed."""
    root = tmp_path_factory.mktemp("bair")
    bair_files.tar(root / "bair_robot_pushing_dataset_v0.tar", bair_files.folder(root))
    return root


def _data(folder, path="", source=NAME, camera="image_aux1", **more):
    return config.DataConfig(source=source, dir=str(folder), path=str(path), camera=camera, **more)


def _everything(data):
    """All arrays of a prepared data set by split and camera."""
    found = {}
    for camera in ("image_main", "image_aux1"):
        for split in sources.SOURCES[data.source].splits:
            source = sources.open_split(dataclasses.replace(data, camera=camera), split)
            found[split, camera] = [source.read(clip_id) for clip_id in range(len(source))]
    return found


def _assert_same(one, other):
    assert one.keys() == other.keys()
    for key, clips in one.items():
        assert len(clips) == len(other[key]) > 0
        for left, right in zip(clips, other[key], strict=True):
            for a, b in zip(left, right, strict=True):
                assert a.dtype == b.dtype
                np.testing.assert_array_equal(a, b)


def _fingerprint(data):
    return sources.open_split(data, "test").statistics.fingerprint


def _real_builder(monkeypatch, archive, checksum=None):
    """TFDS's builder, told the checksum of our archive in place of the 30 GB one's."""
    from tensorflow_datasets.core.download import checksums
    from tensorflow_datasets.datasets.bair_robot_pushing_small import (
        bair_robot_pushing_small_dataset_builder as module,
    )

    content = archive.read_bytes()
    info = checksums.UrlInfo(
        len(content), checksum or hashlib.sha256(content).hexdigest(), archive.name
    )
    monkeypatch.setitem(module.Builder.url_infos, module.DATA_URL, info)


def _put_by_hand(data, archive):
    """Where TFDS looks for what a user has downloaded already."""
    folder = Path(data.dir, "downloads", "manual")
    folder.mkdir(parents=True)
    shutil.copy(archive, folder)


def test_tar_and_folder_give_the_clips_that_were_put_in(originals, tmp_path, small_splits):
    archive = _data(tmp_path / "tar", originals / "bair_robot_pushing_dataset_v0.tar")
    unpacked = _data(tmp_path / "folder", originals / "softmotion30_44k")
    preparation.prepare(archive)
    preparation.prepare(unpacked)
    from_tar = _everything(archive)
    _assert_same(from_tar, _everything(unpacked))
    assert _fingerprint(archive) == _fingerprint(unpacked)
    originals_by_content = {bair_files.clip(n).action.tobytes(): n for n in range(15)}
    numbers = {}
    for (split, camera), clips in from_tar.items():
        seeds = [originals_by_content[clip.action.tobytes()] for clip in clips]
        numbers.setdefault(split, seeds)
        for seed, clip in zip(seeds, clips, strict=True):
            expected = bair_files.clip(seed)
            np.testing.assert_array_equal(clip.video, expected.views[camera])
            np.testing.assert_array_equal(clip.position, expected.position)
    assert sorted(numbers["train"] + numbers["validation"]) == list(range(12))
    assert sorted(numbers["test"]) == [12, 13, 14]


def test_tfds_own_builder_gives_the_same(originals, tmp_path, small_splits, monkeypatch):
    pytest.importorskip("tensorflow", reason="TFDS's own preparation needs TensorFlow")
    archive = originals / "bair_robot_pushing_dataset_v0.tar"
    ours, theirs = _data(tmp_path / "ours", archive), _data(tmp_path / "theirs")
    _real_builder(monkeypatch, archive)
    _put_by_hand(theirs, archive)
    preparation.prepare(theirs)
    preparation.prepare(ours)
    _assert_same(_everything(ours), _everything(theirs))
    assert _fingerprint(ours) == _fingerprint(theirs)


def test_a_wrong_archive_is_refused(originals, tmp_path, small_splits, monkeypatch):
    pytest.importorskip("tensorflow", reason="TFDS's own preparation needs TensorFlow")
    archive = originals / "bair_robot_pushing_dataset_v0.tar"
    data = _data(tmp_path)
    _real_builder(monkeypatch, archive, checksum="0" * 64)
    _put_by_hand(data, archive)
    with pytest.raises(UserError, match="checksum") as error:
        preparation.prepare(data)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.rglob("*array_record*"))
