"""What benchmarks/speed.py and step_profile.py make of what they measured."""

import json
import sys

import pytest

from benchmarks import speed, speed_report, step_profile


def _side(seconds, **options):
    return {"about": {"device": "cpu"}, "options": options, "seconds": seconds}


def test_every_precision_has_a_side_of_ours_and_of_the_peer_compiled_or_not():
    sides = speed.training_sides(True, ("float32", "bfloat16"), (False, True))
    ours = {name: options for name, (module, options) in sides.items() if module == speed.OURS}
    assert ours == {
        "ours, latent": {"feedback": "latent", "precision": "float32"},
        "ours, frame": {"feedback": "frame", "precision": "float32"},
        "ours, latent, bfloat16": {"feedback": "latent", "precision": "bfloat16"},
        "ours, frame, bfloat16": {"feedback": "frame", "precision": "bfloat16"},
    }
    assert sides.keys() - ours.keys() == {
        "SVG, published",
        "SVG, published, compiled",
        "SVG, published, bfloat16",
        "SVG, published, bfloat16, compiled",
    }
    assert sides["SVG, published, bfloat16, compiled"] == (
        speed.PEER,
        {"targets_apart": False, "precision": "bfloat16", "compiled": True},
    )
    assert "SVG, lab's" in speed.training_sides(False)


def test_an_unknown_precision_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["speed", "--precisions=float32,float16"])
    with pytest.raises(SystemExit, match="2"):
        speed.parse()
    assert "--precisions=float16: must be among float32, bfloat16" in capsys.readouterr().err


def test_a_plot_of_a_run_without_growth_is_refused(monkeypatch, tmp_path):
    results = tmp_path / "speed.json"
    results.write_text(json.dumps(json.loads(speed.RESULTS.read_text()) | {"growth": []}))
    monkeypatch.setattr(speed, "RESULTS", results)
    monkeypatch.setattr(speed, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["speed", "--plot"])
    with pytest.raises(SystemExit, match="no growth to plot; measure with --growth"):
        speed.main()


def test_a_profile_without_operations_is_told_in_a_line():
    with pytest.raises(SystemExit, match="no operation was found"):
        step_profile.table({})


def test_ratios_are_of_sides_of_one_precision():
    figures = {"cpu_seconds": 1.0, "peak_mib": 1.0, "first_seconds": 1.0}
    sides = {
        "ours": _side(2.0, precision="float32") | figures,
        "ours, bfloat16": _side(1.0, precision="bfloat16") | figures,
        "SVG, published": _side(5.0, precision="float32") | figures,
        "SVG, published, bfloat16": _side(3.0, precision="bfloat16") | figures,
    }
    ratios = [row.strip("|").split("|")[-1].strip() for row in speed_report._rows(sides)]
    assert ratios == ["", "", "2.50", "3.00"]


def test_a_steps_speed_stands_beside_the_fastest_product_of_its_precision():
    step = speed.training(16, 12, 10, False)
    options = {"feedback": "frame", "precision": "float32"}
    step["sides"] = {
        "ours": _side(2.0, **options),
        "ours, bfloat16": _side(1.0, **options | {"precision": "bfloat16"}),
    }
    result = {
        "comparisons": [step],
        "matmul": [
            speed.matmul("float32") | {"sides": {"jax": _side(0.5), "torch": _side(0.25)}},
            speed.matmul("bfloat16") | {"sides": {"jax": _side(0.125), "torch": _side(1.0)}},
        ],
        "flops": [speed.flop_row(step)],
    }
    rows = speed_report._flops(result).splitlines()[-2:]
    gflop = result["flops"][0]["ours"]
    product = 2 * 2048**3 / 1e9
    for row, seconds, peak in zip(rows, (2.0, 1.0), (product / 0.25, product / 0.125), strict=True):
        found = [cell.strip() for cell in row.strip("|").split("|")][-3:]
        speeds = gflop / seconds
        assert found == [f"{gflop:.0f}", f"{speeds:.0f}", f"{100 * speeds / peak:.0f} %"]


def _event(name, milliseconds, **place):  # of three steps
    return {"ph": "X", "name": name, "dur": 3000.0 * milliseconds, "pid": 1, "tid": 1} | place


def test_a_profile_counts_operations_once_and_on_a_gpu_its_kernels_alone():
    host = [
        _event("ThunkExecutor::Execute", 90),
        _event("$ours.py:61 run", 90),
        _event("while.12", 30),  # holds what follows
        _event("dot_general.1", 10),
        _event("dot_general.27", 5),
        _event("add_select_fusion", 4),
    ]
    assert step_profile.by_kind(host) == {"dot_general": 15.0, "add_select_fusion": 4.0}
    gpu = {"ph": "M", "pid": 7}
    names = [
        gpu | {"name": "process_name", "args": {"name": "/device:GPU:0 Tesla"}},
        gpu | {"name": "thread_name", "tid": 20, "args": {"name": "Stream #20(Compute)"}},
        gpu | {"name": "thread_name", "tid": 21, "args": {"name": "XLA Ops"}},
    ]
    kernels = [
        _event("sm90_xmma_fprop_12", 8, pid=7, tid=20),
        _event("loop_add_fusion_3", 2, pid=7, tid=20),
        _event("convolution.4", 8, pid=7, tid=21),  # the first kernel once more
    ]
    assert step_profile.by_kind([*names, *host, *kernels]) == {
        "sm90_xmma_fprop": 8.0,
        "loop_add_fusion": 2.0,
    }


def test_a_profiles_table_sums_what_is_small():
    shown = step_profile.table({"a": 1.0, "b": 98.5, "c": 0.25, "d": 0.25}).splitlines()
    assert shown[2:] == ["| b | 98.5 | 98 % |", "| a | 1.0 | 1 % |", "| all others | 0.5 | 0 % |"]
