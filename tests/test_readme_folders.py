"""The README's sections on a user's own folders, and docs/adding_data.md, run on small data."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from cvae_jax.data import robonet, sources
from tests.command_line import ROOT, shown
from tests.data import recordings

README = (ROOT / "README.md").read_text()
DOCS = (ROOT / "docs/adding_data.md").read_text()
TRAIN = (  # direct output compiles in half of the time
    "model.output=direct model.predictor=mlp "
    "model.width=4 model.z_dim=4 model.g_dim=8 model.predictor_width=8 model.predictor_depth=1 "
    "train.batch_size=4 "
    "train.num_steps=2 train.num_validation_clips=2 data.num_predicted_frames=3 "
    "optimizer.schedule=constant optimizer.warmup_steps=0"
)
SMALL = {
    "train": TRAIN,
    "evaluate": "eval.num_clips=2 eval.num_predicted_frames=3 eval.batch_size=4",
    "sample": "eval.num_predicted_frames=3 sample.clips=0,1 sample.num_samples=1",
}
PROGRAM = """
import json, sys
from absl import flags
from cvae_jax import cli
for arguments in json.loads(sys.argv[1]):
    code = cli.main(["main.py", *arguments], flags.FlagValues())
    if code:
        sys.exit(code)
"""
"""Commands of main.py one after another."""


def _section(text, title):
    return re.search(rf"^##+ {title}\n.*?(?=^##)", text, re.MULTILINE | re.DOTALL)[0]


def _run(root, commands, *more):
    adapted = []
    for arguments in commands:
        mode = arguments[0].removeprefix("--mode=")
        words = [word.replace("/downloads/", f"{root}/") for word in arguments]
        shown_here = {word.split("=")[0] for word in words}
        small = [f"--config.{setting}" for setting in SMALL.get(mode, "").split()]
        small = [setting for setting in small if setting.split("=")[0] not in shown_here]
        set_here = {setting.split("=")[0] for setting in more}
        words = [word for word in words if word.split("=")[0] not in set_here]
        adapted.append(words + small + [m for m in more if mode == "train"])
    several_in_one = {"JAX_NUM_CPU_DEVICES": "1"}  # the number is settled by the first command
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(adapted)],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | several_in_one,
        capture_output=True,
        text=True,
        timeout=900,
    )


def _done(root, commands, *more):
    process = _run(root, commands, *more)
    assert process.returncode == 0, process.stderr
    return process.stdout


@pytest.fixture
def user(tmp_path):
    """Where a user of the README works."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    return tmp_path


def _train_goes_on(user, commands, *more):
    (train,) = [words for words in commands if words[0] == "--mode=train"]
    told = _done(
        user, [train], *more, "--config.train.num_steps=3", "--config.kl.schedule=constant"
    )
    assert "going on after step 2" in told


def _evaluation(workdir):
    return json.loads((workdir / "evaluation/latest.json").read_text())


def test_the_labs_folders(user):
    recordings.write_lab(user / "lab")
    commands = list(shown(_section(README, "The lab's folders")))
    assert [words[0] for words in commands] == [
        f"--mode={mode}" for mode in ("prepare", "train", "evaluate", "sample")
    ]
    told = _done(user, commands)
    assert "prepared lab in data/lab/1.0.0 (4 train, 4 validation, 4 test clips" in told
    protocol = _evaluation(user / "runs/lab")["protocol"]
    assert (protocol["source"], protocol["camera"]) == ("lab", "image_aux1")
    assert (user / "runs/lab/samples/clip_001.gif").exists()
    _train_goes_on(user, commands)
    _evaluated_on_other_clips(user, commands)


def _evaluated_on_other_clips(user, commands):
    """Another folder of the lab, normalised with the statistics of the run's own."""
    shutil.rmtree(user / "lab/push/test/traj_0_to_7")
    place = "--config.data.dir=other"
    _done(user, [[*commands[0], place], ["--mode=evaluate", "--workdir=runs/lab", place]])
    protocol = _evaluation(user / "runs/lab")["protocol"]
    assert protocol["data_fingerprint"] != protocol["trained_on"]["data_fingerprint"]


@pytest.mark.parametrize(
    ("action_dim", "position_dim", "condition"),
    [(6, 2, "action_position"), (2, 0, "action"), (0, 0, "none")],
)
def test_own_videos(user, action_dim, position_dim, condition):
    dims = {"action_dim": action_dim, "position_dim": position_dim}
    recordings.write_videos(user / "videos", num_videos=24, **dims)
    prepare, *rest = shown(_section(README, "Your own videos"))
    told = _done(user, [prepare])
    assert "found 24 videos of 13 to 25 frames" in told
    assert f"{action_dim} action and {position_dim} position columns" in told
    if condition != "action_position":
        lacks, remedy = ("positions", "action") if action_dim else ("actions", "none")
        process = _run(user, rest[:1])
        assert process.returncode == 2
        assert f"condition=action_position: folder in data/videos has no {lacks}" in process.stderr
        assert f"set --config.model.condition={remedy}" in process.stderr
        assert process.stderr.count("\n") == 1
        assert not (user / "runs").exists()
    chosen = f"--config.model.condition={condition}", "--config.train.num_validation_clips=999"
    told = _done(user, rest, *chosen)
    assert re.search(r"runs/videos: validates on \d+ clips, all there are, not 999", told)
    result = _evaluation(user / "runs/videos")
    assert result["protocol"]["condition"] == condition
    assert ("shuffled_actions" in result) == (condition != "none")
    assert ("left out" in result["protocol"]["shuffled_actions"]) == (condition == "none")
    if condition == "action_position":
        _train_goes_on(user, rest, *chosen)
    _done(user, [["--mode=report", "--workdir=runs/videos"]])
    report = (user / "runs/videos/report.html").read_text()
    assert ("Model, another clip’s actions" in report) == (condition != "none")


def test_the_example_of_docs_is_what_is_there_and_runs(user):
    folder = user / "tensorflow_datasets/robonet/robonet_sample_64/4.0.1"
    recordings.write_robonet(folder, num_episodes=24, length=31)
    commands = list(shown(_section(DOCS, "A data set of TFDS with actions")))
    told = _done(user, commands)
    assert "(20 train, 2 validation, 2 test clips of 30 frames)" in told
    workdir = "--workdir=runs/robonet"
    _done(user, [["--mode=evaluate", workdir], ["--mode=sample", workdir]])
    assert _evaluation(user / "runs/robonet")["protocol"]["source"] == "robonet"
    python = re.findall(r"^```python\n(.*?)^```", DOCS, re.MULTILINE | re.DOTALL)
    code, line = python[:2]
    assert code in (ROOT / "cvae_jax/data/robonet.py").read_text()
    (name,) = eval("{" + line + "}", {"Source": sources.Source})
    assert eval("{" + line + "}", {"Source": sources.Source})[name] == sources.SOURCES[name]
    assert sources.load(sources.SOURCES[name].reader) is robonet.open_reader
