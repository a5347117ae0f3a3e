"""The page says what the files say, needs nothing but itself, and trusts nothing."""

import base64
import hashlib
import re
import shutil
from html.parser import HTMLParser
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cvae_jax.errors import UserError
from cvae_jax.files import read_json, write_json
from cvae_jax.report import write_report
from cvae_jax.report.charts import latent, per_frame, training
from cvae_jax.report.drawing import Chart, Line, draw, running_mean
from cvae_jax.report.runs import read_run, read_runs
from cvae_jax.run_folder import SHIPPED
from tests.run_fixtures import (
    CONFIG,
    write_config,
    write_evaluation,
    write_metrics,
    write_run,
    write_samples,
)


class _Page(HTMLParser):
    """A page taken apart: its text, its tags with their attributes, the cells of its tables."""

    def __init__(self, path: Path):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not {"style", "script", "title"} & set(self.open):
            self.words.append(data)
        if {"th", "td"} & set(self.open) and data.strip():
            separator = " | " if "small" in self.open else ""
            self.rows[-1][-1] += separator + data.strip()

    def attributes(self, name: str) -> list[str]:
        return [attributes[name] or "" for _, attributes in self.tags if name in attributes]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "demo")


@pytest.fixture(scope="module")
def page(run: Path) -> _Page:
    return _Page(write_report([run]))


def test_results_are_those_of_the_evaluation(page: _Page) -> None:
    assert ["Model", "25.75 | 25.50 to 26.00", "18.00", "0.912"] in page.rows
    assert ["Model, median clip", "25.40", "–", "–"] in page.rows
    assert ["Model, best of 100 samples", "29.00", "–", "–"] in page.rows
    assert ["Copy last frame", "21.95 | 21.70 to 22.20", "16.00", "0.912"] in page.rows
    assert ["Gain over copying", "+3.80", "+2.00", "+0.000"] in page.rows
    assert ["Model, another clip’s actions", "22.00", "–", "–"] in page.rows
    assert ["Mean motion of the data", "22.50", "–", "–"] in page.rows
    assert not any(row[:1] == ["Model, actions set to zero"] for row in page.rows)
    assert ["reconstruction from the posterior, PSNR (dB)", "26.50 (26.10 to 26.90)"] in page.rows
    assert ["that above prediction from the prior (dB)", "0.00 (−0.01 to 0.01)"] in page.rows
    assert ["active dimensions", "3"] in page.rows
    assert "25.8 dB PSNR, 3.8 dB above repeating the last context frame" in page.text
    assert "above it at every one of the 10 frames" in page.text
    assert "PSNR falls by 3.8 dB" in page.text


def test_says_what_was_run(page: _Page) -> None:
    for row in (
        ["kl.schedule", "cyclical"],
        ["jax", "0.10.2"],
        ["fingerprint", "sha256:9f2c41"],
        ["split", "test"],
        ["num_clips", "32"],
        ["checkpoint_step", "60"],
    ):
        assert row in page.rows


def test_curves_are_in_the_page_and_beside_it(run: Path, page: _Page) -> None:
    names = [
        *("mse", "kl", "kl_weight", "teacher_forcing_ratio", "learning_rate", "validation_psnr"),
        *("psnr_per_frame", "ssim_per_frame", "kl_per_frame", "kl_per_dimension"),
    ]
    assert sorted(path.stem for path in (run / "curves").iterdir()) == sorted(names)
    for path in (run / "curves").iterdir():
        with Image.open(path) as image:
            assert image.format == "PNG"
            assert np.asarray(image.convert("L")).std() > 5
    assert sum(attributes.get("role") == "img" for _, attributes in page.tags) == len(names)


def test_page_needs_nothing_but_itself(page: _Page) -> None:
    addresses = [page.attributes(name) for name in ("src", "href", "srcset", "data", "poster")]
    for address in chain.from_iterable(addresses):
        assert address.startswith(("data:", "#")), address[:80]
    assert not {"link", "iframe"} & {
        tag for tag, attributes in page.tags if attributes.get("href") != "data:,"
    }
    assert not re.search(r"url\((?!#)|@import|https?://", page.source)


