"""What benchmarks/speed.py and step_profile.py make of what they measured."""

from benchmarks import speed, speed_report, step_profile


def _side(seconds):
    return {"about": {"device": "cpu"}, "seconds": seconds}


def test_every_precision_has_a_side_of_ours_and_of_the_peer_compiled_or_not():
    ways = (("float32", False), ("float32", True), ("bfloat16", False))
    sides = speed.training_sides(free_running=True, ways=ways)
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
    }


def test_a_steps_speed_stands_beside_the_fastest_product_of_its_precision():
    step = speed.training(16, 12, 10, False)
    step["sides"] = {"ours": _side(2.0), "ours, bfloat16": _side(1.0)}
    result = {
        "comparisons": [step],
        "matmul": [
            speed.matmul("float32") | {"sides": {"jax": _side(0.5), "torch": _side(0.25)}},
            speed.matmul("bfloat16") | {"sides": {"jax": _side(0.125), "torch": _side(1.0)}},
        ],
        "flops": [speed.flop_row(step)],
    }
    rows = speed_report._flops(result).splitlines()[-2:]
    gflop = result["flops"][0]["ours"]["layers"]
    product = 2 * 2048**3 / 1e9
    for row, seconds, peak in zip(rows, (2.0, 1.0), (product / 0.25, product / 0.125), strict=True):
        found = [cell.strip() for cell in row.strip("|").split("|")][-3:]
        speeds = gflop / seconds
        assert found == [f"{gflop:.0f}", f"{speeds:.0f}", f"{100 * speeds / peak:.0f} %"]


def _event(name, milliseconds, pid=1):
    return {"ph": "X", "name": name, "dur": 3000.0 * milliseconds, "pid": pid}  # of three steps


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
    name = {"ph": "M", "name": "process_name", "pid": 7, "args": {"name": "/device:GPU:0 Tesla"}}
    kernels = [_event("sm90_xmma_fprop_12", 8, pid=7), _event("loop_add_fusion_3", 2, pid=7)]
    assert step_profile.by_kind([name, *host, *kernels]) == {
        "sm90_xmma_fprop": 8.0,
        "loop_add_fusion": 2.0,
    }


def test_a_profiles_table_sums_what_is_small():
    shown = step_profile.table({"a": 1.0, "b": 98.5, "c": 0.25, "d": 0.25}).splitlines()
    assert shown[2:] == ["| b | 98.5 | 98 % |", "| a | 1.0 | 1 % |", "| all others | 0.5 | 0 % |"]
