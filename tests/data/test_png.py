"""PNG files in memory."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as np_st

from cvae_jax.data import png

FRAMES = np_st.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)))


@given(FRAMES)
def test_round_trip_is_exact(frame):
    np.testing.assert_array_equal(png.decode(png.encode(frame)), frame)


@given(st.integers(0, 900))
def test_a_cut_file_is_refused_unless_all_pixels_are_there(cut):
    frame = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    file = png.encode(frame)
    if cut < 700:
        with pytest.raises(ValueError, match="not a whole PNG"):
            png.decode(file[:cut])
    else:
        try:
            decoded = png.decode(file[:cut])
        except ValueError:
            return
        np.testing.assert_array_equal(decoded, frame)
