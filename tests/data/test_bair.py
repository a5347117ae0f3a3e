"""BAIR from original files: our reader against TFDS's own builder, and broken files."""

import dataclasses
import hashlib
import importlib.util
import json
import os
import re
import shutil
import tarfile
import tempfile
from pathlib import Path
from types import SimpleNamespace as Namespace

import numpy as np
import pytest
from tensorflow_datasets.core import hashing
from tensorflow_datasets.proto import tf_example_pb2

from cvae_jax import config
from cvae_jax.data import bad_clips, bair, preparation, sources, tfrecords
from cvae_jax.data.readers import BadClip, RawClip
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


def test_the_real_builders_clips_are_ours_without_tensorflow(originals, monkeypatch):
    """TFDS's own generator, with stand-ins for the three names of TensorFlow that it calls."""
    from tensorflow_datasets.datasets.bair_robot_pushing_small import (
        bair_robot_pushing_small_dataset_builder as module,
    )

    def records(path):
        with open(path, "rb") as file:
            for place in tfrecords.places(file, 0, Path(path).stat().st_size):
                yield tfrecords.read(file, place)

    def sequence_example(data):
        return Namespace(context=tf_example_pb2.Example.FromString(data).features)

    train = Namespace(SequenceExample=Namespace(FromString=sequence_example))
    compat = Namespace(v1=Namespace(io=Namespace(tf_record_iterator=records)))
    io = Namespace(gfile=Namespace(listdir=os.listdir))
    monkeypatch.setattr(module, "tf", Namespace(io=io, compat=compat, train=train))
    folder = originals / "softmotion30_44k"
    reader = bair.open_archive(_data("", folder))
    for split, refs in reader.splits().items():
        ours = {ref.name: reader.read(ref) for ref in refs}
        theirs = dict(module.Builder._generate_examples(None, str(folder / split)))
        assert ours.keys() == theirs.keys()
        assert [ref.name for ref in refs] == sorted(theirs, key=hashing.Hasher(split).hash_key)
        for name, frames in theirs.items():
            for t, frame in enumerate(frames):
                for camera in reader.cameras:
                    np.testing.assert_array_equal(ours[name].views[camera][t], frame[camera])
                np.testing.assert_array_equal(ours[name].action[t], frame["action"])
                np.testing.assert_array_equal(ours[name].position[t], frame["endeffector_pos"])


@pytest.mark.skipif(not REAL_CLIP.exists(), reason="the real clip is not here")
def test_a_real_clip_survives_bit_for_bit(tmp_path):
    with np.load(REAL_CLIP) as real:
        views = {"image_main": real["image"], "image_aux1": real["aux1_image"]}
        clip = RawClip(views, real["action"], real["action"][:, :3])
    bair_files.write_tfrecord(tmp_path / "test.tfrecords", [clip])
    data = _data(tmp_path / "data", tmp_path / "test.tfrecords", "bair_test_256")
    preparation.prepare(data)
    for camera, view in views.items():
        stored = sources.open_split(dataclasses.replace(data, camera=camera), "test").read(0)
        np.testing.assert_array_equal(stored.video, view)
        np.testing.assert_array_equal(stored.action, clip.action)
        np.testing.assert_array_equal(stored.position, clip.position)


