import numpy as np
import pytest

from cvae_jax import schedules
from cvae_jax.config import KLConfig, OptimizerConfig, TeacherForcingConfig


def test_constant_beta_is_the_weight_throughout():
    beta = schedules.kl_weight(KLConfig(weight=0.3, schedule="constant"), 5)
    np.testing.assert_array_equal(beta, np.float32([0.3] * 5))


def test_linear_beta_rises_over_ratio_then_stays():
    beta = schedules.kl_weight(KLConfig(weight=1.0, schedule="linear", ratio=0.5), 8)
    np.testing.assert_allclose(beta, [0, 0.25, 0.5, 0.75, 1, 1, 1, 1])


def test_cyclical_beta_repeats_the_linear_one():
    config = KLConfig(weight=2.0, schedule="cyclical", num_cycles=3, ratio=0.5)
    beta = schedules.kl_weight(config, 12)
    np.testing.assert_allclose(beta, [0, 1, 2, 2] * 3)


def test_cycles_that_do_not_divide_the_steps_still_all_start_at_zero():
    config = KLConfig(weight=1.0, schedule="cyclical", num_cycles=4, ratio=1.0)
    beta = schedules.kl_weight(config, 1002)
    assert int((np.diff(beta) < 0).sum()) == 3
    assert beta.max() <= 1.0


@pytest.mark.parametrize(("num_steps", "num_cycles"), [(10_000, 6), (300_000, 9)])
def test_a_cycle_starts_at_zero_whatever_the_rounding(num_steps, num_cycles):
    config = KLConfig(weight=1.0, schedule="cyclical", num_cycles=num_cycles, ratio=1.0)
    beta = schedules.kl_weight(config, num_steps)
    starts = np.flatnonzero(np.diff(beta) < 0) + 1
    assert len(starts) == num_cycles - 1
    assert beta[starts].max() < num_cycles / num_steps


def test_teacher_forcing_falls_from_one_to_its_lower_bound():
    config = TeacherForcingConfig(start_decay_step=2, decay_steps=4, lower_bound=0.2)
    ratio = schedules.teacher_forcing_ratio(config, 9)
    np.testing.assert_allclose(ratio, [1, 1, 1, 0.8, 0.6, 0.4, 0.2, 0.2, 0.2], rtol=1e-6)


def test_teacher_forcing_without_decay_steps_drops_at_once():
    config = TeacherForcingConfig(start_decay_step=2, decay_steps=0, lower_bound=0.5)
    np.testing.assert_allclose(schedules.teacher_forcing_ratio(config, 4), [1, 1, 0.5, 0.5])


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_learning_rate_warms_up_without_a_step_of_zero(schedule):
    config = OptimizerConfig(learning_rate=1.0, schedule=schedule, warmup_steps=4)
    rate = schedules.learning_rate(config, 100)
    np.testing.assert_allclose([rate(i) for i in range(5)], [0.2, 0.4, 0.6, 0.8, 1.0], rtol=1e-6)
    halfway, last = (0.5, 0.0) if schedule == "cosine" else (1.0, 1.0)
    np.testing.assert_allclose([rate(52), rate(100)], [halfway, last], atol=1e-6)
