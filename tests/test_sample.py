"""Which clips are drawn beside those that were asked for."""

from cvae_jax.sample import rank


def test_best_median_and_worst_of_the_clips():
    assert rank([20.0, 31.0, 25.0, 18.0, 27.0]) == {1: "best", 2: "median", 3: "worst"}
    assert rank([20.0, 31.0]) == {1: "best", 0: "worst"}
    assert rank([20.0]) == {0: "worst"}
    assert rank([]) == {}
