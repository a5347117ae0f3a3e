"""The command line as a user meets it: real processes over small data."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import imageio.v3 as iio
import jax
import numpy as np
import pytest

from cvae_jax import evaluate, files, parallel, run_folder, validation
from cvae_jax.logs import read_metrics
from tests.run_main import ROOT, TINY, done, main, refused, train

DEMO_LAYERS = (
    "--config.model.output=composite",
    "--config.model.predictor=conv",
    "--config.optimizer.name=muon",
)


def _arrays(workdir, step):
    """Every array of a checkpoint by name, on this process's one device."""
    config = validation.from_config_dict(run_folder.load(workdir)["config"])
    state, _ = evaluate.restore(workdir, config, str(step))[:2]
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def _assert_same_arrays(expected_workdir, workdir):
    """Bit for bit, after step 4."""
    expected, found = _arrays(expected_workdir, 4), _arrays(workdir, 4)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def _parameters(workdir, step):
    """All parameters of a checkpoint in one vector."""
    arrays = _arrays(workdir, step)
    return np.concatenate([a.ravel() for name, a in arrays.items() if name.startswith(".params")])


def _metrics(workdir):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        for name in ("frames_per_second", "input_wait_fraction"):  # these are of the clock
            line.pop(f"train/{name}", None)
    return lines


def _assert_metrics_agree(workdir, other):
    """To the rounding that sharing a batch out brings."""
    for left, right in zip(_metrics(workdir), _metrics(other), strict=True):
        assert left.keys() == right.keys()
        for name in left:
            assert right[name] == pytest.approx(left[name], rel=2e-3, abs=1e-5), name


def test_training_leaves_what_the_design_says(trained):
    run = json.loads((trained / "config.json").read_text())
    assert run["config"]["model"]["width"] == 4
    assert {"jax", "flax", "optax"} <= run["versions"].keys()
    assert len(run["data"]["fingerprint"]) == 64
    train = [line for line in _metrics(trained) if "train/mse" in line]
    assert [line["step"] for line in train] == [1, 2, 3, 4]
    for line in train:
        beta = line["train/kl_weight"]
        expected = line["train/mse"] + beta * line["train/kl"]
        assert line["train/loss"] == pytest.approx(expected, rel=1e-5)
    validated = [line["step"] for line in _metrics(trained) if "validation/psnr_mean" in line]
    assert validated == [2, 4]
    assert sorted(p.name for p in (trained / "checkpoints").iterdir() if p.name.isdigit()) == [
        "2",
        "4",
    ]
    assert list(trained.glob("events.*"))
    for line in read_metrics(trained):
        assert 0 <= line.get("train/input_wait_fraction", 0) <= 1
    assert sum("train/input_wait_fraction" in line for line in read_metrics(trained)) == 4


def test_two_steps_and_two_more_equal_four_bit_for_bit(trained, data, tmp_path):
    train(tmp_path / "run", data, "--config.train.num_steps=2")
    out = train(tmp_path / "run", data)
    assert "going on after step 2" in out
    _assert_same_arrays(trained, tmp_path / "run")
    assert _metrics(tmp_path / "run") == _metrics(trained)
    before = _metrics(tmp_path / "run")
    assert "nothing left to train" in train(tmp_path / "run", data)
    assert _metrics(tmp_path / "run") == before


@pytest.fixture(scope="module")
def demo_layers(data, tmp_path_factory):
    """Two steps with the layers and the optimizer of the demo; not to be changed."""
    workdir = tmp_path_factory.mktemp("demo_layers") / "run"
    train(workdir, data, *DEMO_LAYERS, "--config.train.num_steps=2")
    return workdir


def test_two_steps_and_two_more_equal_four_with_muon(demo_layers, data, tmp_path):
    train(tmp_path / "whole", data, *DEMO_LAYERS)
    shutil.copytree(demo_layers, tmp_path / "halves")
    assert "going on after step 2" in train(tmp_path / "halves", data, *DEMO_LAYERS)
    _assert_same_arrays(tmp_path / "whole", tmp_path / "halves")


def test_the_layers_of_the_demo_train_on_two_devices_as_on_one(demo_layers, data, tmp_path):
    train(tmp_path / "run", data, *DEMO_LAYERS, "--config.train.num_steps=2", devices=2)
    _assert_metrics_agree(demo_layers, tmp_path / "run")