def test_without_tensorflow_nothing_is_downloaded(tmp_path):
    if importlib.util.find_spec("tensorflow"):
        pytest.skip("TensorFlow is installed")
    with pytest.raises(UserError, match=r"needs TensorFlow.*pip install.*config\.data\.path"):
        preparation.prepare(_data(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_the_readme_installs_the_tensorflow_that_the_message_names():
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    assert re.findall(r"^pip install .*", readme, re.MULTILINE) == [preparation.INSTALL_TENSORFLOW]


def test_data_prepared_as_tfrecord_are_recognised(originals, tmp_path, small_splits):
    data = _data(tmp_path, originals / "softmotion30_44k")
    preparation.prepare(data)
    folder = tmp_path / NAME / "2.0.0"
    info = json.loads((folder / "dataset_info.json").read_text())
    (folder / "dataset_info.json").write_text(json.dumps(info | {"fileFormat": "tfrecord"}))
    for path in folder.glob("*array_record*"):
        path.rename(folder / path.name.replace("array_record", "tfrecord"))
    for call in (preparation.prepare, lambda data: sources.open_split(data, "train")):
        with pytest.raises(UserError, match=r"prepared as tfrecord.*delete.*--mode=prepare"):
            call(data)


def test_too_few_clips_for_256_of_validation_are_told(originals, tmp_path):
    with pytest.raises(UserError, match=r"too few clips for train = train\[256:\]"):
        preparation.prepare(_data(tmp_path, originals / "softmotion30_44k"))


def _broken(change, seed=99):
    """A good clip's example after a change."""
    message = bair_files.example(bair_files.clip(seed))
    change(message.features.feature)
    return message


def _set(key, kind, value):
    def change(feature):
        del getattr(feature[key], kind).value[:]
        getattr(feature[key], kind).value.extend(value)

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda feature: feature.pop("7/image_aux1/encoded"), "no key 7/image_aux1/encoded"),
        (lambda feature: feature.pop("29/action"), "no key 29/action"),
        (_set("3/image_main/encoded", "bytes_list", [bytes(100)]), "has 100 bytes, not 12288"),
        (_set("3/image_main/encoded", "bytes_list", []), "holds 0 values rather than 1"),
        (_set("5/action", "float_list", [1, 2, 3]), "5/action holds 3 values rather than 4"),
        (_set("5/action", "float_list", [1, 2, 3, np.nan]), "action of frame 5 is not finite"),
        (_set("0/endeffector_pos", "float_list", [np.inf] * 3), "position of frame 0 is not fin"),
    ],
)
def test_a_clip_of_another_form_is_skipped_by_name(tmp_path, capsys, change, reason):
    clips = [bair_files.example(bair_files.clip(0)).SerializeToString()] * 149
    clips.insert(70, _broken(change).SerializeToString())
    path = tmp_path / "bair_test_traj_0_to_149.tfrecords"
    path.write_bytes(b"".join(map(bair_files.frame_record, clips)))
    data = _data(tmp_path / "data", path, "bair_test_256")
    with pytest.raises(UserError, match=r"strict=True: test traj_0_to_255\.tfrecords_70"):
        preparation.prepare(dataclasses.replace(data, strict=True))
    if reason.startswith("no key 7"):  # one is enough for the slow part
        preparation.prepare(data)
        assert f"1 of 150 clips were bad and skipped: test {bair.TEST_FILE}_70 ({reason})" in (
            capsys.readouterr().out
        )
        assert len(sources.open_split(data, "test")) == 149
    else:
        assert reason in capsys.readouterr().err


def _flip(path, position):
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("kind", ["folder", "tar"])
@pytest.mark.parametrize(
    ("damage", "lost", "reason"),
    [
        (lambda path: _flip(path, 1_000_000), 1, "the record's checksum is wrong"),
        (lambda path: _flip(path, 5), 6, "the checksum of a record's length is wrong"),
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), 1, "the file is cut off"),
        (lambda path: path.write_bytes(path.read_bytes()[:1_000_000]), 5, "the file is cut off"),
    ],
)
def test_clips_of_a_damaged_file_are_named_and_counted(
    originals, tmp_path, small_splits, monkeypatch, kind, damage, lost, reason
):
    path = tmp_path / "softmotion30_44k"
    shutil.copytree(originals / path.name, path)
    damage(path / "train" / "traj_6_to_11.tfrecords")
    if kind == "tar":
        path = bair_files.tar(tmp_path / "bair.tar", path)
    data = _data(tmp_path / "data", path)
    with pytest.raises(
        UserError, match=rf"{lost} bad clip.*traj_6_to_11\.tfrecords_\d \({reason}\)"
    ):
        preparation.prepare(data)
    monkeypatch.setattr(bad_clips, "MAX_BAD_FRACTION", 0.5)
    preparation.prepare(data)
    counts = sources.open_split(data, "test").statistics.num_clips
    assert counts == {"train": 8 - lost, "validation": 4, "test": 3}
    noted = json.loads(next(Path(data.dir).rglob("conversion.json")).read_text())["shards"]
    bad = {name: why for shard in noted.values() for name, why in shard["bad"].items()}
    assert set(bad.values()) == {reason}
    assert len(bad) == lost


def test_a_record_with_more_numbers_than_it_should_have_is_told():
    example = bair_files.example(bair_files.clip(0))
    example.features.feature["3/action"].float_list.value.append(0.5)
    with pytest.raises(BadClip, match="3/action holds 5 values rather than 4"):
        bair.parse(example.SerializeToString())


