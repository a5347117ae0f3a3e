"""The only place that knows of several devices.

State is one unstacked copy; batches are split over the local devices along their first axis.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from cvae_jax.errors import UserError

_AXIS = "device"


def pmap_replicated(function: Callable, *, donate_argnums: tuple[int, ...] = ()) -> Callable:
    """Pmap of `function(state, shards, constant) -> (new state, metrics)`.

    The state and the constant are the same on every device, and so must be what it returns:
    average over `mean_over_devices` before anything enters the state.
    """
    return jax.pmap(
        function,
        axis_name=_AXIS,
        in_axes=(None, 0, None),
        out_axes=None,
        donate_argnums=donate_argnums,
    )


def pmap_sharded(function: Callable) -> Callable:
    """Pmap of `function(state, shards, constant) -> results`, with a leading axis of devices."""
    return jax.pmap(function, axis_name=_AXIS, in_axes=(None, 0, None))


def replicate(tree: Any) -> Any:
    """The state as pmapped programs return it; given otherwise, they would be compiled twice."""
    mesh = jax.sharding.Mesh(np.array(jax.local_devices()), (_AXIS,))
    return jax.device_put(tree, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))


def mean_over_devices(tree: Any) -> Any:
    """The mean over all devices of all processes; for use inside a pmapped function."""
    return jax.lax.pmean(tree, _AXIS)


def shard(tree: Any) -> Any:
    """(batch, ...) to (local devices, batch / local devices, ...), leaf by leaf."""
    count = jax.local_device_count()
    return jax.tree.map(lambda x: x.reshape(count, len(x) // count, *x.shape[1:]), tree)


def unshard(tree: Any) -> Any:
    """The inverse of `shard`, as arrays of the host."""
    return jax.tree.map(lambda x: jax.device_get(x).reshape(-1, *x.shape[2:]), tree)


def round_up(batch_size: int) -> int:
    """The smallest multiple of the number of local devices that is at least `batch_size`."""
    count = jax.local_device_count()
    return -(-batch_size // count) * count


def check_batch_size(batch_size: int) -> None:
    """Raises UserError unless the batch splits evenly over all devices of all processes."""
    count = jax.device_count()
    if batch_size % count:
        raise UserError(
            f"--config.train.batch_size={batch_size}: must be a multiple of the {count} devices "
            f"(such as {-(-batch_size // count) * count})"
        )