@pytest.mark.parametrize("devices", [2, 4])
def test_any_number_of_devices_trains_the_same(trained, data, tmp_path, devices):
    train(tmp_path / "run", data, devices=devices)
    one, several = _parameters(trained, 4), _parameters(tmp_path / "run", 4)
    learned = np.linalg.norm(one - _parameters(trained, 2))
    # Adam magnifies rounding where a gradient is nearly 0; other noise gives 0.13.
    assert np.linalg.norm(several - one) < 0.05 * learned
    _assert_metrics_agree(trained, tmp_path / "run")


def test_run_goes_on_where_there_are_other_cores(trained, data, tmp_path):
    out = train(tmp_path / "run", data, "--config.train.num_steps=2", devices=4)
    assert "batches of 4 on 4 CPU devices" in out
    count = parallel.cpu_devices(4, len(os.sched_getaffinity(0)))
    plural = "s" if count > 1 else ""
    assert f"batches of 4 on {count} CPU device{plural}\n" in train(
        tmp_path / "run", data, devices=None
    )
    one, several = _parameters(trained, 4), _parameters(tmp_path / "run", 4)
    learned = np.linalg.norm(one - _parameters(trained, 2))
    assert np.linalg.norm(several - one) < 0.05 * learned


def test_evaluation_names_its_protocol_and_stands_beside_the_baseline(trained, data, tmp_path):
    workdir = tmp_path / "run"  # where no other evaluation is
    shutil.copytree(trained, workdir, ignore=shutil.ignore_patterns("evaluation"))
    out = done("--mode=evaluate", f"--workdir={workdir}", "--config.eval.num_samples=2")
    result = json.loads((workdir / "evaluation" / "latest.json").read_text())
    step = result["checkpoint_step"]
    assert json.loads((workdir / "evaluation" / f"{step}.json").read_text()) == result
    protocol = result["protocol"]
    assert protocol["condition"] == "action_position"
    assert (protocol["num_context_frames"], protocol["num_predicted_frames"]) == (2, 3)
    assert (protocol["split"], protocol["num_samples"], protocol["seed"]) == ("test", 2, 0)
    for section in ("model", "copy_last_frame"):
        for metric in ("psnr", "ssim"):
            per_frame = result[section][f"{metric}_per_frame"]
            assert len(per_frame) == 3
            assert np.mean(per_frame) == pytest.approx(result[section][f"{metric}_mean"])
            low, high = result[section][f"{metric}_mean_interval"]
            assert low < result[section][f"{metric}_mean"] < high
    assert result["model"]["psnr_best_of_2"] >= result["model"]["psnr_mean"]
    assert len(result["kl_per_frame"]) == 3
    assert f"{result['model']['psnr_mean']:.3f}" in out
    first = (workdir / "evaluation" / "latest.json").read_text()
    done("--mode=evaluate", f"--workdir={workdir}", TINY, data, "--config.eval.num_samples=2")
    assert (workdir / "evaluation" / "latest.json").read_text() == first


def test_copy_last_frame_is_what_the_data_say(trained, tiny_data_dir):
    from cvae_jax.data import sources

    done("--mode=evaluate", f"--workdir={trained}")
    result = json.loads((trained / "evaluation" / "latest.json").read_text())
    test = sources.open_split(tiny_data_dir, "test")
    psnr = []
    for clip in range(4):
        video = test.read(clip).video[:5] / 255.0
        error = ((video[2:] - video[1]) ** 2).mean(axis=(1, 2, 3))
        psnr.append(-10 * np.log10(error))
    np.testing.assert_allclose(
        result["copy_last_frame"]["psnr_per_frame"], np.mean(psnr, axis=0), rtol=1e-4
    )


