"""3x3 convolutions with a quarter of the products, by Winograd's minimal filtering, for a CPU.

In one dimension, neighbouring results of a filter k over a window x are A ((G k) * (B x)), with
one product for each row of B. Nested in two dimensions, and with a matrix product over channels
in the place of each product (Lavin & Gray 2016, section 4), a layer is a few additions and then
large matrix products, which is what processors do best. So are its gradients, by the transposes.
Frames are taken in chunks: small enough for a core's cache, but for wide kernels, whose own tiles
are not.
"""

import functools
import math
import operator
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

_LEAST_WORK = 2**19
"""Products of a frame by the plain form, without its 9 taps, from which compiling this pays."""
_CHUNK_BYTES = 2 * 2**20
"""Of the windows' tiles of a chunk, at least: about what a core has as a cache of its own."""

Matrix = tuple[tuple[float, ...], ...]
Tiles = list[Float[Array, "_ _ _"]]
"""Of windows, results (products, tiles, channels) or the kernel (products, in, out): an entry for
each product along a row, a first axis of those along a column."""


class _Filter(NamedTuple):
    """How results come of windows: A ((G k) * (B x)); a window starts every `stride` places."""

    of_window: Matrix
    of_kernel: Matrix
    of_result: Matrix
    stride: int


def _winograd(points: Sequence[float]) -> _Filter:
    """F(4, 3), four results from six products: polynomials multiplied by values at points.

    The points are these five and infinity (Cook-Toom: Blahut 2010, chapter 5).
    """
    others = [np.delete(points, place) for place in range(len(points))]
    windows = [[*np.poly(rest)[::-1], 0.0] for rest in others] + [np.poly(points)[::-1]]
    scales = [np.prod(point - rest) for point, rest in zip(points, others, strict=True)]
    kernels = np.vander(points, 3, increasing=True) / np.array(scales)[:, None]
    results = np.vander(points, 4, increasing=True).T
    return _Filter(
        _matrix(windows),
        _matrix([*kernels, [0.0, 0.0, 1.0]]),
        _matrix(np.column_stack([results, [0.0, 0.0, 0.0, 1.0]])),
        stride=4,
    )


def _matrix(rows) -> Matrix:
    return tuple(tuple(float(value) for value in row) for row in np.round(rows, 12) + 0.0)


_SAME_SIZE = _winograd([0.0, 2 / 3, -2 / 3, 3 / 2, -3 / 2])
"""36 products for 16 results, where the plain form has 144. These points lose least in float32:
an error of 4 times the plain form's, where the usual 0, 1, -1, 2, -2 have one of 10 times."""
_UPSAMPLED = _Filter(
    ((1.0, -1.0, 0.0), (0.0, 1.0, 0.0), (0.0, -1.0, 1.0)),
    ((1.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.0, 0.0, 1.0)),
    ((1.0, 1.0, 0.0), (0.0, 1.0, 1.0)),
    stride=1,
)
"""9 products for the 2x2 results of a pixel enlarged, where the plain form has 36. With a pixel's
neighbours l and r, its two results are k0 l + (k1 + k2) x and (k0 + k1) x + k2 r, which is
k0 (l - x) + (k0 + k1 + k2) x and (k0 + k1 + k2) x + k2 (r - x)."""


def pays(
    x: Float[Array, "frames height width in"],
    kernel: Float[Array, "3 3 in out"],
    *,
    upsampled: bool = False,
) -> bool:
    """Whether the functions below are for these shapes, and faster than plain convolutions.

    Few frames under a wide kernel are not, as making and reading the kernel's tiles then takes
    longer than the products save. So the last digits of a frame's result may depend on how many
    frames it comes with.
    """
    frames, height, width, inputs = x.shape
    outputs = kernel.shape[-1]
    if jax.default_backend() != "cpu" or x.dtype != jnp.float32:
        return False
    form = _UPSAMPLED if upsampled else _SAME_SIZE
    fits = height % form.stride == width % form.stride == 0
    wide = min(inputs, outputs) >= 16 and max(inputs, outputs) >= 32
    work = height * width * inputs * outputs * (4 if upsampled else 1)
    tiles = frames * height * width // form.stride**2
    return fits and wide and work >= _LEAST_WORK and 8 * tiles >= outputs


def conv3x3(
    x: Float[Array, "frames height width in"], kernel: Float[Array, "3 3 in out"]
) -> Float[Array, "frames height width out"]:
    """A 3x3 convolution, stride 1, zero padding; height and width are multiples of 4."""
    return _filtered(_SAME_SIZE, x, kernel)


