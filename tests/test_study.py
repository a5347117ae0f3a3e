"""The study's arms, intervals and page. Nothing is trained."""

import copy
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmarks import study_page, study_plots, study_runs
from benchmarks.study_arms import ARMS, BASELINE, BASELINE_LABELS
from cvae_jax import config as config_lib
from cvae_jax import validation
from tests.command_line import parse

SETTING = study_runs.Setting(Path("runs/study"), "data", num_steps=60)
OTHERS = ARMS[1:]
STEPS, FRAMES = [15, 30, 45, 60], 10


def _config(arm):
    return config_lib.to_dict(study_runs.Run(SETTING, arm, 1).config)


@pytest.mark.parametrize("arm", OTHERS, ids=lambda arm: arm.name)
def test_arm_differs_from_the_baseline_in_the_fields_that_it_names(arm):
    lines = validation.differences(_config(arm), _config(ARMS[0]))
    assert {re.match(r"--config\.([\w.]+)", line)[1] for line in lines} == set(arm.changes)


@pytest.mark.parametrize("arm", ARMS, ids=lambda arm: arm.name)
def test_command_of_an_arm_makes_its_config(monkeypatch, arm):
    run = study_runs.Run(SETTING, arm, 1)
    parsed = parse(monkeypatch, "--mode=train", f"--workdir={run.workdir}", *run.flags)
    assert validation.from_config_dict(parsed.config) == run.config


def test_arms_have_names_of_their_own_and_the_questions_labels():
    assert ARMS[0].name == BASELINE
    assert not ARMS[0].changes
    assert len({arm.name for arm in ARMS}) == len(ARMS)
    assert {arm.question for arm in OTHERS} == BASELINE_LABELS.keys()


def test_schedules_scale_with_the_length_of_a_run():
    longer = study_runs.Run(SETTING._replace(num_steps=600), ARMS[0], 0).config
    assert longer.train.num_steps == 600
    assert longer.teacher_forcing.start_decay_step == 200
    assert longer.teacher_forcing.decay_steps == 200


def _results(num_seeds=3):
    random = np.random.default_rng(0)
    keys = [metric.key for metric in study_page.METRICS]
    curve = {"step": STEPS, "value": [0.1, 0.2, 0.3, 0.4]}
    runs = [
        {
            "arm": arm.name,
            "seed": seed,
            "seconds": 60.0,
            **dict(zip(keys, random.normal(20, 1, len(keys)).tolist(), strict=True)),
            "psnr_per_frame": random.normal(20, 1, FRAMES).tolist(),
            "copy_last_frame_psnr_per_frame": [21.0] * FRAMES,
            "curves": dict.fromkeys(study_runs.CURVES, curve),
        }
        for arm in ARMS
        for seed in range(num_seeds)
    ]
    return {
        "command": "python -m benchmarks.study",
        "machine": {
            "processor": "some CPU",
            "cores": 2,
            "python": "3.11.7",
            "packages": {"jax": "0.10.2"},
            "load_average_at_start": 0.1,
            "load_average_at_end": 2.0,
        },
        "jobs": 2,
        "runs_of_this_command": len(runs),
        "minutes_of_this_command": 40.0,
        "baseline": _config(ARMS[0]),
        "protocol": {
            **{"num_clips": 64, "split": "validation", "psnr": "dB", "num_samples": 1},
            **{"num_context_frames": 2, "num_predicted_frames": 10, "shuffled_actions": "others"},
        },
        "arms": [arm._asdict() for arm in ARMS],
        "runs": runs,
    }


def _of_two_arms(result):
    names = [arm["name"] for arm in result["arms"][:2]]
    runs = [run for run in result["runs"] if run["arm"] in names]
    return result | {"arms": result["arms"][:2], "runs": runs}


def _values(result, arm, key):
    return [run[key] for run in result["runs"] if run["arm"] == arm]


@pytest.mark.parametrize("num_seeds", [2, 3, 5])
def test_interval_is_that_of_students_t(num_seeds):
    values = np.random.default_rng(num_seeds).normal(20, 2, num_seeds).tolist()
    found = study_page.t_interval(values)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert found.mean - found.half == pytest.approx(expected.low)
    assert found.mean + found.half == pytest.approx(expected.high)


@pytest.mark.parametrize("key", ["psnr", "kl"])
def test_difference_pairs_the_seeds(key):
    result = _results()
    result["runs"].reverse()
    arm = OTHERS[0].name
    found = study_page.difference(result, arm, key)
    pairs = _values(result, arm, key), _values(result, BASELINE, key)
    expected = stats.ttest_rel(*pairs).confidence_interval(0.95)
    assert found.mean - found.half == pytest.approx(expected.low)
    assert found.mean + found.half == pytest.approx(expected.high)
    result["runs"].sort(key=lambda run: (run["arm"], run["seed"] * (-1) ** (run["arm"] == arm)))
    assert study_page.difference(result, arm, key) == pytest.approx(found)


def test_verdict_follows_the_interval():
    verdicts = {
        (0.5, 0.4): "higher",
        (-0.5, 0.4): "lower",
        (0.5, 0.6): "no difference at this size",
        (0.5, float("nan")): "no interval from one seed",
    }
    for (mean, half), expected in verdicts.items():
        assert study_page.Interval(mean, half).verdict == expected


def test_table_of_the_page_holds_means_and_intervals():
    result = _results()
    (row,) = re.findall(r"^\| Prior: learned \| (\d.*) \|$", study_page.page(result), re.MULTILINE)
    values = _values(result, "prior_learned", "psnr")
    half = stats.sem(values) * stats.t.ppf(0.975, 2)
    assert row.split(" | ")[0] == f"{np.mean(values):.2f} ± {half:.2f}"


def test_sentence_tells_what_differs_and_what_does_not():
    result = _results()
    for run in result["runs"]:
        noise = 0.01 * run["seed"] * (-1) ** run["seed"]
        run |= dict.fromkeys((metric.key for metric in study_page.METRICS), 20.0)
        if run["arm"] == "forcing_always":
            run |= {"psnr": 18.5 + noise, "kl": 20.0 + noise}
    (line,) = re.findall(r"^- \*always\*: (.*)$", study_page.page(result), re.MULTILINE)
    assert line.startswith("PSNR lower by 1.50 dB (")
    assert "KL" in line.split("; ")[-1]
    assert line.endswith(": no difference at this size.")


def test_page_and_plots_follow_from_the_results_alone(tmp_path):
    result = _of_two_arms(_results())
    written = []
    for name in ("one", "two"):
        study_page.write(tmp_path / name, copy.deepcopy(result))
        files = sorted((tmp_path / name).iterdir())
        written.append({file.name: file.read_bytes() for file in files})
    assert written[0] == written[1]
    images = re.findall(r"!\[.*\]\((.*)\)", written[0]["study.md"].decode())
    assert {*images, "study.md"} == written[0].keys()
    assert study_plots.DIFFERENCES in images
    result["runs"][0]["psnr"] += 1
    assert study_page.page(result).encode() != written[0]["study.md"]


def test_page_of_one_seed_and_one_arm_has_no_intervals():
    text = study_page.page(_of_two_arms(_results(num_seeds=1)))
    assert "no interval from one seed" in text
    assert "Nothing: this is a part of the study" in text
    assert "nan" not in text