def test_samples_and_report_are_there_to_be_looked_at(trained):
    done("--mode=evaluate", f"--workdir={trained}")
    psnr = json.loads((trained / "evaluation" / "latest.json").read_text())["model"][
        "psnr_per_clip"
    ]
    ordered = sorted(range(4), key=lambda clip: -psnr[clip])
    done("--mode=sample", f"--workdir={trained}")
    folder = trained / "samples"
    drawn = json.loads((folder / "samples.json").read_text())["clips"]
    assert {clip["clip"] for clip in drawn} == {0, 1, ordered[0], ordered[2], ordered[3]}
    ranks = {clip["rank"]: clip["clip"] for clip in drawn}
    assert [ranks[name] for name in ("best", "median", "worst")] == [ordered[n] for n in (0, 2, 3)]
    kinds = (".gif", ".mp4", ".png", "_sheet.png")
    assert {p.name for p in folder.iterdir()} == {
        f"clip_{clip['clip']:03}{kind}" for clip in drawn for kind in kinds
    } | {"demo.gif", "demo.mp4", "samples.json", ".lock"}
    for clip in drawn:  # both are of the first two of as many samples
        assert np.mean(clip["psnr"]) == pytest.approx(clip["psnr_mean"], abs=0.5)
    page = _report(trained)
    assert f"Clip {ordered[0]}, best by PSNR ({psnr[ordered[0]]:.1f} dB)" in page
    assert page.count("<svg") >= 6
    assert len(list((trained / "curves").glob("*.png"))) >= 6


def test_samples_of_other_frames_than_the_evaluations_are_not_ranked(trained):
    done("--mode=evaluate", f"--workdir={trained}")
    other = ["--config.sample.clips=1", "--config.eval.num_predicted_frames=2"]
    done("--mode=sample", f"--workdir={trained}", *other, "--config.sample.num_samples=6")
    folder = trained / "samples"
    assert not list(folder.glob("clip_000*"))
    (clip,) = json.loads((folder / "samples.json").read_text())["clips"]
    assert (clip["clip"], clip["rank"], clip["psnr_mean"]) == (1, None, None)
    assert np.shape(clip["psnr"]) == (4, 2)  # of 6 samples 4 are drawn
    gif = iio.imread(folder / "demo.gif", index=None)
    assert gif.shape[0] == 4
    assert gif.std() > 10
    assert iio.imread(folder / "clip_001.mp4").shape[0] == 4
    assert "the deviation is over 6 samples" in _report(trained)


