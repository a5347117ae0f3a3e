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
    """How results come of windows: A ((G k) * (B x)); a window starts every `stride` places.

    Each of the three is a product of matrices, which are applied from the last to the first.
    """

    of_window: tuple[Matrix, ...]
    of_kernel: tuple[Matrix, ...]
    of_result: tuple[Matrix, ...]
    stride: int


def _winograd(point: float, other: float) -> _Filter:
    """F(4, 3), four results from six products: polynomials multiplied by values at points.

    The points are 0, these two with either sign, and infinity (Cook-Toom: Blahut 2010, chapter 5).
    Values at a point and its negative are sum and difference of what comes of even and of odd
    powers, so half of the work serves both.
    """
    points = [0.0, point, -point, other, -other]
    others = [np.delete(points, place) for place in range(len(points))]
    windows = [[*np.poly(rest)[::-1], 0.0] for rest in others] + [np.poly(points)[::-1]]
    scales = [np.prod(point - rest) for point, rest in zip(points, others, strict=True)]
    kernels = np.vander(points, 3, increasing=True) / np.array(scales)[:, None]
    results = np.vander(points, 4, increasing=True).T
    signs = np.eye(6)
    for place in (1, 3):
        signs[place : place + 2, place : place + 2] = [[1.0, 1.0], [1.0, -1.0]]
    halves, both = np.linalg.inv(signs), _matrix(signs)
    return _Filter(
        (both, _matrix(halves @ windows)),
        (both, _matrix(halves @ [*kernels, [0.0, 0.0, 1.0]])),
        (_matrix(np.column_stack([results, [0.0, 0.0, 0.0, 1.0]]) @ halves), both),
        stride=4,
    )


def _matrix(rows) -> Matrix:
    return tuple(tuple(float(value) for value in row) for row in np.round(rows, 12) + 0.0)


