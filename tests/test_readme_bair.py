"""The README's section on BAIR, command by command, on an archive of its layout with few clips."""

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from cvae_jax import config, run_folder
from cvae_jax.data import bair, pipeline
from tests.command_line import ROOT, shown
from tests.data import bair_files
from tests.run_main import SHARED_OUT

README = (ROOT / "README.md").read_text()
SECTION = re.search(r"^### BAIR.*?(?=^##)", README, re.MULTILINE | re.DOTALL)[0]
SMALL = {
    "train": "model.width=4 model.z_dim=4 model.g_dim=8 model.predictor_width=8 train.batch_size=4 "
    "train.num_steps=2 train.num_validation_clips=4 data.num_predicted_frames=3",
    "evaluate": "eval.num_clips=3 eval.num_predicted_frames=3 eval.batch_size=4",
    "sample": "eval.num_predicted_frames=3 sample.clips=0,2 sample.num_samples=1",
}

PROGRAM = """
import dataclasses, json, sys
from absl import flags
from cvae_jax import cli
from cvae_jax.data import sources
name = "bair_robot_pushing_small"
splits = {"train": "train[4:]", "validation": "train[:4]", "test": "test"}
sources.SOURCES[name] = dataclasses.replace(sources.SOURCES[name], splits=splits)
for arguments in json.loads(sys.argv[1]):
    code = cli.main(["main.py", *arguments], flags.FlagValues())
    if code:
        sys.exit(code)
"""
"""Commands of main.py one after another, with 4 validation clips in place of 256."""


def _run(root, *commands):
    adapted = []
    for arguments in commands:
        words = [
            word.replace("/big/disk", f"{root}/disk").replace("/downloads/", f"{root}/")
            for word in arguments
        ]
        small = SMALL.get(arguments[0].removeprefix("--mode="), "").split()
        adapted.append(words + [f"--config.{setting}" for setting in small])
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(adapted)],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": SHARED_OUT},
        capture_output=True,
        text=True,
        timeout=300,
    )


def _evaluation(root):
    return json.loads((root / "runs/bair/evaluation/latest.json").read_text())


@pytest.fixture(scope="module")
def user(tmp_path_factory):
    """Where a user of the README works, with what such a user would have."""
    root = tmp_path_factory.mktemp("readme")
    folder = bair_files.folder(root)
    test_file = folder / "test" / bair.TEST_FILE  # its real name, which decides the order of clips
    (folder / "test" / "traj_0_to_2.tfrecords").rename(test_file)
    bair_files.tar(root / "bair_robot_pushing_dataset_v0.tar", folder)
    shutil.copytree(ROOT / "configs", root / "configs")
    fetched = root / "data" / "downloads" / "bair_test_traj_0_to_255.tfrecords"
    fetched.parent.mkdir(parents=True)
    shutil.copy(test_file, fetched)
    return root


@pytest.fixture(scope="module")
def results(user):
    """Runs the section's commands; its two evaluations."""
    commands = list(shown(SECTION))
    modes = [arguments[0].removeprefix("--mode=") for arguments in commands]
    assert modes == ["prepare", "prepare", "train", "evaluate", "sample", "prepare", "evaluate"]
    found = []
    for part in (commands[:4], commands[4:]):
        process = _run(user, *part)
        assert process.returncode == 0, process.stderr
        found.append(_evaluation(user))
    return found


def test_protocol_names_source_camera_and_fingerprint(results, user):
    whole, alone = (result["protocol"] for result in results)
    assert (whole["source"], alone["source"]) == ("bair_robot_pushing_small", "bair_test_256")
    assert whole["camera"] == alone["camera"] == "image_aux1"
    assert whole["data_fingerprint"] != alone["data_fingerprint"]
    for protocol in (whole, alone):
        assert protocol["trained_on"] == {
            "source": "bair_robot_pushing_small",
            "camera": "image_aux1",
            "data_fingerprint": whole["data_fingerprint"],
        }


def test_test_clips_alone_give_the_figures_of_the_whole_data_set(results):
    """The same clips in the same order, normalised with the run's statistics, not their own."""
    whole, alone = results
    for section in ("model", "copy_last_frame"):
        assert whole[section] == alone[section]
    # Without training clips there is no mean motion, hence another program, which rounds otherwise.
    for name, figure in whole["shuffled_actions"].items():
        np.testing.assert_allclose(alone["shuffled_actions"][name], figure, atol=1e-5)
    np.testing.assert_allclose(alone["kl_per_frame"], whole["kl_per_frame"], rtol=1e-5)


def test_other_data_are_normalised_as_the_run_was_trained(results, user):
    run = run_folder.load(user / "runs/bair")
    own = run_folder.statistics_of(run)
    data = config.DataConfig(source="bair_test_256", dir=str(user / "data"), camera="image_aux1")
    asked = config.Config(data=data)
    source = run_folder.open_clips(run, asked)
    batch = pipeline.read_clips(source, [1], num_frames=30)
    clip = source.read(1)
    np.testing.assert_array_equal(batch.action[0], (clip.action - own.action_mean) / own.action_std)
    assert not np.allclose(own.action_mean, source.statistics.action_mean)


def test_the_other_camera_is_another_protocol(results, user):
    evaluate = ["--mode=evaluate", "--workdir=runs/bair", "--config.data.camera=image_main"]
    process = _run(user, evaluate)
    assert process.returncode == 0, process.stderr
    result = _evaluation(user)
    assert result["protocol"]["camera"] == "image_main"
    assert result["protocol"]["trained_on"]["camera"] == "image_aux1"
    assert result["copy_last_frame"] != results[0]["copy_last_frame"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            "--mode=train --config=configs/bair.py --workdir=runs/other "
            "--config.data.source=bair_test_256",
            "split=train: bair_test_256 has test alone",
        ),
        (
            "--mode=evaluate --workdir=runs/bair --config.data.source=bair_test_256 "
            "--config.data.dir=data --config.eval.split=validation",
            "split=validation: bair_test_256 has test alone",
        ),
    ],
)
def test_what_the_test_clips_are_not_for_is_refused(results, user, arguments, told):
    process = _run(user, arguments.split())
    assert process.returncode == 2
    assert told in process.stderr
    assert process.stderr.count("\n") == 1
    assert not (user / "runs/other").exists()
