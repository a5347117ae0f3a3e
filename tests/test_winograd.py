import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvae_jax.models import layers, winograd
from tests.convolutions import enlarged_conv, library_conv, random

FORMS = {
    "plain": (winograd.conv3x3, library_conv, 1),
    "upsampled": (winograd.upsampled_conv3x3, enlarged_conv, 2),
}


SEVERAL = 3 * 2**12
"""Bytes of a chunk by which the larger maps below make several."""


def _value_and_gradients(convolution, x, kernel, weigh):
    value, back = jax.vjp(convolution, x, kernel)
    return [np.asarray(array, np.float64) for array in (value, *back(weigh))]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("chunk_bytes", [2**21, SEVERAL])
@pytest.mark.parametrize("frames", [6, 7])  # 7 fill the last of two chunks with zeros
@pytest.mark.parametrize("size", [(4, 4), (8, 12)])
def test_value_and_gradients_equal_the_plain_convolutions(
    form, chunk_bytes, frames, size, monkeypatch
):
    monkeypatch.setattr(winograd, "_CHUNK_BYTES", chunk_bytes)
    winograd._traced_once.clear_cache()  # which does not know of it
    ours, plain, enlarged = FORMS[form]
    x, kernel = random((frames, *size, 5), 0), random((3, 3, 5, 7), 1)
    weigh = random((frames, size[0] * enlarged, size[1] * enlarged, 7), 2)
    expected = _value_and_gradients(plain, x, kernel, weigh)
    for left, right in zip(_value_and_gradients(ours, x, kernel, weigh), expected, strict=True):
        np.testing.assert_allclose(left, right, atol=2e-5 * right.std())


@pytest.mark.parametrize("form", [winograd._SAME_SIZE, winograd._UPSAMPLED])
def test_frames_are_taken_in_several_chunks(form, monkeypatch):
    x, kernel = random((7, 8, 12, 5), 0), random((3, 3, 5, 7), 1)
    assert len(winograd._chunked(form, x, kernel, x)) == 1
    monkeypatch.setattr(winograd, "_CHUNK_BYTES", SEVERAL)
    assert len(winograd._chunked(form, x, kernel, x)) > 1


@pytest.mark.parametrize("form", FORMS)
def test_error_is_that_of_float32(form):
    """Against float64, over 128 channels: some 4 times the plain convolution's, where
    the usual points have 10."""
    ours, plain, _ = FORMS[form]
    x, kernel = random((2, 8, 8, 128), 0), random((3, 3, 128, 32), 1)
    with jax.enable_x64(True):
        exact = plain(x.astype(jnp.float64), kernel.astype(jnp.float64))
        exact = np.asarray(exact)
    errors = [np.sqrt(np.square(np.asarray(f(x, kernel)) - exact).mean()) for f in (ours, plain)]
    assert errors[0] < 2e-6 * exact.std()
    assert errors[0] < 8 * errors[1]


def _taken(monkeypatch, layer, shape, outputs):
    taken = []
    for name in ("conv3x3", "upsampled_conv3x3"):
        function = getattr(winograd, name)
        spy = lambda *arguments, name=name, f=function: (taken.append(name), f(*arguments))[1]  # noqa: E731
        monkeypatch.setattr(winograd, name, spy)
    kernel = jax.ShapeDtypeStruct((3, 3, shape[-1], outputs), jnp.float32)
    jax.eval_shape(layer, jax.ShapeDtypeStruct(shape, jnp.float32), kernel)
    return taken


@pytest.mark.parametrize(
    ("shape", "outputs", "taken"),
    [
        ((24, 8, 8, 512), 512, True),
        ((4, 8, 8, 512), 512, False),  # 16 tiles of 4x4 for 512 channels
        ((24, 32, 32, 32), 64, True),
        ((24, 32, 32, 32), 32, False),
        ((24, 64, 64, 16), 16, False),  # too narrow
        ((24, 16, 16, 32), 32, False),  # too little work to compile it for
        ((24, 18, 16, 128), 128, False),  # no whole number of tiles
    ],
)
def test_convolutions_take_it_where_it_pays(shape, outputs, taken, monkeypatch):
    expected = ["conv3x3"] if taken else []
    assert _taken(monkeypatch, layers.conv3x3, shape, outputs) == expected


@pytest.mark.parametrize(
    ("shape", "outputs", "taken"), [((24, 8, 8, 64), 64, True), ((24, 8, 8, 32), 32, False)]
)
def test_upsampled_convolutions_take_it_where_it_pays(shape, outputs, taken, monkeypatch):
    expected = ["upsampled_conv3x3"] if taken else []
    assert _taken(monkeypatch, layers.upsampled_conv3x3, shape, outputs) == expected


def test_other_precisions_stay_plain():
    x = jnp.ones((24, 8, 8, 128), jnp.bfloat16)
    kernel = jnp.ones((3, 3, 128, 128), jnp.bfloat16)
    assert not winograd.pays(x, kernel)
    assert winograd.pays(x.astype(jnp.float32), kernel.astype(jnp.float32))