def test_page_allows_its_own_script_alone(page: _Page) -> None:
    (policy,) = [a["content"] for t, a in page.tags if a.get("http-equiv")]
    scripts = re.findall(r"<script>(.*?)</script>", page.source, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    assert [f"'sha256-{digest}'" for digest in digests] == re.findall(r"'sha256-.*?'", policy)
    assert policy.startswith("default-src 'none'; img-src data:; ")
    kinds = [attributes.get("type") for tag, attributes in page.tags if tag == "script"]
    assert kinds == ["application/json"] * (10 + 3) + [None]  # charts, clips, and the script itself


def test_links_within_the_page_lead_somewhere_and_ids_are_unique(page: _Page) -> None:
    ids = page.attributes("id")
    anchors = [address[1:] for address in page.attributes("href") if address.startswith("#")]
    assert {"results", "learning", "samples", "settings"} <= set(anchors) <= set(ids)
    named = [name for name in ids if not re.fullmatch(r"[mp][0-9a-f]{10}", name)]
    assert len(set(named)) == len(named)  # those of matplotlib's markers are made of their content


def test_pictures_can_be_read_aloud(page: _Page) -> None:
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 2 + 3  # moving and still overview, and three clips
    assert all(attributes["alt"] for attributes in images)


HOSTILE = "</table><script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;$x^$"


def test_what_a_run_says_is_text_and_never_markup(tmp_path: Path) -> None:
    name = HOSTILE.replace("/", "")
    workdir, other = tmp_path / name, tmp_path / "_other"
    for folder in (workdir, other):
        config = {"seed": HOSTILE, HOSTILE: {HOSTILE: [HOSTILE]}, "folder": folder.name}
        write_config(folder, config)
        write_metrics(folder)
        write_evaluation(folder, name=HOSTILE)
    for workdirs in ([workdir], [workdir, other]):
        path = write_report(workdirs)
        page = _Page(path)
        assert ["seed"] + [HOSTILE] * len(workdirs) in page.rows
        assert name in page.text
        assert "img" not in {tag for tag, _ in page.tags}
        assert [a for tag, a in page.tags if tag == "script" and not a] == [{}]
        assert not page.attributes("onerror")


def test_missing_parts_name_the_command_that_makes_them(tmp_path: Path) -> None:
    workdir = tmp_path / "my run"
    write_config(workdir)
    page = _Page(write_report([workdir]))
    for mode in ("evaluate", "sample"):
        assert f"python main.py --mode={mode} --workdir='{workdir}'" in page.text
    assert "Nothing logged yet. The command that trains this run makes it" in page.text
    assert "--mode=train" not in page.text  # with which config is not known here
    write_metrics(workdir)
    write_evaluation(workdir)
    write_samples(workdir)
    page = _Page(write_report([workdir]))
    for mode in ("train", "evaluate", "sample"):
        assert f"--mode={mode}" not in page.text


def test_metrics_alone_make_a_page(tmp_path: Path) -> None:
    write_metrics(tmp_path)
    assert "There is no config.json" in _Page(write_report([tmp_path])).text


def test_a_partial_evaluation_shows_dashes(tmp_path: Path) -> None:
    write_config(tmp_path)
    value = {"model": {"psnr_mean": 25.0, "psnr_per_frame": [None, 25.0], "ssim_mean": None}}
    write_json(tmp_path / "evaluation" / "latest.json", value)
    assert ["Model", "25.00", "–", "–"] in _Page(write_report([tmp_path])).rows


def test_a_model_below_the_baseline_is_said_to_be(tmp_path: Path) -> None:
    write_config(tmp_path)
    model = {"psnr_mean": 20.0, "psnr_per_frame": [22.0, 18.0]}
    copy = {"psnr_mean": 21.0, "psnr_per_frame": [21.0, 21.0]}
    value = {"model": model, "copy_last_frame": copy, "shuffled_actions": {"psnr_mean": 20.5}}
    write_json(tmp_path / "evaluation" / "latest.json", value)
    page = _Page(write_report([tmp_path]))
    assert "1.0 dB below repeating the last context frame" in page.text
    assert "above it at 1 of the 2 frames" in page.text
    assert "rises by 0.5 dB" in page.text
    assert any(row[:2] == ["Gain over copying", "−1.00"] for row in page.rows)


def test_several_runs_are_compared(run: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "other", psnr=29.0)
    write_config(other, CONFIG | {"kl": {"weight": 0.01, "schedule": "cyclical"}})
    before = write_report([run]).read_text()
    path = write_report([run, other])
    page = _Page(path)
    assert path == run / "comparison.html"
    assert (run / "report.html").read_text() == before
    assert (run / "comparison_curves" / "mse.png").exists()
    assert ["kl.weight≠", "0.0001", "0.01"] in page.rows
    assert ["kl.schedule", "cyclical", "cyclical"] in page.rows
    assert {"25.75 | 25.50 to 26.00", "26.75 | 26.50 to 27.00"} <= set(
        chain.from_iterable(page.rows)
    )
    assert "not comparable" not in page.text


def test_different_protocols_are_not_comparable(run: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "other", num_predicted_frames=28)
    page = _Page(write_report([run, other]))
    assert "not comparable" in page.text
    assert "num_predicted_frames" in page.text


def test_runs_of_other_seeds_and_conditions_are_comparable(run: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "other, again")
    path = other / "evaluation" / "latest.json"
    value = read_json(path)
    trained_on = {"source": "bair_robot_pushing_small"}
    value["protocol"] |= {"seed": 1, "condition": "none", "trained_on": trained_on}
    write_json(path, value)
    page = _Page(write_report([run, other]))
    assert ["seed≠", "–", "1"] in page.rows
    assert "not comparable" not in page.text
    assert f"--mode=report --workdir='{run},{other}'" in page.text


def test_a_run_that_is_not_evaluated_makes_no_figures_incomparable(
    run: Path, tmp_path: Path
) -> None:
    write_config(tmp_path / "other")
    page = _Page(write_report([run, tmp_path / "other"]))
    assert "Not evaluated yet" in page.text
    assert "not comparable" not in page.text


def test_the_model_of_the_project_is_not_to_be_trained(tmp_path: Path) -> None:
    write_config(tmp_path)
    path = tmp_path / "config.json"
    write_json(path, read_json(path) | {SHIPPED: "digest"})
    page = _Page(write_report([tmp_path]))
    assert "comes with the project" in page.text
    assert "--mode=train" not in page.text


def test_runs_whose_folders_share_a_name_are_told_apart(tmp_path: Path) -> None:
    workdirs = [tmp_path / "a" / "demo", tmp_path / "b" / "demo"]
    for workdir in workdirs:
        write_config(workdir)
    assert [run.name for run in read_runs(workdirs)] == [str(workdir) for workdir in workdirs]


def test_curves_hold_the_logged_points(run: Path) -> None:
    charts = {chart.name: chart for chart in training([read_run(run, "demo")])}
    mse = charts["mse"].lines[0]
    np.testing.assert_array_equal(mse.x, np.arange(1, 61))
    assert np.isnan(mse.y[6])
    assert mse.y[59] == pytest.approx(0.1 / 60)
    model, baseline = charts["validation_psnr"].lines
    assert (model.label, baseline.label) == ("demo", "copy last frame")
    assert list(model.y) == [21, 22, 23]
    assert list(baseline.y) == [21, 21, 21]


def test_equal_baselines_of_several_runs_are_drawn_once(run: Path) -> None:
    charts = {c.name: c for c in training([read_run(run, "one"), read_run(run, "two")])}
    labels = [line.label for line in charts["validation_psnr"].lines]
    assert labels == ["one", "two", "copy last frame"]


def test_courses_over_frames_have_their_bands_and_their_best_of_many(run: Path) -> None:
    chart, *_ = per_frame([read_run(run, "demo")])
    mine, best, copied, moved = chart.lines
    assert [line.label for line in chart.lines] == [
        *("demo", "demo, best of 100", "copy last frame", "mean motion")
    ]
    np.testing.assert_allclose(mine.band, [mine.y - 0.3, mine.y + 0.3])
    assert (best.series, best.band) == (0, None)
    np.testing.assert_array_equal(best.y, mine.y + 1)
    assert len({line.dashes for line in (mine, best, copied, moved)}) == 4
    for said in ("Dotted: the best", "Dashed grey: ", "Dash-dotted grey: ", "Shaded: 95 %"):
        assert said in chart.caption


def test_dimensions_of_the_latent_are_in_the_order_of_their_kl(run: Path) -> None:
    (chart,) = latent([read_run(run, "demo")])
    (line,) = chart.lines
    assert (list(line.x), list(line.y)) == ([1, 2, 3], [0.5, 0.2, 0.1])


def test_a_metric_of_which_low_is_good_gains_by_falling(tmp_path: Path) -> None:
    write_config(tmp_path)
    value = {
        "model": {"lpips_mean": 0.1, "lpips_median": 0.05, "fvd_i3d_jax": 90.0},
        "copy_last_frame": {"lpips_mean": 0.3, "fvd_i3d_jax": 300.0},
    }
    write_json(tmp_path / "evaluation" / "latest.json", value)
    page = _Page(write_report([tmp_path]))
    assert ["Model", "–", "–", "–", "0.100", "90.0"] in page.rows
    assert ["Model, median clip", "–", "–", "–", "0.050", "–"] in page.rows
    assert ["Gain over copying", "–", "–", "–", "+0.200", "+210.0"] in page.rows


def test_damaged_samples_are_the_users_mistake(tmp_path: Path) -> None:
    write_config(tmp_path)
    write_samples(tmp_path)
    described = tmp_path / "samples" / "samples.json"
    whole = described.read_text()
    for damage in (('"clip": 7', '"clip": 8'), ('"num_frames": 4', '"num_frames": []'), ("[", "")):
        described.write_text(whole.replace(*damage, 1))
        with pytest.raises(UserError, match=r"samples.*run --mode=sample again"):
            write_report([tmp_path])


def test_several_runs_show_clips_that_all_of_them_have(tmp_path: Path) -> None:
    workdirs = [tmp_path / "one", tmp_path / "two"]
    for workdir, extra in zip(workdirs, ([4, 9, 5, 6], [8, 9]), strict=True):
        write_config(workdir)
        write_samples(workdir)
        described = workdir / "samples" / "samples.json"
        value = read_json(described)
        for clip in extra:
            value["clips"].insert(0, value["clips"][-3] | {"clip": clip, "psnr_mean": None})
            shutil.copy(
                workdir / "samples/clip_000_sheet.png",
                described.parent / f"clip_{clip:03}_sheet.png",
            )
        write_json(described, value)
    shown = re.findall(r"<h4>(Clip \d+)", write_report(workdirs).read_text())
    assert shown == ["Clip 7", "Clip 3", "Clip 9", "Clip 0"] * 2


def test_running_mean_is_a_mean_of_what_is_known() -> None:
    values = np.array([1.0, 2.0, np.nan, 4.0, 5.0])
    np.testing.assert_allclose(running_mean(values, 3), [1.5, 1.5, 3.0, 4.5, 4.5])
    np.testing.assert_allclose(running_mean(values, 1), values)
    assert running_mean(np.full(3, np.nan), 99).shape == (3,)


def test_a_charts_colours_are_those_of_its_page() -> None:
    x = np.arange(5.0)
    lines = [Line("model", x, x), Line("copy last frame", x, x / 2, series=None)]
    _, svg = draw(Chart("name", "Title", "Caption", "step", "y", lines))
    assert "var(--series-1" in svg
    assert "var(--muted" in svg
    painted = re.sub(r"var\(--[\w-]+, #\w+\)", "", svg)
    assert set(re.findall(r"(?:fill|stroke): (#\w+)", painted)) == set()
    assert "http" not in svg


def test_no_run_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no run.*--mode=train"):
        write_report([tmp_path])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["[]", '{"config": 3}', '{"config"', "null"])
def test_a_damaged_config_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=r"config\.json: .*--mode=train"):
        write_report([tmp_path])
