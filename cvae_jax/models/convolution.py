"""A convolution in the forms that XLA computes fast on a CPU, inside a loop as well.

In a loop XLA runs a convolution fast only as frames x rows x columns x channels under a kernel of
rows x columns x in x out, which is how both gradients are written here; autodiff's are not, and
were seen to be up to a hundred times slower there. docs/performance.md says what each form gains.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")
_GROUP = 8
"""Frames in a group: they stand in the place of channels, and vectors hold 4, 8 or 16."""
_MOST_AT_ONCE = 24
"""Up to so many frames one convolution is as fast as groups."""

Padding = tuple[tuple[int, int], tuple[int, int]]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolve(
    x: Float[Array, "frames height width in"],
    kernel: Float[Array, "rows columns in out"],
    padding: Padding,
) -> Float[Array, "frames new_height new_width out"]:
    """A convolution, stride 1, with zeros around as `padding` says (rows, then columns)."""
    return _side_by_side(x, kernel, padding)


def _forward(x, kernel, padding):
    return _side_by_side(x, kernel, padding), (x, kernel)


def _backward(padding, given, gradient):
    x, kernel = given
    turned = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    around = tuple(
        (size - 1 - before, size - 1 - after)
        for size, (before, after) in zip(kernel.shape[:2], padding, strict=True)
    )
    to_x = _side_by_side(gradient, turned, around)
    if jax.default_backend() != "cpu":
        return to_x, _plain_kernel_gradient(x, gradient, kernel, padding)
    if x.shape[-1] <= gradient.shape[-1]:
        return to_x, _kernel_gradient(x, gradient, kernel.shape, padding).astype(kernel.dtype)
    # the same sums, with the narrower of both where the wider one would be slow
    to_turned = _kernel_gradient(gradient, x, turned.shape, around)
    return to_x, jnp.flip(to_turned, (0, 1)).swapaxes(2, 3).astype(kernel.dtype)


convolve.defvjp(_forward, _backward)


def _plain(x, kernel, padding, strides=(1, 1)):
    return jax.lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=_DIMENSIONS)


def _side_by_side(x, kernel, padding):
    """Neighbouring outputs of a row as channels of one, where channels are too few for vectors.

    Each has the kernel at its own place in a wider one, between columns of zeros.
    """
    rows, columns, inputs, outputs = kernel.shape
    count = _neighbours(inputs, outputs)
    if (x.shape[2] + sum(padding[1]) - columns + 1) % count:
        count = 1
    shifted = [
        jnp.pad(kernel, ((0, 0), (place, count - 1 - place), (0, 0), (0, 0)))
        for place in range(count)
    ]
    wide = jnp.stack(shifted, axis=3).reshape(rows, columns + count - 1, inputs, count * outputs)
    out = _plain(x, wide, padding, (1, count))
    return out.reshape(*out.shape[:2], out.shape[2] * count, outputs)


def _neighbours(inputs, outputs):
    """How many outputs stand side by side: more than one on a CPU with few channels alone."""
    if jax.default_backend() != "cpu" or max(inputs, outputs) > 16:
        return 1
    return 4 if outputs <= 8 or inputs <= 4 else 2


def _plain_kernel_gradient(x, gradient, kernel, padding):
    _, to_kernel = jax.vjp(lambda kernel: _plain(x, kernel, padding), kernel)
    return to_kernel(gradient)[0]


def _kernel_gradient(x, gradient, shape, padding):
    """As a convolution with frames in the place of channels; of many frames, a sum over groups.

    One over all frames at once is up to five times slower as they outgrow the caches. The last
    group ends with the last frame, and leaves out what the group before it has counted.
    """
    missing = max(0, _GROUP - len(x))
    x, gradient = (jnp.pad(a, ((0, missing), *((0, 0),) * 3)) for a in (x, gradient))
    if len(x) <= _MOST_AT_ONCE:
        return _gradient_of_frames(x, gradient, padding)

    def add_group(total, wanted):
        start = jnp.minimum(wanted, len(x) - _GROUP)
        frames, of_frames = (jax.lax.dynamic_slice_in_dim(a, start, _GROUP) for a in (x, gradient))
        new = start + jnp.arange(_GROUP) >= wanted
        of_new = jnp.where(new[:, None, None, None], of_frames, 0)
        return total + _gradient_of_frames(frames, of_new, padding), None

    wanted = _GROUP * jnp.arange(math.ceil(len(x) / _GROUP))
    return jax.lax.scan(add_group, jnp.zeros(shape, jnp.float32), wanted)[0]


def _gradient_of_frames(x, gradient, padding):
    """The kernel's, with frames in the place of channels and x's channels in that of frames."""
    turned = _plain(x.transpose(3, 1, 2, 0), gradient.transpose(1, 2, 0, 3), padding)
    return turned.transpose(1, 2, 0, 3)
