"""The page in a real Chromium: it works by keyboard and pointer, alone, and wherever it is shown.

Needs Chromium and its driver, as by `apt-get install chromium chromium-driver`; skipped otherwise.
"""

import base64
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from cvae_jax import sheet
from cvae_jax.report import write_report
from tests.run_fixtures import CONFIG, clips, write_config, write_run

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--hide-scrollbars",
)
HOSTILE = "<script>alert(1)<img src=x onerror=alert(2)>"  # a folder's name, so without a slash


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("Chromium is not installed: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options, webdriver.ChromeService(driver))
    started.set_page_load_timeout(60)
    yield started
    started.quit()


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report([write_run(tmp_path_factory.mktemp("runs") / "demo")])


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    workdirs = [write_run(folder / HOSTILE), write_run(folder / "other", psnr=29.0)]
    write_config(workdirs[1], CONFIG | {"seed": HOSTILE})
    samples = folder / HOSTILE / "samples" / "samples.json"
    samples.write_text(samples.read_text().replace('"truth"', '"</script><script>alert(3)<"'))
    return write_report(workdirs)


def _open(browser: webdriver.Chrome, page: Path, width: int = 1200, **media: str) -> None:
    """Opens a page in a window of some width, under media features such as a dark scheme."""
    features = [{"name": name.replace("_", "-"), "value": media[name]} for name in media]
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": features})
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get("about:blank")
    for log in ("browser", "performance"):  # what came before is no matter
        browser.get_log(log)
    browser.get(page.as_uri())
    WebDriverWait(browser, 60).until(
        lambda _: len(_all(browser, ".player.is-live")) == len(_all(browser, ".player"))
    )


def _all(browser: webdriver.Chrome, selector: str) -> list[WebElement]:
    return browser.find_elements(By.CSS_SELECTOR, selector)


def _chart(browser: webdriver.Chrome, title: str) -> WebElement:
    path = f"//figure[h3='{title}']//*[@role='slider']"
    return browser.find_element(By.XPATH, path)


def _domain(chart: WebElement) -> tuple[float, float]:
    low, high = (chart.get_attribute(f"aria-value{end}") for end in ("min", "max"))
    return float(low or "nan"), float(high or "nan")


def _value(element: WebElement) -> str:
    return element.get_attribute("aria-valuetext") or ""


@pytest.mark.parametrize("page", ["single", "several"])
def test_opens_without_a_complaint_or_a_request(
    browser: webdriver.Chrome, page: str, request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue(page)
    _open(browser, path)
    assert browser.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    addresses = [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]
    assert path.as_uri() in addresses
    assert all(url == path.as_uri() or url.startswith("data:") for url in addresses)


def test_what_a_run_is_called_is_shown_and_not_run(
    browser: webdriver.Chrome, several: Path
) -> None:
    _open(browser, several)  # an alert would make every later command fail
    assert HOSTILE in browser.find_element(By.TAG_NAME, "h1").text
    _chart(browser, "Validation PSNR").send_keys(Keys.ARROW_RIGHT)
    assert f"{HOSTILE} 21; other 21" in _value(_chart(browser, "Validation PSNR"))
    scripts = "return [...document.scripts].filter((one) => !one.type).length"
    assert browser.execute_script(scripts) == 1


def test_page_may_not_ask_the_network_for_anything(browser: webdriver.Chrome, single: Path) -> None:
    _open(browser, single)
    refused = browser.execute_async_script("""
        const done = arguments[0], refused = [];
        document.addEventListener("securitypolicyviolation", (event) => {
          refused.push(event.effectiveDirective);
          if (refused.length === 2) done(refused.sort());
        });
        fetch("https://example.org").catch(() => {});
        new Image().src = "https://example.org/picture.png";
    """)
    assert refused == ["connect-src", "img-src"]


def test_arrow_keys_read_a_curve_point_by_point(browser: webdriver.Chrome, single: Path) -> None:
    _open(browser, single)
    mse = _chart(browser, "Reconstruction error")
    mse.send_keys(Keys.HOME)
    assert _value(mse) == "step 1; demo 0.1"
    mse.send_keys(Keys.ARROW_RIGHT * 6)
    assert _value(mse) == "step 7; demo –"  # logged as not finite
    mse.send_keys(Keys.END, Keys.ARROW_LEFT * 10)
    assert _value(mse) == "step 50; demo 0.002"
    psnr = _chart(browser, "Validation PSNR")  # the same step on every chart, or the nearest
    assert _value(psnr) == "step 40; demo 22; copy last frame 21"
    assert "demo 22" in psnr.find_element(By.XPATH, "../*[@class='readout']").text
    frames = _chart(browser, "PSNR by frame")
    frames.send_keys(Keys.END)
    assert "predicted frame 10; demo 23.5 (23.2 to 23.8); demo, best" in _value(frames)


def test_zooming_one_chart_zooms_its_section(browser: webdriver.Chrome, single: Path) -> None:
    _open(browser, single)
    section = ["Reconstruction error", "Validation PSNR", "Learning rate"]
    charts = [_chart(browser, title) for title in section]
    charts[0].send_keys("+")
    assert {_domain(chart) for chart in charts} == {(15.75, 45.25)}
    assert _domain(_chart(browser, "PSNR by frame")) == (1, 10)
    charts[1].send_keys("0")
    assert {_domain(chart) for chart in charts} == {(1, 60)}
    width = charts[0].size["width"]
    drag = ActionChains(browser).move_to_element(charts[0]).click_and_hold()
    drag.move_by_offset(int(width / 4), 0).release().perform()
    low, high = _domain(charts[2])
    assert 20 < low < 30 < high < 50
    assert high - low == pytest.approx(59 * (1 / 4) / (282 / 360), abs=1)  # a chart has margins
    ActionChains(browser).double_click(charts[0]).perform()
    assert _domain(charts[2]) == (1, 60)
    zoom_in, zoom_out, show_all = _all(browser, "[aria-labelledby=learning] .bar button")
    assert not zoom_out.is_enabled()
    zoom_in.click()
    zoom_in.click()
    assert _domain(charts[0]) != (1, 60)
    show_all.click()
    assert _domain(charts[0]) == (1, 60)


def test_pointing_at_one_chart_reads_all_of_its_section(
    browser: webdriver.Chrome, single: Path
) -> None:
    _open(browser, single)
    mse, psnr = _chart(browser, "Reconstruction error"), _chart(browser, "Validation PSNR")
    ActionChains(browser).move_to_element(mse).perform()
    step = int(_value(mse).split(";")[0].removeprefix("step "))
    assert 20 < step < 30
    assert _value(mse) == f"step {step}; demo {float(f'{0.1 / step:.4g}'):g}"
    assert _value(psnr).startswith("step 20;")
    assert len(_all(browser, ".readout:not(:empty)")) == 6
    ActionChains(browser).move_to_element(browser.find_element(By.TAG_NAME, "h1")).perform()
    assert _all(browser, ".readout:not(:empty)") == []


def _pixels(browser: webdriver.Chrome, canvas: WebElement) -> np.ndarray:
    """What a canvas shows."""
    uri = browser.execute_script("return arguments[0].toDataURL('image/png')", canvas)
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as image:
        return np.asarray(image.convert("RGB"))


def test_player_steps_through_truth_samples_and_errors(
    browser: webdriver.Chrome, single: Path
) -> None:
    _open(browser, single)
    truth, *samples = clips()
    picture = sheet.draw(truth, np.stack(samples), sheet.deviation(np.stack(samples)), 2)
    rows, size = sheet.rows(2), 8 + 2 * sheet.BORDER
    cells = picture.reshape(len(rows), size, 4, size, 3).swapaxes(1, 2)
    player = _all(browser, ".player .live")[0]
    panels = player.find_elements(By.TAG_NAME, "canvas")
    assert [panel.get_attribute("aria-label") for panel in panels] == [
        *("truth", "sample 1", "sample 2"),
        *("deviation", "error 1", "error 2"),
    ]
    player.send_keys(Keys.HOME)
    for frame in range(4):
        for panel in panels:
            row = rows.index(panel.get_attribute("aria-label") or "")
            assert np.array_equal(_pixels(browser, panel), cells[row, frame]), (row, frame)
        told = f"t = {frame}, {'given' if frame < 2 else 'predicted'}"
        assert player.find_element(By.TAG_NAME, "output").text == told
        player.send_keys(Keys.ARROW_RIGHT)
    figures = [one.text for one in player.find_elements(By.TAG_NAME, "small")]
    assert figures == ["", "21.0 dB", "23.0 dB", "", "", ""]


def test_player_plays_and_its_controls_have_keys_of_their_own(
    browser: webdriver.Chrome, single: Path
) -> None:
    _open(browser, single)
    player = _all(browser, ".player .live")[0]
    shown = player.find_element(By.TAG_NAME, "output")
    play = player.find_element(By.CSS_SELECTOR, "[aria-label=Play]")
    slider = player.find_element(By.CSS_SELECTOR, "[type=range]")
    speed = player.find_element(By.TAG_NAME, "select")
    speed.send_keys(Keys.ARROW_DOWN * 2)
    assert speed.get_attribute("value") == "4"
    assert shown.text == "t = 3, predicted"
    slider.send_keys(Keys.ARROW_LEFT)
    assert shown.text == _value(slider) == "t = 2, predicted"
    player.send_keys(" ")
    assert play.get_attribute("aria-label") == "Pause"
    for frame in (0, 3, 1):
        WebDriverWait(browser, 60, 0.02).until(lambda _, t=frame: shown.text.startswith(f"t = {t}"))
    play.send_keys(" ")
    assert play.get_attribute("aria-label") == "Play"


def test_best_clip_comes_first_and_all_of_its_frames_can_be_shown(
    browser: webdriver.Chrome, single: Path
) -> None:
    _open(browser, single)
    titles = [title.text for title in _all(browser, ".player h4")]
    assert titles == [
        "Clip 7, best by PSNR (28.0 dB)",
        "Clip 3, worst by PSNR (24.0 dB)",
        "Clip 0 (21.0 dB)",
    ]
    frames, button = _all(browser, ".film")[0], _all(browser, "[aria-expanded]")[0]
    assert not frames.is_displayed()
    button.click()
    assert frames.is_displayed()
    assert button.get_attribute("aria-expanded") == "true"


@pytest.mark.parametrize("page", ["single", "several"])
def test_a_narrow_page_does_not_scroll_sideways(
    browser: webdriver.Chrome, page: str, request: pytest.FixtureRequest
) -> None:
    _open(browser, request.getfixturevalue(page), width=320)
    root = browser.find_element(By.TAG_NAME, "html")
    assert int(root.get_property("scrollWidth")) <= 320


def test_everything_to_be_used_has_a_name(browser: webdriver.Chrome, several: Path) -> None:
    _open(browser, several)
    tree = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = ("button", "slider", "combobox", "image", "img", "Canvas", "group", "region", "link")
    named = [node for node in tree if node.get("role", {}).get("value") in roles]
    assert len(named) > 50
    assert [node for node in named if not node.get("name", {}).get("value")] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_is_written_stands_out_from_the_page(
    browser: webdriver.Chrome, single: Path, scheme: str
) -> None:
    _open(browser, single, prefers_color_scheme=scheme)
    names = ["paper", "raised", "ink", "muted", *(f"series-{number}" for number in range(1, 7))]
    script = "return getComputedStyle(document.documentElement).getPropertyValue(arguments[0])"
    colours = {name: browser.execute_script(script, f"--{name}").strip() for name in names}
    light = {name: _luminance(colour) for name, colour in colours.items()}
    assert (light["paper"] > 0.5) == (scheme == "light")
    for name in names[2:]:
        brighter, darker = sorted([light[name], light["paper"]], reverse=True)
        assert (brighter + 0.05) / (darker + 0.05) > 4.5, name  # WCAG 2.2, level AA


def _luminance(colour: str) -> float:
    """Relative luminance of #rrggbb, as WCAG 2.2 defines it."""
    channels = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_paper_gets_charts_and_sheets_instead_of_controls(
    browser: webdriver.Chrome, single: Path
) -> None:
    _open(browser, single)
    _chart(browser, "KL divergence").send_keys(Keys.HOME)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    for selector in (".drawn", ".chart figcaption", ".film img", ".still"):
        assert all(one.is_displayed() for one in _all(browser, selector)), selector
    for selector in (".live", ".bar", ".readout", ".moving", "nav"):
        assert not any(one.is_displayed() for one in _all(browser, selector)), selector


def test_without_scripts_charts_and_sheets_are_there(
    browser: webdriver.Chrome, single: Path, tmp_path: Path
) -> None:
    refused = tmp_path / "page.html"  # its policy refuses the script, as a reader may
    refused.write_text(single.read_text().replace("'sha256-", "'sha256-0"))
    browser.get(refused.as_uri())
    assert _all(browser, ".live, .bar") == []
    for selector in (".drawn", ".chart figcaption", ".film img"):
        assert all(one.is_displayed() for one in _all(browser, selector)), selector
