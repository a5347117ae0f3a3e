"""The model that comes with the project: its files, and what they are worth."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from cvae_jax import files, pretrained, run_folder, validation
from cvae_jax.data import sources
from cvae_jax.errors import UserError
from tests.run_main import ROOT

NUM_CLIPS = 8


def _params():
    random = np.random.default_rng(0)
    return {
        "small": {"kernel": random.normal(size=(3, 4)).astype(np.float32)},
        "large": {"kernel": (random.normal(size=(1100, 1000)) * 0.01).astype(np.float32)},
    }


def test_parameters_survive_to_the_precision_that_is_kept(tmp_path):
    params, path = _params(), tmp_path / "params.npz"
    pretrained.save(path, params)
    found = pretrained.load(path, params)
    np.testing.assert_allclose(found["small"]["kernel"], params["small"]["kernel"], rtol=1e-3)
    columns = np.abs(params["large"]["kernel"]).max(axis=0)
    error = np.abs(found["large"]["kernel"] - params["large"]["kernel"])
    assert (error <= 0.5001 * columns / 127).all()
    assert path.stat().st_size < 1.1 * params["large"]["kernel"].size
    with np.load(path, allow_pickle=False) as stored:
        assert {stored[name].dtype.name for name in stored.files} == {"int8", "float16", "float32"}


def test_damaged_or_other_files_are_one_line(tmp_path):
    params, path = _params(), tmp_path / "params.npz"
    with pytest.raises(UserError, match="missing"):
        pretrained.load(path, params)
    pretrained.save(path, params)
    other = {"small": {"kernel": np.zeros((3, 5), np.float32)}, "large": params["large"]}
    with pytest.raises(UserError, match=r"small.kernel is \(3, 4\), not \(3, 5\)"):
        pretrained.load(path, other)
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", whole[:2000] + b"\0" * 5000 + whole[7000:]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="damaged") as caught:
            pretrained.load(path, params)
        assert "\n" not in str(caught.value)


def test_a_simulated_split_is_the_prepared_one(tiny_data_dir):
    prepared = sources.open_split(tiny_data_dir, "test")
    simulated = sources.open_simulated(tiny_data_dir, "test", prepared.statistics)
    assert len(simulated) == len(prepared)
    for number in (0, len(prepared) - 1):
        for one, other in zip(simulated.read(number), prepared.read(number), strict=True):
            np.testing.assert_array_equal(one, other)


def _main(folder, *arguments):
    process = subprocess.run(
        [sys.executable, str(ROOT / "main.py"), *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_it_is_as_good_as_stated_and_draws_without_data_or_training(tmp_path):
    stated = json.loads((pretrained.FOLDER / f"{pretrained.NAME}.json").read_text())["evaluation"]
    assert stated["model"]["psnr_mean"] > stated["copy_last_frame"]["psnr_mean"] + 5.5
    _main(tmp_path, "--mode=sample", "--config.sample.clips=0")  # a newcomer's first command
    workdir = tmp_path / pretrained.WORKDIR
    assert (workdir / "samples" / "demo.gif").stat().st_size > 10_000
    told = _main(tmp_path, "--mode=evaluate", f"--config.eval.num_clips={NUM_CLIPS}")
    assert "test clips are simulated" in told
    found = json.loads((workdir / "evaluation" / "latest.json").read_text())
    clips = stated["model"]["psnr_per_clip"][:NUM_CLIPS]
    np.testing.assert_allclose(found["model"]["psnr_per_clip"], clips, atol=0.02)
    assert not (tmp_path / "data").exists()


@pytest.fixture
def unpacked(tmp_path):
    pretrained.unpack(tmp_path)
    return tmp_path


def _times(workdir):
    files = [path for path in workdir.rglob("*") if path.is_file() and path.name != ".lock"]
    return {path: path.stat().st_mtime_ns for path in files}


def test_unpacking_again_changes_nothing(unpacked):
    before = _times(unpacked)
    pretrained.unpack(unpacked)
    assert _times(unpacked) == before


def test_another_version_is_replaced_and_a_run_of_ones_own_is_not(unpacked, capsys):
    path = unpacked / run_folder.CONFIG_FILE
    run = files.read_json(path)
    files.write_json(path, run | {run_folder.SHIPPED: "of an earlier version"})
    (step,) = run_folder.saved_steps(unpacked)
    old = unpacked / "checkpoints" / str(step) / "old"
    old.touch()
    made_of_it = ("evaluation/latest.json", "samples/samples.json", "curves/mse.png", "report.html")
    for name in (*made_of_it, "comparison.html"):
        files.write_json(unpacked / name, {})
    (unpacked / "comparison_curves").symlink_to(unpacked / "curves")
    pretrained.unpack(unpacked)
    assert files.read_json(path) == run
    assert "deletes what an earlier version of the model left" in capsys.readouterr().out
    assert {path.name for path in unpacked.iterdir()} == {"checkpoints", "config.json", ".lock"}
    assert run_folder.saved_steps(unpacked) == [step]
    assert not old.exists()
    own = {name: value for name, value in run.items() if name != run_folder.SHIPPED}
    files.write_json(path, own)
    with pytest.raises(UserError, match="holds a run of your own"):
        pretrained.unpack(unpacked)
    assert files.read_json(path) == own


def test_it_is_not_trained_on(unpacked):
    run = run_folder.load(unpacked)
    config, statistics = validation.from_config_dict(run["config"]), run_folder.statistics_of(run)
    with pytest.raises(UserError, match="comes with the project, which is for evaluate and sample"):
        run_folder.claim(unpacked, config, statistics)


def test_files_are_small():
    size = sum(path.stat().st_size for path in pretrained.FOLDER.glob(f"{pretrained.NAME}.*"))
    assert size <= 10_000_000