def test_results_of_a_run_whose_checkpoints_are_gone_pass_for_no_other_s(trained, data, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(trained, workdir)
    shutil.rmtree(workdir / "checkpoints")
    for name in ("evaluation", "samples"):  # as other tests may have left them, or not
        (workdir / name).mkdir(exist_ok=True)
        (workdir / name / "any.json").touch()
    logged = (workdir / "metrics.jsonl").read_bytes()
    message = refused("--mode=train", TINY, data, f"--workdir={workdir}", "--config.seed=9")
    assert "holds evaluation and samples of a run whose checkpoints are gone" in message
    assert (workdir / "metrics.jsonl").read_bytes() == logged


@pytest.mark.parametrize(
    ("name", "value"),
    [("JAX_PLATFORMS", "bogus"), ("JAX_NUM_CPU_DEVICES", "0"), ("JAX_DISABLE_JIT", "1")],
)
def test_a_device_that_jax_does_not_find_is_told(trained, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    settings, told = refused("--mode=sample", f"--workdir={trained}").split(": ", 2)[1:]
    assert f"{name}={value}" in settings
    assert "unset" in told


def test_a_variable_that_jax_cannot_read_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "some")
    told = refused("--mode=sample", f"--workdir={tmp_path}")
    assert '"some" for JAX flag jax_num_cpu_devices; change or unset that variable' in told


def test_a_run_is_used_whatever_jax_enable_x64_says(trained, monkeypatch):
    monkeypatch.setenv("JAX_ENABLE_X64", "1")
    done("--mode=evaluate", f"--workdir={trained}")


def test_a_run_in_a_folder_with_a_comma_is_reported(trained, tmp_path):
    workdir = tmp_path / "one, two"
    shutil.copytree(trained, workdir)
    assert "How it learned" in _report(workdir)
    assert "a name is empty" in refused("--mode=report", f"--workdir={trained},")
    told = refused("--mode=report", f"--workdir={trained},runs/b,{trained}")
    assert f"names {trained} twice; leave one out" in told


def _report(workdir):
    done("--mode=report", f"--workdir={workdir}")
    return (workdir / "report.html").read_text()


def test_help_and_a_bare_call_teach_what_to_do():
    bare = main()
    assert bare.returncode == 2
    assert "make demo" in bare.stdout
    helped = done("--help")
    assert "--config.optimizer.learning_rate=0.002" in helped
    assert "--mode=train" in helped


@pytest.mark.parametrize("cut", ["| true", ">&-"])
def test_help_that_is_cut_short_ends_quietly(cut):
    """By a reader that goes before it is written, and by a shell that gives it no reader."""
    command = f"(sleep 0.1; {sys.executable} {ROOT / 'main.py'} --help; echo $? >&2) {cut}"
    process = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, timeout=60)
    assert process.stderr == b"0\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--mode=tarin"], "train"),
        (["--mdoe=train"], "mode"),
        (["train"], "not a flag"),
        (["--workdir=x"], "--mode: is missing"),
        (["--mode=train", "--workdir=x"], "--config: is missing"),
        (["--mode=train", TINY], "--workdir: is missing"),
        (["--mode=evaluate", TINY], "--workdir: is missing"),
        (["--mode=sample", "--workdir="], "--workdir: is missing"),
        (["--mode=train", "--config=configs/none.py", "--workdir=x"], "configs/none.py"),
        (["--mode=train", TINY, "--workdir=x", "--config.model.wdith=3"], "width"),
        (
            ["--mode=train", TINY, "--workdir=x", "--config.model.width=big"],
            "--config.model.width='big': must be int (at least 1",
        ),
        (["--mode=train", TINY, "--workdir=x", "--config.train.batch_size=1e3"], "must be int"),
        (["--mode=train", TINY, "--workdir=x", "--config.model.last_frame_skip=yes"], "be bool"),
        (["--mode=train", "--config=", "--workdir=x"], "names no file"),
        (
            ["--mode=train", TINY, "--workdir=x", "--checkpoint=4"],
            "--checkpoint: belongs to --mode=evaluate and sample; leave it out",
        ),
        (["--mode=evaluate", "--workdir=x", "--num_processes=2"], "belongs to --mode=train"),
        (["--mode=report", "--workdir=x", "--config.kl.weight=1"], "--config.kl.weight: report"),
        (["--mode=train", TINY, "--workdir=x", "--config.model.width=0"], "at least 1"),
        (["--mode=train", TINY, "--workdir=x", "--config.data.dir=none"], "--mode=prepare"),
        (["--mode=evaluate", "--workdir=no/such"], "no such folder"),
        (["--mode=sample", "--workdir=tests"], "--mode=train"),
        (["--mode=report", "--workdir=no/such"], "no/such"),
        (["--mode=report", "--workdir=no,such"], "error: no: holds no run"),
        (
            ["--mode=sample", "--workdir", "--config.sample.clips=1"],
            "error: Missing value for flag --workdir",
        ),
        (["--mode=report", "--workdir"], "error: Missing value for flag --workdir"),
        (["--mode=report", "-workdir"], "error: Missing value for flag -workdir"),
    ],
)
def test_mistakes_are_told_in_a_line(arguments, told):
    assert told in refused(*arguments)
    assert not (ROOT / "x").exists()


def test_other_config_or_data_in_a_workdir_changes_nothing(trained, data, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(trained, workdir)
    before = {p: p.read_bytes() for p in workdir.rglob("*") if p.is_file()}
    message = refused("--mode=train", TINY, f"--workdir={workdir}", data, "--config.kl.weight=0.5")
    assert "--config.kl.weight: asked 0.5, the run has 0.0001" in message
    for mode, field in (("sample", "eval.num_samples=9"), ("evaluate", "sample.clips=1")):
        told = refused(f"--mode={mode}", f"--workdir={workdir}", f"--config.{field}")
        assert f"--mode={mode} does not read it" in told
    told = refused("--mode=evaluate", f"--workdir={workdir}", "--config.kl.weight=1")
    assert "--config.kl.weight=1.0: belongs to training" in told
    assert "eval.num_clips" in told
    assert "sample.clips" not in told
    assert "clips 0 to" in refused(
        "--mode=sample", f"--workdir={workdir}", "--config.sample.clips=99"
    )
    assert "--checkpoint=7" in refused("--mode=evaluate", f"--workdir={workdir}", "--checkpoint=7")
    assert {p: p.read_bytes() for p in workdir.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("def get_config(:\n", "SyntaxError"),
        ("import no_such_module\n", "line 1: ModuleNotFoundError: No module named"),
        ("\n\ndef get_config():\n    return no_such_name\n", "line 4: NameError"),
        ("config = 1\n", "get_config()"),
        ("def get_config():\n    return 1\n", "ConfigDict"),
        (None, "is a folder"),
    ],
)
def test_broken_config_files_are_named(tmp_path, content, told):
    path = tmp_path / "own.py"
    if content is None:
        path.mkdir()
    else:
        path.write_text(content)
    message = refused("--mode=train", f"--config={path}", f"--workdir={tmp_path / 'run'}")
    assert str(path) in message
    assert told in message
    assert message.count("\n") == 1


