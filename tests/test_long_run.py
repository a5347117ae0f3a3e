"""The judgement of benchmarks/long_run.py, on figures made up; the run itself is not a test's."""

import pytest

from benchmarks.long_run import ENOUGH, Sample, compare


def _samples(**growth):
    """Even samples; `growth` is what a field gains over the whole."""
    flat = {"memory_mib": 300.0, "handles": 40, "threads": 30}
    return [
        Sample(
            minutes=number / 30,
            step=60 * number,
            processor_seconds=3.0 * number * (1 + growth.get("seconds", 0) * number / 100),
            **{name: value + growth.get(name, 0) * number / 100 for name, value in flat.items()},
        )
        for number in range(100)
    ]


def _growing(samples):
    return [name for name, found in compare(samples).items() if not found["flat"]]


def test_an_even_run_is_flat_and_its_step_is_what_it_is():
    found = compare(_samples())
    assert all(figures["flat"] for figures in found.values())
    assert found["processor_seconds_a_step"]["last_quarter"] == pytest.approx(0.05)
    assert found["memory_mib"]["second_quarter"] == 300


@pytest.mark.parametrize(
    ("grows", "name"),
    [
        ({"memory_mib": 20}, "memory_mib"),
        ({"handles": 4}, "handles"),
        ({"threads": 4}, "threads"),
        ({"seconds": 0.3}, "processor_seconds_a_step"),
    ],
)
def test_what_grows_is_found(grows, name):
    assert _growing(_samples(**grows)) == [name]


def test_a_run_that_made_no_steps_is_not_flat():
    stuck = [sample._replace(step=7) for sample in _samples()]
    assert _growing(stuck) == ["processor_seconds_a_step"]


def test_too_few_samples_are_refused():
    with pytest.raises(ValueError, match="too few"):
        compare(_samples()[: ENOUGH - 1])