def upsampled_conv3x3(
    x: Float[Array, "frames height width in"], kernel: Float[Array, "3 3 in out"]
) -> Float[Array, "frames 2*height 2*width out"]:
    """`conv3x3` of `x` enlarged twice by nearest neighbours, without enlarging it."""
    return _filtered(_UPSAMPLED, x, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _filtered(form: _Filter, x, kernel):
    kernel_tiles = _kernel_tiles(form, kernel)

    def of_chunk(x):
        products = _multiplied("ptc,pco->pto", _window_tiles(form, x), kernel_tiles)
        return _results(form, products, x.shape)

    return _joined(jax.lax.map(of_chunk, _chunked(form, x, kernel, x)), len(x))


def _forward(form, x, kernel):
    return _filtered(form, x, kernel), (x, kernel)


def _backward(form, given, gradient):
    x, kernel = given
    # the kernel's tiles are made again: keeping them takes memory
    turned_tiles = _kernel_tiles(form, kernel.swapaxes(2, 3))

    def of_chunk(kernel_sums, chunk):
        x, gradient = chunk
        window_tiles, windows_back = jax.vjp(functools.partial(_window_tiles, form), x)
        result_tiles = _results_back(form, gradient)
        of_kernel = _multiplied("ptc,pto->pco", window_tiles, result_tiles)
        kernel_sums = jax.tree.map(jnp.add, kernel_sums, of_kernel)
        return kernel_sums, *windows_back(_multiplied("pto,poc->ptc", result_tiles, turned_tiles))

    chunks = tuple(_chunked(form, x, kernel, array) for array in (x, gradient))
    start = [jnp.zeros_like(tiles.swapaxes(1, 2)) for tiles in turned_tiles]
    kernel_sums, to_x = jax.lax.scan(of_chunk, start, chunks)
    return _joined(to_x, len(x)), _kernel_tiles_back(form, kernel_sums)


_filtered.defvjp(_forward, _backward)


def _multiplied(subscripts: str, left: Tiles, right: Tiles) -> Tiles:
    return [jnp.einsum(subscripts, a, b) for a, b in zip(left, right, strict=True)]


def _combined(weights: Sequence[float], parts: Sequence[Array]) -> Array:
    terms = [weight * part for weight, part in zip(weights, parts, strict=True) if weight]
    return functools.reduce(operator.add, terms)


def _transposed(matrix: Matrix) -> Matrix:
    return tuple(zip(*matrix, strict=True))


def _window_tiles(form, x):
    """B x, along both sides: (products, tiles, channels) for each product along a row."""
    height, width, channels = x.shape[1:]
    size, step = len(form.of_window), form.stride
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows = [padded[:, place : place + height - step + 1 : step] for place in range(size)]
    tall = jnp.stack([_combined(weights, rows) for weights in form.of_window])
    columns = [tall[:, :, :, place : place + width - step + 1 : step] for place in range(size)]
    return [_combined(weights, columns).reshape(size, -1, channels) for weights in form.of_window]


def _kernel_tiles(form, kernel):
    """G k, along both sides: (products, in, out) for each product along a row."""
    tall = jnp.stack([_combined(weights, list(kernel)) for weights in form.of_kernel])
    return [_combined(weights, list(tall.swapaxes(0, 1))) for weights in form.of_kernel]


def _kernel_tiles_back(form, tiles):
    """The transpose of `_kernel_tiles`; that of autodiff is many times slower."""
    taps = _transposed(form.of_kernel)
    tall = jnp.stack([_combined(weights, tiles) for weights in taps], axis=1)
    return jnp.stack([_combined(weights, list(tall)) for weights in taps])


def _results(form, products, shape):
    """A of the products, along both sides: the chunk's results, of windows of this shape."""
    frames, height, width, _ = shape
    outputs = products[0].shape[-1]
    columns = width // form.stride * len(form.of_result)
    wide = jnp.stack([_combined(weights, products) for weights in form.of_result], axis=2)
    wide = wide.reshape(-1, frames, height // form.stride, columns, outputs)
    rows = [_combined(weights, list(wide)) for weights in form.of_result]
    return jnp.stack(rows, axis=2).reshape(frames, -1, columns, outputs)


def _results_back(form, gradient):
    """The transpose of `_results`; that of autodiff is several times slower."""
    size, of_products = len(form.of_result), _transposed(form.of_result)
    rows = [gradient[:, place::size] for place in range(size)]
    tall = jnp.stack([_combined(weights, rows) for weights in of_products])
    columns = [tall[:, :, :, place::size] for place in range(size)]
    shape = (len(of_products), -1, gradient.shape[-1])
    return [_combined(weights, columns).reshape(shape) for weights in of_products]


def _chunked(form, x, kernel, array):
    """`array`, with a row for each frame of `x`, as (chunks, frames of a chunk, ...).

    Frames of zeros fill the last chunk up, where no fitting number of chunks divides the frames.
    A chunk aims at no less than half of the kernel's tiles, as it reads them all.
    """
    products = len(form.of_window) ** 2
    tiles = x.itemsize * products * math.prod(x.shape[1:]) / form.stride**2
    kernel_tiles = x.itemsize * products * math.prod(kernel.shape[2:])
    least = max(1, min(len(x), round(len(x) * tiles / max(_CHUNK_BYTES, kernel_tiles / 2))))
    dividing = (count for count in range(least, 2 * least) if len(x) % count == 0)
    size = math.ceil(len(x) / next(dividing, least))
    count = math.ceil(len(x) / size)
    filled = jnp.pad(array, ((0, count * size - len(x)), *((0, 0),) * (array.ndim - 1)))
    return filled.reshape(count, size, *array.shape[1:])


def _joined(chunks, frames):
    return chunks.reshape(-1, *chunks.shape[2:])[:frames]
