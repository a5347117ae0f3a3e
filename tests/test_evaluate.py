"""--mode=evaluate from a checkpoint to its result file: protocols, devices, interruptions."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from configs import tiny
from cvae_jax import (
    evaluate,
    kept,
    measuring,
    protocols,
    run_folder,
    sample,
    train_state,
    validation,
)
from cvae_jax.checkpoints import Checkpoints
from cvae_jax.data import sources
from cvae_jax.errors import UserError
from tests.run_main import SHARED_OUT

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def config(tiny_data_dir):
    values = tiny.get_config()
    values.data.dir = tiny_data_dir.dir
    values.eval.num_clips = 7
    values.eval.num_samples = 8  # a pass is one clip, so each batch can be as small
    values.eval.batch_size = 2
    return validation.from_config_dict(values)


@pytest.fixture
def workdir(config, tmp_path):
    """A run with one checkpoint, of parameters that are noise."""
    rng = np.random.default_rng(0)
    state = train_state.create(config, 4, 3)
    noisy = lambda x: x + 0.3 * rng.normal(size=x.shape).astype(np.float32)  # noqa: E731
    state = state.replace(params=jax.tree.map(noisy, state.params))
    workdir = tmp_path / "run"
    run = run_folder.claim(workdir, config, sources.open_split(config.data, "train").statistics)
    with Checkpoints(workdir) as checkpoints:
        checkpoints.save(4, state, run, {"psnr_mean": 20.0})
    return workdir


def _result(workdir, name="latest"):
    return (workdir / "evaluation" / f"{name}.json").read_text()


def _main(workdir, *flags, devices=1):
    flags_of_xla = f"{SHARED_OUT} --xla_force_host_platform_device_count={devices}"
    environment = os.environ | {"XLA_FLAGS": flags_of_xla, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "main.py"), "--mode=evaluate", f"--workdir={workdir}"]
    command += [f"--config.{flag}" for flag in flags]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )


def test_devices_and_batch_size_change_no_character_of_the_result(workdir):
    """7 clips with 3 samples: passes of 2 clips, which 2 and 4 devices cannot share evenly."""
    found = set()
    for devices, batch_size in ((1, 32), (1, 1), (2, 3), (4, 5)):
        flags = ("eval.num_samples=3", f"eval.batch_size={batch_size}")
        process = _main(workdir, *flags, devices=devices)
        assert process.returncode == 0, process.stderr
        found.add(_result(workdir))
    assert len(found) == 1
    assert "psnr_best_of_3" in found.pop()


def test_predictions_that_are_not_finite_are_refused(workdir, config):
    """Means would pass the failed clips by, and tell of the others alone."""
    state, _ = evaluate.restore(workdir, config, "best")
    params = jax.tree.map(lambda x: np.full_like(x, np.nan), state.params)
    with Checkpoints(workdir) as checkpoints:
        checkpoints.save(5, state.replace(params=params), {}, None)
    with pytest.raises(UserError, match="checkpoint 5 predicts frames that are not finite for 7 "):
        evaluate.run(workdir, config, "5")
    assert not list((workdir / "evaluation").iterdir())
    sample.run(workdir, config, "4")
    drawn = {path: path.read_bytes() for path in (workdir / "samples").iterdir()}
    with pytest.raises(UserError, match=r"checkpoint 5 predicts .* not finite for clip 0; choose"):
        sample.run(workdir, config, "5")
    assert {path: path.read_bytes() for path in (workdir / "samples").iterdir()} == drawn


def test_evaluations_by_other_settings_are_kept_beside_each_other(workdir, config):
    shorter = dataclasses.replace(config.eval, num_predicted_frames=2)
    other = dataclasses.replace(config, eval=shorter)
    evaluate.run(workdir, config, "4")
    first = _result(workdir, "4")
    evaluate.run(workdir, other, "4")
    second = _result(workdir, "4-2")
    assert (_result(workdir, "4"), _result(workdir)) == (first, second)
    assert first != second
    for again in (config, other):
        evaluate.run(workdir, again, "4")
    names = sorted(path.name for path in (workdir / "evaluation").iterdir())
    assert names == ["4-2.json", "4.json", "latest.json"]
    assert (_result(workdir, "4"), _result(workdir, "4-2")) == (first, second)
    fewer = dataclasses.replace(config.eval, num_clips=3)
    evaluate.run(workdir, dataclasses.replace(config, eval=fewer), "4")
    ranked = sample._evaluated(workdir, 4, config, sources.open_split(config.data, "test"))
    assert len(ranked) == 3  # of the newest of the same frames
    (workdir / "evaluation" / "4.json").write_text("[]")
    evaluate.run(workdir, config, "4")
    assert (_result(workdir, "4"), _result(workdir, "4-4")) == ("[]", first)


def test_two_evaluations_at_once_are_kept_beside_each_other(workdir, config, monkeypatch):
    shorter = dataclasses.replace(config.eval, num_predicted_frames=2)
    other = dataclasses.replace(config, eval=shorter)
    measure = measuring.Measurement.measure

    def measure_while_another_ends(self, *arguments):
        monkeypatch.undo()
        evaluate.run(workdir, other, "4")
        return measure(self, *arguments)

    monkeypatch.setattr(measuring.Measurement, "measure", measure_while_another_ends)
    evaluate.run(workdir, config, "4")
    found = [json.loads(_result(workdir, name))["protocol"] for name in ("4", "4-2")]
    assert [of["num_predicted_frames"] for of in found] == [2, config.eval.num_predicted_frames]


class _Stopped(kept.Kept):
    """Is interrupted as the third batch is about to be kept."""

    def save(self, first, batch):
        if first == 4:
            raise KeyboardInterrupt
        super().save(first, batch)


def test_interrupted_and_resumed_equals_uninterrupted(monkeypatch, workdir, config):
    evaluate.run(workdir, config, "best")
    whole = _result(workdir)
    with monkeypatch.context() as patch:
        patch.setattr(evaluate, "Kept", _Stopped)
        with pytest.raises(KeyboardInterrupt):
            evaluate.run(workdir, config, "best")
    (unfinished,) = (workdir / "evaluation").glob("unfinished-*")
    assert sorted(path.name for path in unfinished.iterdir()) == ["00000000.npz", "00000002.npz"]
    saved = []
    save = kept.Kept.save
    monkeypatch.setattr(
        kept.Kept,
        "save",
        lambda self, first, batch: (saved.append(first), save(self, first, batch)),
    )
    (workdir / "evaluation" / "latest.json").unlink()
    other = dataclasses.replace(config, eval=dataclasses.replace(config.eval, batch_size=32))
    evaluate.run(workdir, other, "best")
    assert saved == [4]  # the rest at once
    assert _result(workdir) == whole
    assert not unfinished.exists()


def test_a_damaged_file_of_what_was_kept_is_measured_again(monkeypatch, workdir, config):
    with monkeypatch.context() as patch:
        patch.setattr(evaluate, "Kept", _Stopped)
        with pytest.raises(KeyboardInterrupt):
            evaluate.run(workdir, config, "best")
    (path,) = (workdir / "evaluation").glob("unfinished-*/00000002.npz")
    path.write_bytes(path.read_bytes()[:100])
    evaluate.run(workdir, config, "best")
    found = _result(workdir)
    evaluate.run(workdir, config, "best")
    assert _result(workdir) == found


def test_other_parameters_or_another_protocol_do_not_go_on_from_what_was_kept(config):
    params = {"a": np.zeros(2), "b": np.ones(3)}
    name = kept.folder_name({"name": "default"}, params)
    assert name == kept.folder_name({"name": "default"}, dict(params))
    assert name != kept.folder_name({"name": "svg"}, params)
    assert name != kept.folder_name({"name": "default"}, params | {"a": np.full(2, 1e-30)})


def test_result_of_a_named_protocol_says_all_of_it(monkeypatch, capsys, workdir, config):
    """The lab's, shortened to what these data have; PSNR by channel, over every test clip."""
    row = dataclasses.replace(
        protocols.PROTOCOLS["lab"], num_predicted_frames=3, camera="image_main"
    )
    monkeypatch.setitem(protocols.PROTOCOLS, "lab", row)
    named = dataclasses.asdict(config)
    named["eval"]["protocol"] = "lab"
    protocols.apply(named["eval"], given=())
    result = evaluate.run(workdir, validation.from_config_dict(named), "best")
    assert json.loads(_result(workdir, "4-lab")) == json.loads(_result(workdir))
    assert not (workdir / "evaluation" / "4.json").exists()
    about = result["protocol"]
    assert (about["name"], about["num_clips"], result["num_clips"]) == ("lab", 8, 8)
    assert (about["start_frame"], about["camera"], about["split"]) == (0, "image_main", "test")
    assert "finn_psnr" in about["psnr"]
    assert about["best_of"] == "one sample"
    psnr = []
    for clip in range(8):
        video = sources.open_split(config.data, "test").read(clip).video[:5] / 255.0
        psnr.append(-10 * np.log10(((video[2:] - video[1]) ** 2).mean((1, 2))).mean(-1))
    np.testing.assert_allclose(
        result["copy_last_frame"]["psnr_per_frame"], np.mean(psnr, axis=0), rtol=1e-5
    )
    printed = capsys.readouterr().out
    assert "protocol lab: the lab's course on SVG" in printed
    assert "finn_psnr" in printed


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["eval.protocol=svg"], "--config.data.camera=image_main: --config.eval.protocol=svg"),
        (
            ["eval.protocol=ivideogpt"],
            "num_clips=256: the test split holds 8 clips; --config.eval.protocol=ivideogpt cannot",
        ),
        (
            ["eval.protocol=ivideogpt", "eval.num_samples=5"],
            "--config.eval.num_samples=5: --config.eval.protocol=ivideogpt means 100; leave",
        ),
    ],
)
def test_what_a_protocol_does_not_mean_ends_with_exit_code_2(workdir, flags, told):
    process = _main(workdir, *flags)
    assert process.returncode == 2
    assert told in process.stderr
    assert "Traceback" not in process.stderr
    assert not (workdir / "evaluation").exists()


def test_a_run_of_a_version_without_protocols_is_evaluated(workdir):
    path = workdir / "config.json"
    run = json.loads(path.read_text())
    del run["config"]["eval"]["protocol"]
    path.write_text(json.dumps(run))
    process = _main(workdir, "eval.num_clips=2", "eval.num_samples=1")
    assert process.returncode == 0, process.stderr
    assert json.loads(_result(workdir))["protocol"]["name"] == "default"


def test_data_without_a_training_split_have_no_mean_motion(monkeypatch, workdir, config):
    source = sources.open_split(config.data, "test")
    lonely = dataclasses.replace(source.statistics, num_clips={"test": 8})
    assert evaluate._mean_change(config, source)[0].shape == (3, 64, 64, 3)
    source.statistics = lonely
    change, about = evaluate._mean_change(config, source)
    assert change is None
    assert "no training split" in about


def test_more_clips_than_there_are_is_a_mistake(workdir, config):
    many = dataclasses.replace(config, eval=dataclasses.replace(config.eval, num_clips=9))
    with pytest.raises(UserError, match="the test split holds 8 clips; ask for at most so many"):
        evaluate.run(workdir, many, "best")
