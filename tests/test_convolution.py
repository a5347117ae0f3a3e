import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvae_jax.models import convolution
from tests.convolutions import library_conv, random, same_with_gradients

PADDINGS = [((1, 1), (1, 1)), ((1, 0), (0, 1))]


def _both(padding):
    """Our form and the plain one, of x and kernel."""
    return [
        functools.partial(convolution.convolve, padding=padding),
        functools.partial(library_conv, padding=padding),
    ]


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("width", [4, 6, 5])  # four and two results side by side, and neither
@pytest.mark.parametrize(
    ("inputs", "outputs"), [(3, 16), (16, 3), (16, 16), (8, 8), (3, 20), (20, 3)]
)
def test_convolution_equals_the_plain_one(inputs, outputs, width, padding):
    side = 1 + sum(padding[0])
    x, kernel = random((2, 3, width, inputs), 0), random((side, side, inputs, outputs), 1)
    same_with_gradients(*_both(padding), x, kernel)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("frames", [5, 8, 24, 25, 37])  # too few, at once, groups and part of one
@pytest.mark.parametrize(("inputs", "outputs"), [(3, 32), (32, 3)])
def test_kernel_gradient_by_groups_equals_the_plain_one(inputs, outputs, frames, padding):
    side = 1 + sum(padding[0])
    x, kernel = random((frames, 3, 4, inputs), 0), random((side, side, inputs, outputs), 1)
    same_with_gradients(*_both(padding), x, kernel)


@pytest.mark.parametrize(("inputs", "outputs"), [(3, 32), (32, 3)])
def test_kernel_gradient_has_the_narrower_array_in_the_place_of_frames(inputs, outputs):
    x, kernel = random((24, 4, 4, inputs), 0), random((3, 3, inputs, outputs), 1)
    ours, _ = _both(PADDINGS[0])
    text = str(jax.make_jaxpr(jax.grad(lambda kernel: ours(x, kernel).sum()))(kernel))
    assert "f32[3,3,3,32] = conv_general_dilated" in text


def test_other_backends_take_the_plain_form_and_its_gradients(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    x, kernel = random((40, 3, 4, 3), 0), random((3, 3, 3, 16), 1)
    ours, plain = _both(PADDINGS[0])
    same_with_gradients(ours, plain, x, kernel)
    assert "scan" not in str(jax.make_jaxpr(jax.grad(lambda x: ours(x, kernel).sum()))(x))


def _in_a_loop(convolve):
    """Ten times the same layer over time, as a rollout has it."""

    def loop(x, kernel):
        return jax.lax.scan(lambda x, _: (jnp.tanh(convolve(x, kernel)), None), x, None, 10)[0]

    return loop


@pytest.mark.parametrize("frames", [6, 40])
def test_in_a_loop_gradients_have_the_one_form_that_is_fast_there(frames):
    x, kernel = random((frames, 4, 4, 8), 0), 0.1 * random((3, 3, 8, 8), 1)
    ours, plain = (_in_a_loop(form) for form in _both(PADDINGS[0]))
    same_with_gradients(ours, plain, x, kernel)

    def forms(loop):
        gradient = jax.grad(lambda arguments: loop(*arguments).sum())
        text = str(jax.make_jaxpr(gradient)((x, kernel)))
        return set(re.findall(r"lhs_spec=\(.*?\), rhs_spec=\(.*?\), out_spec=\(.*?\)", text))

    assert forms(ours) == {"lhs_spec=(0, 3, 1, 2), rhs_spec=(3, 2, 0, 1), out_spec=(0, 3, 1, 2)"}
    assert len(forms(plain)) > 1


def test_kernel_gradient_in_bfloat16_is_summed_in_float32():
    x, kernel = 1.0 + random((4096, 4, 4, 3), 0), random((3, 3, 3, 4), 1)

    def gradient(dtype):
        ours = lambda kernel: convolution.convolve(x.astype(dtype), kernel, PADDINGS[0])  # noqa: E731
        total = lambda kernel: (ours(kernel).astype(jnp.float32) ** 2).sum()  # noqa: E731
        return np.asarray(jax.grad(total)(kernel.astype(dtype)), np.float32)

    exact = gradient(jnp.float32)
    error = np.abs(gradient(jnp.bfloat16) - exact) / np.abs(exact).mean()
    assert error.mean() < 0.01