def test_unknown_field_is_told_with_the_nearest_one():
    for arguments in (["--mode=train", TINY], ["--mode=evaluate"]):
        message = refused(*arguments, "--workdir=x", "--config.model.wdith=3")
        assert "--config.model.wdith: no such field; did you mean --config.model.width?" in message
        assert message.count("\n") == 1


def test_a_run_without_checkpoints_is_not_evaluated(trained, tmp_path):
    shutil.copy(trained / "config.json", tmp_path)
    for mode in ("evaluate", "sample"):
        message = refused(f"--mode={mode}", f"--workdir={tmp_path}")
        assert "no checkpoint; run --mode=train" in message
    assert not (tmp_path / "evaluation").exists()


def test_a_run_that_never_saved_binds_nobody(trained, data, tmp_path):
    shutil.copy(trained / "config.json", tmp_path)
    other = "--config.kl.weight=0.5", "--config.train.num_steps=1"
    train(tmp_path, data, *other)
    assert run_folder.load(tmp_path)["config"]["kl"]["weight"] == 0.5
    message = refused("--mode=train", TINY, f"--workdir={tmp_path}", data)
    assert "--config.kl.weight: asked 0.0001, the run has 0.5" in message


def test_a_config_of_another_program_is_not_written_over(data, tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"name": "other"}')
    message = refused("--mode=train", TINY, f"--workdir={tmp_path}", data)
    assert f"{path}: not the config of a run" in message
    assert path.read_text() == '{"name": "other"}'


