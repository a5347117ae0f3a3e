"""Holds the PyTorch peer to the paper's architecture, with numbers of its own.

The rows below are the VGG networks of Denton & Fergus 2018 (appendix) and the LSTMs of its
section 4, with 7 numbers of condition. Neither benchmarks/flops.py nor the peer reads them.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import flops

ROOT = Path(__file__).parents[1]

# Side of the output (of the input, where transposed from 1x1), kernel, channels in and out.
ENCODER = (
    *((64, 3, 3, 64), (64, 3, 64, 64)),
    *((32, 3, 64, 128), (32, 3, 128, 128)),
    *((16, 3, 128, 256), (16, 3, 256, 256), (16, 3, 256, 256)),
    *((8, 3, 256, 512), (8, 3, 512, 512), (8, 3, 512, 512)),
    (1, 4, 512, 128),
)
DECODER = (
    (1, 4, 128, 512),
    *((8, 3, 1024, 512), (8, 3, 512, 512), (8, 3, 512, 256)),
    *((16, 3, 512, 256), (16, 3, 256, 256), (16, 3, 256, 128)),
    *((32, 3, 256, 128), (32, 3, 128, 64)),
    *((64, 3, 128, 64), (64, 3, 64, 3)),
)
LSTM = 4 * 256 * (256 + 256)
PREDICTOR = 199 * 256 + 2 * LSTM + 256 * 128
POSTERIOR = 135 * 256 + LSTM + 2 * 256 * 64

MULTIPLY_ADDS = {
    "encoder": 1_140_588_544,
    "decoder": 1_744_568_320,
    "predictor": 1_132_288,
    "posterior": 591_616,
}
PARAMETERS = {
    "encoder": 8_689_600,
    "decoder": 11_822_659,
    "predictor": 1_136_768,
    "posterior": 594_048,
}
# The same at width 16; the LSTMs keep their size.
NARROW_MULTIPLY_ADDS = {"encoder": 72_810_496, "decoder": 110_559_232}


def _multiply_adds(rows):
    return sum(side**2 * kernel**2 * inputs * outputs for side, kernel, inputs, outputs in rows)


def _parameters(rows, normalised):
    """Kernels and biases, and a scale and an offset for each channel that is normalised."""
    kernels = sum(kernel**2 * inputs * outputs for _, kernel, inputs, outputs in rows)
    outputs = [row[3] for row in rows]
    return kernels + sum(outputs) + 2 * sum(outputs[:normalised])


def test_numbers_follow_from_the_papers_layers():
    assert _multiply_adds(ENCODER) == MULTIPLY_ADDS["encoder"]
    assert _multiply_adds(DECODER) == MULTIPLY_ADDS["decoder"]
    assert MULTIPLY_ADDS["predictor"] == PREDICTOR
    assert MULTIPLY_ADDS["posterior"] == POSTERIOR
    assert _parameters(ENCODER, len(ENCODER)) == PARAMETERS["encoder"]
    assert _parameters(DECODER, len(DECODER) - 1) == PARAMETERS["decoder"]  # not the frame
    assert PARAMETERS["predictor"] == PREDICTOR + 256 + 2 * 2 * 1024 + 128
    assert PARAMETERS["posterior"] == POSTERIOR + 256 + 2 * 1024 + 2 * 64
    for name, rows in (("encoder", ENCODER), ("decoder", DECODER)):
        ends = _multiply_adds((rows[0], rows[-1]))  # frame and vector keep their channels
        inner = MULTIPLY_ADDS[name] - ends
        assert NARROW_MULTIPLY_ADDS[name] == inner // 16 + ends // 4


def test_flop_accounting_counts_the_papers_layers():
    assert flops.encoder(64) == MULTIPLY_ADDS["encoder"]
    assert flops.decoder(64) == MULTIPLY_ADDS["decoder"]
    assert flops.encoder(16) == NARROW_MULTIPLY_ADDS["encoder"]
    assert flops.decoder(16) == NARROW_MULTIPLY_ADDS["decoder"]


def test_flop_accounting_of_a_training_step():
    """12 clips of 2 + 10 frames, in GFLOP: encoded and decoded frames of a clip by hand."""

    def gflop(encoded, decoded):
        counts = MULTIPLY_ADDS["encoder"], MULTIPLY_ADDS["decoder"]
        return 12 * 6 * (encoded * counts[0] + decoded * counts[1]) / 1e9

    def svg(free, apart):
        return 12 * flops.svg_step(64, 12, 2, free=free, targets_apart=apart) / 1e9

    assert svg(False, False) == pytest.approx(gflop(12, 11)) == pytest.approx(2367, abs=1)
    assert svg(False, True) == pytest.approx(gflop(22, 11)) == pytest.approx(3188, abs=1)
    assert svg(True, False) == pytest.approx(gflop(12 + 9, 11))
    assert svg(True, True) == pytest.approx(gflop(22, 11))
    half = 4 * 64 * 9 * 512**2  # every stage's first convolution is as large as at 8x8
    saved = 12 * 6 * (9 * half + 10 * half * 20 / 36) / 1e9
    forced = 12 * flops.our_step(64, 12, 2, reencoded=False) / 1e9
    assert forced == pytest.approx(gflop(12, 10) - saved) == pytest.approx(1609, abs=1)
    assert 12 * flops.our_step(64, 12, 2, reencoded=True) / 1e9 == pytest.approx(
        forced + gflop(9, 0)
    )


@pytest.fixture(scope="module")
def measured():
    """What peer_checks.py prints; skips where no Python with PyTorch is at hand."""
    if importlib.util.find_spec("torch"):
        python = sys.executable
    else:
        python = os.environ.get("TORCH_PYTHON", str(ROOT / ".cache/bench-venv/bin/python"))
    if not Path(python).exists():
        pytest.skip("PyTorch is not installed: `make bench-venv`, or TORCH_PYTHON=its interpreter")
    command = [python, "-m", "tests.peer_checks"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", MULTIPLY_ADDS)
def test_peer_has_the_papers_parameters_and_multiply_adds(measured, name):
    counted = measured["counts"]["64"][name]
    assert counted == {"parameters": PARAMETERS[name], "multiply_adds": MULTIPLY_ADDS[name]}


@pytest.mark.parametrize("name", MULTIPLY_ADDS)
def test_narrow_peer_narrows_the_images_networks_alone(measured, name):
    expected = MULTIPLY_ADDS | NARROW_MULTIPLY_ADDS
    assert measured["counts"]["16"][name]["multiply_adds"] == expected[name]


@pytest.mark.parametrize(
    ("way", "calls"),
    [
        ("published, forced", [6, 5, 6, 5]),
        ("published, free", [6 + 3, 5, 6 + 3, 5]),  # and the first 3 of 4 predictions
        ("lab, forced", [10, 5, 10, 5]),
        ("lab, free", [10, 5, 10, 5]),
    ],
)
def test_peer_encodes_decodes_and_learns_from_as_many_frames_as_its_code(measured, way, calls):
    assert measured["steps"][way]["calls"] == calls


@pytest.mark.parametrize(
    "way", ["published, forced", "published, free", "lab, forced", "lab, free"]
)
def test_peer_trains_all_of_its_parameters(measured, way):
    step = measured["steps"][way]
    assert step["without_gradient"] == []
    assert step["moved"]
    assert step["losses"][-1] < 0.5 * step["losses"][0]


def test_peer_computes_in_bfloat16_and_learns_in_float32(measured):
    step = measured["steps"]["bfloat16"]
    assert step["types"] == ["torch.bfloat16", "torch.bfloat16", "torch.float32"]
    assert step["losses"][-1] < 0.5 * step["losses"][0]
    assert set(measured["steps"]["published, forced"]["types"]) == {"torch.float32"}


def test_peer_does_not_see_the_future_but_through_the_posterior(measured):
    for changes in measured["changes"]:
        assert (changes["earlier"], changes["last"]) == (False, True)


def test_peer_draws_its_latents_in_training(measured):
    assert all(changes["noise"] for changes in measured["changes"])


def test_peer_reads_the_action_that_leads_to_a_frame_and_the_position_at_it(measured):
    assert measured["conditions"] == [[[0, 10], [1, 20], [2, 30], [3, 40]]]


def test_peer_generates_frames_of_every_sample(measured):
    generated = measured["generated"]
    assert generated["shape"] == [2, 3, 4, 64, 64, 3]
    assert 0 <= generated["range"][0] < generated["range"][1] <= 1
    assert generated["samples_differ"]


def test_peer_learns_from_windows_of_all_clips_and_predicts_the_test_clips(measured):
    found = measured["learned"]
    assert found["learned"]["steps"] >= 1
    assert found["learned"]["minutes"] >= 1 / 60
    assert (found["shape"], found["type"]) == ([3, 2, 4, 64, 64, 3], "uint8")
    assert found["clips"] == [0, 1, 2, 3, 4]
    assert len(found["starts"]) > 1
