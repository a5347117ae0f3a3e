"""Convolutions and poolings that the encoder, the decoder and the predictor share."""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cvae_jax.models import winograd
from cvae_jax.models.convolution import convolve
from cvae_jax.types import Motion

NUM_STAGES = 4
"""Of the encoder and the decoder: at full, 1/2, 1/4 and 1/8 size."""
KERNEL_INIT = nn.initializers.variance_scaling(2.0, "fan_in", "truncated_normal")
"""Keeps activations at scale through leaky ReLUs without a normaliser (He et al. 2015)."""
SMALL_INIT = nn.initializers.variance_scaling(0.01, "fan_in", "truncated_normal")
"""Lets little of a last layer through at the start of training."""
CONDITION_FREQUENCIES, _PATH_FREQUENCIES = (1.5, 3.0), (0.5, 1.0)
"""Of waves, in radians per standard deviation of a condition and of an action."""


def activation(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """The leaky ReLU of SVG, slope 0.2."""
    return nn.leaky_relu(x, 0.2)


def logit(frame: Float[Array, "..."]) -> Float[Array, "..."]:
    """Where a sigmoid has to start from to give `frame`, kept away from its flat ends."""
    inside = jnp.clip(frame, 0.02, 0.98)
    return jnp.log(inside) - jnp.log1p(-inside)


def per_frame(
    x: Float[Array, "clips *features"], frames: Float[Array, "frames *_"]
) -> Float[Array, "frames *features"]:
    """A row for every row of `frames`, which stand clip after clip, from one for every clip."""
    return jnp.repeat(x, len(frames) // len(x), axis=0)


def with_waves(
    x: Float[Array, "*batch features"], frequencies: tuple[float, ...]
) -> Float[Array, "*batch features_and_waves"]:
    """`x` with its sines and cosines at each frequency, in radians per unit of x.

    What is drawn turns on small differences of what is known of the arm, and networks learn such
    dependence several times faster from waves (Tancik et al. 2020, section 5).
    """
    waves = [wave(frequency * x) for frequency in frequencies for wave in (jnp.sin, jnp.cos)]
    return jnp.concatenate([x, *waves], axis=-1)


def motion_waves(motion: Motion) -> Float[Array, "*batch features_and_waves"]:
    """`with_waves` of what is known of the arm at a frame that is to be drawn."""
    step = with_waves(motion.step, CONDITION_FREQUENCIES)
    return jnp.concatenate([step, with_waves(motion.path, _PATH_FREQUENCIES)], axis=-1)


def normalized(x: Float[Array, "*batch channels"]) -> Float[Array, "*batch channels"]:
    """`x` with mean 0 and variance 1 over its channels, in float32 (Ba et al. 2016).

    It bounds h and g without the flat ends of a tanh, on which training was seen to stop.
    """
    x = x.astype(jnp.float32)
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.square(centred).mean(axis=-1, keepdims=True) + 1e-5)


def with_bias(
    x: Float[Array, "*batch features"], bias: Float[Array, "features"]
) -> Float[Array, "*batch features"]:
    """Their sum in the type of `x`. The bias's gradient, a sum over all places, is float32's.

    In bfloat16 a long sum ends where its next term is less than a 256th of it.
    """
    return (x.astype(jnp.float32) + bias).astype(x.dtype)


def conv3x3(
    x: Float[Array, "batch height width in"], kernel: Float[Array, "3 3 in out"]
) -> Float[Array, "batch height width out"]:
    """A 3x3 convolution, stride 1, zero padding."""
    if winograd.pays(x, kernel):
        return winograd.conv3x3(x, kernel)
    return convolve(x, kernel, ((1, 1), (1, 1)))


def upsampled_conv3x3(
    x: Float[Array, "batch height width in"], kernel: Float[Array, "3 3 in out"]
) -> Float[Array, "batch 2*height 2*width out"]:
    """`conv3x3` of `x` enlarged twice by nearest neighbours, without enlarging it.

    Wide ones take 9 products on a CPU where the plain form has 36 (winograd.py). Else each of the
    four phases of the output sees a 2x2 neighbourhood of the small image, under a kernel whose
    rows and columns are sums of the 3x3 kernel's: 16 products.
    """
    if winograd.pays(x, kernel, upsampled=True):
        return winograd.upsampled_conv3x3(x, kernel)
    height, width = x.shape[1:3]
    top = jnp.stack([kernel[0], kernel[1] + kernel[2]])  # even rows see small rows i-1, i
    bottom = jnp.stack([kernel[0] + kernel[1], kernel[2]])  # odd rows see i, i+1
    rows = []
    for row_kernel, row_padding in ((top, (1, 0)), (bottom, (0, 1))):
        left = jnp.stack([row_kernel[:, 0], row_kernel[:, 1] + row_kernel[:, 2]], axis=1)
        right = jnp.stack([row_kernel[:, 0] + row_kernel[:, 1], row_kernel[:, 2]], axis=1)
        phases = [
            convolve(x, phase, (row_padding, column_padding))
            for phase, column_padding in ((left, (1, 0)), (right, (0, 1)))
        ]
        rows.append(jnp.stack(phases, axis=3))  # (batch, height, width, 2, out)
    out = jnp.stack(rows, axis=2)  # (batch, height, 2, width, 2, out)
    return out.reshape(x.shape[0], 2 * height, 2 * width, -1)


@jax.custom_vjp
def max_pool2x2(
    x: Float[Array, "batch height width channels"],
) -> Float[Array, "batch height//2 width//2 channels"]:
    """2x2 maximum; four strided slices are faster than a reduce_window on a CPU.

    For the gradient it keeps a byte for each result, which of the four it was; autodiff keeps six
    numbers. Of equal ones one gets the gradient.
    """
    return _maximum_and_place(x)[0]


def _maximum_and_place(x):
    upper, lower = x[:, ::2], x[:, 1::2]
    rows, is_lower = jnp.maximum(upper, lower), lower > upper
    left, right = rows[:, :, ::2], rows[:, :, 1::2]
    is_right = right > left
    is_lower = jnp.where(is_right, is_lower[:, :, 1::2], is_lower[:, :, ::2])
    place = 2 * is_lower.astype(jnp.uint8) + is_right.astype(jnp.uint8)
    return jnp.maximum(left, right), place


def _to_its_place(place, gradient):
    places = jnp.arange(4, dtype=jnp.uint8).reshape(2, 1, 2, 1)
    is_there = place[:, :, None, :, None] == places  # (batch, height, 2, width, 2, channels)
    spread = jnp.where(is_there, gradient[:, :, None, :, None], 0)
    batch, height, width, channels = gradient.shape
    return (spread.reshape(batch, 2 * height, 2 * width, channels),)


max_pool2x2.defvjp(_maximum_and_place, _to_its_place)


def standardized(
    kernel: Float[Array, "3 3 in out"], gain: Float[Array, "out"]
) -> Float[Array, "3 3 in out"]:
    """The kernel with mean 0 and a variance that keeps activations at scale, times `gain`.

    Scaled weight standardisation (Brock et al. 2021, eq. 1): what a normaliser does for the size
    of a useful learning rate, at the cost of the parameters alone.
    """
    mean = kernel.mean(axis=(0, 1, 2))
    fan_in = math.prod(kernel.shape[:3])
    scale = jax.lax.rsqrt(jnp.maximum(kernel.var(axis=(0, 1, 2)) * fan_in, 1e-4))
    return (kernel - mean) * (scale * gain * _GAIN)


_GAIN = math.sqrt(2.0 / (1.0 + 0.2**2))
"""Of leaky ReLU with slope 0.2."""


class Dense(nn.Module):
    """A dense layer over the last axis. Flax's own has its bias's gradient in `dtype`."""

    features: int
    dtype: jnp.dtype
    kernel_init: nn.initializers.Initializer = KERNEL_INIT

    @nn.compact
    def __call__(self, x: Float[Array, "*batch in"]) -> Float[Array, "*batch features"]:
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return with_bias(x.astype(self.dtype) @ kernel.astype(self.dtype), bias)


class Conv3x3(nn.Module):
    """A 3x3 convolution with a standardised kernel and a bias."""

    features: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width in"]
    ) -> Float[Array, "batch height width features"]:
        kernel = self.param("kernel", KERNEL_INIT, (3, 3, x.shape[-1], self.features))
        gain = self.param("gain", nn.initializers.ones, (self.features,))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        kernel = standardized(kernel, gain).astype(self.dtype)
        return with_bias(conv3x3(x.astype(self.dtype), kernel), bias)


