"""Where in a step the first value that is not finite appears: data, layer, loss or gradient."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cvae_jax.config import Config
from cvae_jax.data.pipeline import Batch
from cvae_jax.errors import UserError
from cvae_jax.models.cvae import CVAE
from cvae_jax.train_state import TrainState
from cvae_jax.train_step import example_keys, loss_terms, own_examples, weighed


def check(
    config: Config,
    state: TrainState,
    batch: Batch,
    use_true: np.ndarray,
    kl_weight: float,
    workdir: Path,
) -> None:
    """Raises UserError, naming the place, if the step that led to `state` was skipped.

    A skipped step leaves the parameters as they were, so it can be done again from them.
    """
    if not int(state.num_skipped_in_row):
        return
    step = int(state.step)
    place = find(config, jax.device_get(state.params), batch, use_true, kl_weight, step - 1)
    clips = ", ".join(map(str, batch.clip_id[:12]))
    raise UserError(f"{workdir}: step {step} (clips {clips}): {place}")


def find(
    config: Config,
    params: Any,
    batch: Batch,
    use_true: np.ndarray,
    kl_weight: float,
    step: int,
) -> str:
    """One line on the first value that is not finite in this process's share of a step.

    The step is done again on one device, with every layer reporting as it is computed.

    Args:
      config: of the run.
      params: before the step.
      batch: of the step.
      use_true: (batch, target), as the step got it.
      kl_weight: beta.
      step: steps done before it; decides the noise, with the seed.
    """
    for name, tree in (("parameter", params), ("the batch's", batch._asdict())):
        if bad := next(_bad(tree), None):
            return f"before any layer, {name} {bad}"
    example = own_examples(batch)
    keys = example_keys(jax.random.key(config.seed), jnp.int32(step), jnp.asarray(example))
    own = jnp.asarray(use_true[example])
    inputs = keys, batch, own  # as arguments: XLA computes with constants, slowly
    model, forced = CVAE(config.model), bool(use_true.all())

    def loss(params, inputs):
        terms = loss_terms(model, params, *inputs, forced=forced)
        return weighed(terms, kl_weight), terms

    seen: list[tuple[str, str | None]] = []
    with nn.intercept_methods(_watch(seen)):
        _, terms = jax.jit(loss)(params, inputs)
        jax.effects_barrier()
    place = next((f"layer {layer}: {bad}" for layer, bad in seen if bad), None)
    if place is None and (bad := next(_bad(terms), None)):
        place = f"every layer is finite, the loss term {bad} is not"
    if place is None:
        gradient = jax.jit(jax.grad(loss, has_aux=True))(params, inputs)[0]
        place = _first_gradient(gradient, [layer for layer, _ in seen])
    return place


def _watch(seen: list[tuple[str, str | None]]):
    """An interceptor that notes, innermost first, each module's call and what of it is bad."""

    def intercept(method, args, kwargs, context):
        out = method(*args, **kwargs)
        if context.method_name in ("setup", "init"):
            return out
        layer = "/".join(context.module.path) or "cvae"
        if context.method_name != "__call__":
            layer += f".{context.method_name}"
        into, made = _arrays((args, kwargs)), _arrays(out)
        names = [f"its input {name} already" for name in into] + [f"output {n}" for n in made]

        def note(counts):
            rows = zip(names, np.asarray(counts).tolist(), strict=True)
            bad = [_told(name, *row) for name, row in rows if any(row)]
            seen.append((layer, next(iter(bad), None)))

        if made:
            jax.debug.callback(note, _counts([*into.values(), *made.values()]), ordered=True)
        return out

    return intercept


def _arrays(tree: Any) -> dict[str, Any]:
    """By name, type and shape, the arrays of floating point in a tree."""
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if isinstance(leaf, jax.Array | np.ndarray) and jnp.issubdtype(leaf.dtype, jnp.floating):
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            shape = f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"
            found[f"{name} {shape}".strip()] = leaf
    return found


def _counts(arrays: list[Any]) -> Any:
    """Of each array the NaN and the infinities."""
    return jnp.array([[jnp.isnan(x).sum(), jnp.isinf(x).sum()] for x in arrays])


def _told(name: str, nans: int, infinities: int) -> str:
    return f"{name} ({nans} NaN, {infinities} infinite)"


def _bad(tree: Any) -> Iterator[str]:
    """Name, type, shape and contents of each array that is not finite."""
    for name, array in _arrays(tree).items():
        nans, infinities = int(np.isnan(array).sum()), int(np.isinf(array).sum())
        if nans or infinities:
            yield _told(name, nans, infinities)


def _first_gradient(gradient: Any, layers: list[str]) -> str:
    """The parameter at which the way back through the layers first goes wrong."""
    order = {layer: index for index, layer in enumerate(layers)}
    bad = list(_bad(gradient))
    if not bad:
        return "on one device layers, loss and gradient are finite: it is at the edge of rounding"
    latest = max(bad, key=lambda told: order.get(told.split(" ")[0].rpartition("/")[0], -1))
    count = len(jax.tree.leaves(gradient))
    return (
        f"every layer and the loss are finite, the gradient is not, first of parameter {latest}; "
        f"{len(bad)} of {count} parameters have such a one"
    )