def test_a_damaged_file_that_does_not_tell_its_number_of_clips_is_told(originals, tmp_path):
    path = tmp_path / "softmotion30_44k"
    shutil.copytree(originals / path.name, path)
    file = (path / "train/traj_6_to_11.tfrecords").rename(path / "train/more.tfrecords")
    _flip(file, 5)
    with pytest.raises(UserError, match=r"1 bad clip.*more\.tfrecords_0 \(the checksum"):
        preparation.prepare(_data(tmp_path / "data", path))


@pytest.mark.parametrize("member", [2, 3, -1])
@pytest.mark.parametrize("offset", [-1000, 0])
def test_an_archive_that_is_cut_off_is_refused(originals, tmp_path, member, offset):
    """Within a file, and between two, where only the missing end of the archive shows it."""
    path = originals / "bair_robot_pushing_dataset_v0.tar"
    with tarfile.open(path) as archive:
        last = archive.getmembers()[member]
    length = last.offset_data + -(-last.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE + offset
    (tmp_path / "bair.tar").write_bytes(path.read_bytes()[:length])
    with pytest.raises(UserError, match=r"bair\.tar: not a whole tar archive.*name bair_robot"):
        preparation.prepare(_data(tmp_path / "data", tmp_path / "bair.tar"))
    assert not list(tmp_path.rglob("*array_record*"))


def test_two_files_of_one_name_are_refused(originals, tmp_path, small_splits):
    archive = shutil.copy(originals / "bair_robot_pushing_dataset_v0.tar", tmp_path)
    name = "softmotion30_44k/test/traj_0_to_2.tfrecords"
    content = bair_files.frame_record(bair_files.example(bair_files.clip(3)).SerializeToString())
    bair_files.add_member(Path(archive), f"again/{name}", content)
    with pytest.raises(UserError, match=r"test has two clips traj_0_to_2\.tfrecords_0"):
        preparation.prepare(_data(tmp_path / "data", archive))


def test_members_that_lead_out_of_the_archive_write_nothing(originals, tmp_path, small_splits):
    archive = Path(shutil.copy(originals / "bair_robot_pushing_dataset_v0.tar", tmp_path / "in"))
    bair_files.add_member(archive, "../../escaped.tfrecords", b"x")
    bair_files.add_member(archive, f"{tmp_path}/softmotion30_44k/other/escaped.tfrecords", b"x")
    data = _data(tmp_path / "data", archive)
    preparation.prepare(data)
    assert sources.open_split(data, "test").statistics.num_clips["test"] == 3
    assert not list(tmp_path.rglob("escaped*"))


@pytest.mark.parametrize("missing", ["nothing", "softmotion30_44k", "softmotion30_44k/train"])
def test_a_place_without_the_files_is_refused(tmp_path, missing):
    path = tmp_path / missing
    if missing != "nothing":
        path.mkdir(parents=True)
    with pytest.raises(UserError, match=r"data\.path=.*softmotion30_44k") as error:
        preparation.prepare(_data(tmp_path / "data", path if missing == "nothing" else tmp_path))
    assert "\n" not in str(error.value)
    assert "--config.data.dir" not in str(error.value)


@pytest.fixture
def unprivileged():
    """What root may read, this user may not."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    yield
    os.seteuid(0)


def test_files_without_permission_are_refused_in_a_line(request):
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "data").mkdir()
        for path in (root, root / "data"):
            path.chmod(0o777)
        archive = root / "bair.tar"
        archive.write_bytes(b"")
        archive.chmod(0)
        files = bair_files.folder(root)
        (files / "test").chmod(0)
        unreadable = next((files / "train").iterdir())
        request.getfixturevalue("unprivileged")
        for path in (archive, files):
            with pytest.raises(UserError, match="Permission denied") as error:
                preparation.prepare(_data(root / "data", path))
            assert f"--config.data.path={path}" in str(error.value)
            assert "\n" not in str(error.value)
        os.seteuid(os.getuid())
        (files / "test").chmod(0o755)
        unreadable.chmod(0)
        if not os.getuid():
            os.seteuid(65534)
        with pytest.raises(UserError, match=rf"{unreadable.name}_\d \(.*Permission denied"):
            preparation.prepare(_data(root / "data", files))
        os.seteuid(os.getuid())