class ConvBlock(nn.Module):
    """3x3 convolutions, each followed by the activation."""

    channels: tuple[int, ...]
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width in"]
    ) -> Float[Array, "batch height width out"]:
        for features in self.channels:
            x = activation(Conv3x3(features, self.dtype)(x))
        return x


def rematerialized(layer: Callable[..., Any], wanted: bool) -> Callable[..., Any]:
    """The layer or, if wanted, one that keeps its input alone for a gradient (Chen et al. 2016).

    `layer`: a Module, or a function of one.
    """
    return nn.remat(layer) if wanted else layer


class Head3x3(nn.Module):
    """A 3x3 convolution with a bias; by default little comes of it at the start of training."""

    features: int
    dtype: jnp.dtype
    kernel_init: nn.initializers.Initializer = SMALL_INIT

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width in"]
    ) -> Float[Array, "batch height width features"]:
        kernel = self.param("kernel", self.kernel_init, (3, 3, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return with_bias(conv3x3(x.astype(self.dtype), kernel.astype(self.dtype)), bias)


class MergeSkip(nn.Module):
    """The 3x3 convolution of [x, skip] that opens a decoder stage, then the activation.

    It is a sum, conv(x) + conv(skip), so that a skip which serves several frames of its clip is
    convolved once. With `upsample`, x is first enlarged twice by nearest neighbours.
    """

    features: int
    upsample: bool
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "frames _ _ channels"],
        skip: Float[Array, "clips height width skip_channels"],
    ) -> Float[Array, "frames height width features"]:
        inputs = x.shape[-1]
        shape = (3, 3, inputs + skip.shape[-1], self.features)
        kernel = self.param("kernel", KERNEL_INIT, shape)
        gain = self.param("gain", nn.initializers.ones, (self.features,))
        kernel = standardized(kernel, gain).astype(self.dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        conv = upsampled_conv3x3 if self.upsample else conv3x3
        out = conv(x.astype(self.dtype), kernel[:, :, :inputs])
        shared = with_bias(conv3x3(skip.astype(self.dtype), kernel[:, :, inputs:]), bias)
        out = out.reshape(shared.shape[0], -1, *out.shape[1:]) + shared[:, None]
        return activation(out).reshape(-1, *out.shape[2:])


class MatrixConv3x3(nn.Module):
    """A 3x3 convolution as one matrix product over shifted copies.

    For small maps inside a loop over time, where it is faster on a CPU than `conv3x3`, or as fast
    (docs/performance.md).
    """

    features: int
    dtype: jnp.dtype
    kernel_init: nn.initializers.Initializer = KERNEL_INIT

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width in"]
    ) -> Float[Array, "batch height width features"]:
        height, width = x.shape[1:3]
        padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        shifted = [
            padded[:, row : row + height, column : column + width]
            for row in range(3)
            for column in range(3)
        ]
        dense = Dense(self.features, self.dtype, self.kernel_init)
        return dense(jnp.concatenate(shifted, axis=-1))