_SAME_SIZE = _winograd(2 / 3, 3 / 2)
"""36 products for 16 results, where the plain form has 144. These points lose least in float32:
an error of 4 times the plain form's, where the usual 0, 1, -1, 2, -2 have one of 10 times."""
_UPSAMPLED = _Filter(
    (((1.0, -1.0, 0.0), (0.0, 1.0, 0.0), (0.0, -1.0, 1.0)),),
    (((1.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.0, 0.0, 1.0)),),
    (((1.0, 1.0, 0.0), (0.0, 1.0, 1.0)),),
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
    wide = min(inputs, outputs) >= 32 and max(inputs, outputs) >= 64
    work = height * width * inputs * outputs * (4 if upsampled else 1)
    tiles = frames * height * width // form.stride**2
    return fits and wide and work >= _LEAST_WORK and 8 * tiles >= outputs


def conv3x3(
    x: Float[Array, "frames height width in"], kernel: Float[Array, "3 3 in out"]
) -> Float[Array, "frames height width out"]:
    """A 3x3 convolution, stride 1, zero padding; height and width are multiples of 4."""
    return _traced_once(_SAME_SIZE, x, kernel)


def upsampled_conv3x3(
    x: Float[Array, "frames height width in"], kernel: Float[Array, "3 3 in out"]
) -> Float[Array, "frames 2*height 2*width out"]:
    """`conv3x3` of `x` enlarged twice by nearest neighbours, without enlarging it."""
    return _traced_once(_UPSAMPLED, x, kernel)


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
        window_tiles = _window_tiles(form, x)
        result_tiles = _results_back(form, gradient)
        of_kernel = _multiplied("ptc,pto->pco", window_tiles, result_tiles)
        kernel_sums = jax.tree.map(jnp.add, kernel_sums, of_kernel)
        to_windows = _multiplied("pto,poc->ptc", result_tiles, turned_tiles)
        return kernel_sums, _window_tiles_back(form, to_windows, x.shape)

    chunks = tuple(_chunked(form, x, kernel, array) for array in (x, gradient))
    start = [jnp.zeros_like(tiles.swapaxes(1, 2)) for tiles in turned_tiles]
    kernel_sums, to_x = jax.lax.scan(of_chunk, start, chunks)
    return _joined(to_x, len(x)), _kernel_tiles_back(form, kernel_sums)


_filtered.defvjp(_forward, _backward)
_traced_once = jax.jit(_filtered, static_argnums=0)
"""Layers of equal shapes share their tracing, those of a run's second program as well."""


def _multiplied(subscripts: str, left: Tiles, right: Tiles) -> Tiles:
    return [jnp.einsum(subscripts, a, b) for a, b in zip(left, right, strict=True)]


def _applied(matrices: Sequence[Matrix], parts: Sequence[Array]) -> list[Array]:
    """Sums of the parts, weighted by a row each; one matrix after the other, the last one first."""
    for matrix in reversed(matrices):
        parts = [_combined(weights, parts) for weights in matrix]
    return list(parts)


def _combined(weights: Sequence[float], parts: Sequence[Array]) -> Array:
    pairs = [(weight, part) for weight, part in zip(weights, parts, strict=True) if weight]
    (weight, part), *rest = sorted(pairs, key=lambda pair: -pair[0])
    total = part if weight == 1.0 else weight * part
    for weight, part in rest:
        term = part if abs(weight) == 1.0 else abs(weight) * part
        total = total + term if weight > 0 else total - term
    return total


def _transposed(matrices: Sequence[Matrix]) -> tuple[Matrix, ...]:
    return tuple(tuple(zip(*matrix, strict=True)) for matrix in reversed(matrices))


def _window_tiles(form, x):
    """B x, along both sides: (products, tiles, channels) for each product along a row."""
    height, width, channels = x.shape[1:]
    size, step = form.stride + 2, form.stride
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows = [padded[:, place : place + height - step + 1 : step] for place in range(size)]
    tall = jnp.stack(_applied(form.of_window, rows))
    columns = [tall[:, :, :, place : place + width - step + 1 : step] for place in range(size)]
    tiles = _applied(form.of_window, columns)
    return [tile.reshape(len(tile), -1, channels) for tile in tiles]


def _window_tiles_back(form, tiles, shape):
    """The transpose of `_window_tiles`, to the chunk's inputs of this shape."""
    frames, height, width, channels = shape
    step, back = form.stride, _transposed(form.of_window)
    grid = (-1, frames, height // step, width // step, channels)
    columns = _applied(back, [tile.reshape(grid) for tile in tiles])
    tall = _overlapping(columns, step, axis=3)
    rows = _applied(back, list(tall))
    return _overlapping(rows, step, axis=1)


def _overlapping(places, step, axis):
    """Windows along an axis, given by their places, put where they were and added up.

    A window starts one before its first result.
    """
    sums = []
    for own in range(step):
        there = [(place - 1 - own, part) for place, part in enumerate(places)]
        moved = [_moved(part, by // step, axis) for by, part in there if by % step == 0]
        sums.append(functools.reduce(operator.add, moved))
    out = jnp.stack(sums, axis=axis + 1)
    return out.reshape(*out.shape[:axis], -1, *out.shape[axis + 2 :])


def _moved(x, by, axis):
    """`x` moved along an axis, with zeros moving in."""
    around = [(by, -by, 0) if this == axis else (0, 0, 0) for this in range(x.ndim)]
    return jax.lax.pad(x, np.zeros((), x.dtype), around) if by else x


def _kernel_tiles(form, kernel):
    """G k, along both sides: (products, in, out) for each product along a row."""
    tall = jnp.stack(_applied(form.of_kernel, list(kernel)))
    return _applied(form.of_kernel, list(tall.swapaxes(0, 1)))


def _kernel_tiles_back(form, tiles):
    """The transpose of `_kernel_tiles`; that of autodiff is many times slower."""
    back = _transposed(form.of_kernel)
    tall = jnp.stack(_applied(back, tiles), axis=1)
    return jnp.stack(_applied(back, list(tall)))


def _results(form, products, shape):
    """A of the products, along both sides: the chunk's results, of windows of this shape."""
    frames, height = shape[:2]
    wide = jnp.stack(_applied(form.of_result, products), axis=2)
    wide = wide.reshape(len(products), frames, height // form.stride, -1, wide.shape[-1])
    rows = jnp.stack(_applied(form.of_result, list(wide)), axis=2)
    return rows.reshape(frames, -1, *rows.shape[3:])


def _results_back(form, gradient):
    """The transpose of `_results`; that of autodiff is several times slower."""
    back = _transposed(form.of_result)
    size = len(form.of_result[0])
    rows = [gradient[:, place::size] for place in range(size)]
    tall = jnp.stack(_applied(back, rows))
    columns = [tall[:, :, :, place::size] for place in range(size)]
    return [tile.reshape(len(tile), -1, gradient.shape[-1]) for tile in _applied(back, columns)]


def _chunked(form, x, kernel, array):
    """`array`, with a row for each frame of `x`, as (chunks, frames of a chunk, ...).

    Frames of zeros fill the last chunk up, where no fitting number of chunks divides the frames.
    A chunk aims at no less than half of the kernel's tiles, as it reads them all.
    """
    products = (form.stride + 2) ** 2
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
