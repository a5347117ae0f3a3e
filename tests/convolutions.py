"""Plain convolutions, to hold the faster forms to."""

import jax
import jax.numpy as jnp
import numpy as np


def random(shape, seed):
    return jax.random.normal(jax.random.key(seed), shape)


def library_conv(x, kernel, padding="SAME"):
    dimensions = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=dimensions)


def enlarged(x):
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)


def enlarged_conv(x, kernel):
    return library_conv(enlarged(x), kernel)


def same_with_gradients(ours, plain, *arguments):
    weigh = random(jax.eval_shape(plain, *arguments).shape, 99)
    for function in (lambda f: f(*arguments), lambda f: _gradients(f, weigh, arguments)):
        both = [jax.tree.leaves(jax.jit(function, static_argnums=0)(f)) for f in (ours, plain)]
        for left, right in zip(*both, strict=True):
            np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-4)


def _gradients(function, weigh, arguments):
    return jax.grad(lambda args: (function(*args) * weigh).sum())(arguments)