def test_a_damaged_config_is_not_written_over(trained, data, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(trained, workdir, ignore=shutil.ignore_patterns("evaluation"))
    path = workdir / "config.json"
    run = json.loads(path.read_text())
    del run["data"]["fingerprint"]
    path.write_text(json.dumps(run))
    for arguments in (["--mode=evaluate"], ["--mode=train", TINY, data]):
        assert "config.json: not the config of a run" in refused(*arguments, f"--workdir={workdir}")
    assert not (workdir / "evaluation").exists()


def test_a_checkpoint_is_all_that_is_needed_of_a_run(trained, data, tmp_path):
    for name in ("run", "copy"):
        shutil.copytree(trained / "checkpoints" / "4", tmp_path / name / "checkpoints" / "4")
    copy = f"--workdir={tmp_path / 'copy'}"
    message = refused("--mode=train", TINY, data, copy, "--config.kl.weight=0.5")
    assert "--config.kl.weight: asked 0.5, the run has 0.0001" in message
    assert not (tmp_path / "copy" / "config.json").exists()
    done("--mode=evaluate", copy)
    done("--mode=sample", copy)
    train(tmp_path / "run", data, "--config.train.num_steps=5")
    assert run_folder.load(tmp_path / "run")["config"]["train"]["num_steps"] == 5


def test_fewer_steps_than_are_done_change_nothing(trained, data, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(trained, workdir)
    before = (workdir / "config.json").read_text()
    assert "nothing left" in train(workdir, data, "--config.train.num_steps=2")
    assert (workdir / "config.json").read_text() == before


def test_a_schedule_over_the_run_keeps_its_length(data, tmp_path):
    cosine = "--config.optimizer.schedule=cosine"
    train(tmp_path / "run", data, cosine, "--config.train.num_steps=1")
    message = refused("--mode=train", TINY, f"--workdir={tmp_path / 'run'}", data, cosine)
    assert "train.num_steps: asked 4, but" in message
    assert "--config.optimizer.schedule=cosine" in message


def test_what_only_preparation_reads_may_change_in_a_run(trained, data, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    of_preparation = "path=/an/archive", "strict=True", "clip_length=29"
    train(tmp_path / "run", data, *(f"--config.data.{field}" for field in of_preparation))


def test_a_run_goes_on_with_its_maps_made_again(trained, data, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    more = "--config.train.num_steps=5", "--config.model.rematerialize=True"
    assert "going on after step 4" in train(tmp_path / "run", data, *more)


def test_data_of_another_fingerprint_are_refused(trained, tiny_data_dir, tmp_path):
    shutil.copytree(tiny_data_dir.dir, tmp_path / "data")
    statistics = next((tmp_path / "data").rglob("statistics.json"))
    fields = json.loads(statistics.read_text())
    statistics.write_text(json.dumps(fields | {"fingerprint": "0" * 64}))
    other = f"--config.data.dir={tmp_path / 'data'}"
    for arguments in (["--mode=train", TINY], ["--mode=evaluate"], ["--mode=sample"]):
        message = refused(*arguments, f"--workdir={trained}", other)
        assert f"{other}: holds data 000000000000" in message


def test_a_second_training_in_the_same_workdir_is_refused(data, tmp_path):
    workdir = tmp_path / "run"
    command = [sys.executable, str(ROOT / "main.py"), "--mode=train", TINY, data]
    command += [f"--workdir={workdir}", "--config.train.num_steps=1000000"]
    first = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 120
        while not (workdir / "config.json").exists():
            assert time.monotonic() < deadline
            assert first.poll() is None
            time.sleep(0.1)
        told = refused("--mode=train", TINY, data, f"--workdir={workdir}")
        assert told == (
            f"error: {workdir}: another process is at work there; wait for its end, or choose "
            "another --workdir\n"
        )
        assert first.poll() is None
    finally:
        first.kill()
        first.wait()
    with files.lock(workdir, ""):
        assert run_folder.load(workdir)["config"]["train"]["num_steps"] == 1_000_000


def test_places_that_cannot_be_written_are_named(trained, data, tmp_path):
    (tmp_path / "file").write_text("")
    message = refused("--mode=train", TINY, data, f"--workdir={tmp_path / 'file' / 'run'}")
    assert "file/run" in message
    for mode, name in (("evaluate", "evaluation"), ("sample", "samples")):
        workdir = tmp_path / mode
        shutil.copytree(trained, workdir, ignore=shutil.ignore_patterns(name))
        (workdir / name).write_text("")
        message = refused(f"--mode={mode}", f"--workdir={workdir}")
        assert str(workdir / name) in message


def test_a_disk_that_fills_up_ends_the_run_with_exit_code_2(data, small_disk):
    process = main("--mode=train", TINY, data, f"--workdir={small_disk / 'run'}")
    assert process.returncode == 2, process.stderr
    assert "Traceback" not in process.stderr
    told = [line for line in process.stderr.splitlines() if line.startswith("error: ")]
    assert len(told) == 1
    assert "free disk space" in told[0]


def test_more_clips_than_the_split_holds_are_refused(trained):
    message = refused("--mode=evaluate", f"--workdir={trained}", "--config.eval.num_clips=9")
    assert "--config.eval.num_clips=9: the test split holds 8 clips" in message


def test_batch_that_devices_cannot_share_is_refused(data, tmp_path):
    process = main("--mode=train", TINY, f"--workdir={tmp_path / 'run'}", data, devices=3)
    assert process.returncode == 2
    assert "multiple of the 3 devices" in process.stderr
    assert not (tmp_path / "run").exists()


def test_damaged_checkpoint_is_named(trained, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(trained, workdir)
    for path in (workdir / "checkpoints" / "4" / "state").rglob("*"):
        if path.is_file():
            path.write_bytes(b"nonsense")
    message = refused("--mode=evaluate", f"--workdir={workdir}", "--checkpoint=4")
    assert str(Path("checkpoints") / "4") in message
