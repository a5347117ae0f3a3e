"""How work is shared out to several devices.

State is one unstacked copy; batches are split over the local devices along their first axis.
"""

import functools
import os
import threading
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import serialize_executable

from cvae_jax import cores, hosts, launcher
from cvae_jax.errors import UserError

MAX_CPU_DEVICES = 4
"""Two cores were measured; each more device costs a copy of the state and a longer reduction."""
_AXIS = "device"
_KEPT = "/jax/compilation_cache/cache_misses"
"""Heard when a program that was just compiled goes to the cache."""
_OPTIONS: dict[str, bool | str] = {
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED",
}


def share_cores(batch_size: int, num_processes: int = 1, num_here: int = 1) -> None:
    """On a CPU, makes of the cores as many devices as can share a batch evenly, at most four.

    XLA gives a device's cores to some operations at once and leaves them idle in the others; a
    device for each core keeps it busy in all. Samples to draw fill up whatever number there is:
    MAX_CPU_DEVICES as their batch asks for 1, 2 or 4. GPUs and TPUs are what they are. Of several
    processes each takes its share of the batch and, if some are on this machine, of the cores.
    To be called before JAX looks for devices. JAX_NUM_CPU_DEVICES, or a number of host devices in
    XLA_FLAGS, that is already set is left alone and turns it off.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if "JAX_NUM_CPU_DEVICES" in os.environ or "xla_force_host_platform_device_count" in flags:
        return
    num_cores = max(1, len(cores.usable()) // num_here)
    jax.config.update("jax_num_cpu_devices", cpu_devices(batch_size // num_processes, num_cores))


def cpu_devices(batch_size: int, num_cores: int) -> int:
    """The largest number of devices, at most one a core and four, that divides a batch."""
    most = min(num_cores, MAX_CPU_DEVICES)
    return max(n for n in range(1, most + 1) if batch_size % n == 0)


def check_devices() -> None:
    """Raises UserError if JAX finds no device, or is told not to compile for it.

    That another process is lost meanwhile is raised as it is, for `hosts.joined`.
    """
    if jax.config.jax_disable_jit:  # type: ignore[attr-defined]  # made at run time
        raise UserError(
            "JAX_DISABLE_JIT=1: what runs on several devices has to be compiled; unset it (what is "
            "not finite is found by --config.train.debug_nan)"
        )
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        if hosts.is_loss(error):
            raise
        told = " ".join(str(error).split()) or "it says no more"
        names = "JAX_PLATFORMS", "JAX_PLATFORM_NAME", "JAX_NUM_CPU_DEVICES"
        settings = [f"{name}={os.environ[name]}" for name in names if name in os.environ]
        raise UserError(
            f"{', '.join(settings) or 'JAX'}: no such device is found here ({told}); unset that, "
            "or install the jax of your device, as pip install 'jax[cuda13]'"
        ) from error


def pmap_replicated(function: Callable) -> Any:
    """Pmap of `function(state, shards, constants) -> (new state, metrics)`.

    The state and the constants are the same on every device, and so must be what it returns:
    average over `mean_over_devices` before anything enters the state. The given one is donated.
    """
    return jax.pmap(
        function, axis_name=_AXIS, in_axes=(None, 0, None), out_axes=None, donate_argnums=(0,)
    )


def compiled(program: jax.stages.Lowered) -> jax.stages.Compiled:
    """A training program as the compilation cache gives it, also in the run that compiles it.

    What is read back from its serialised form runs faster on a CPU, with half of the context
    switches (docs/performance.md). It can't be serialised again, so a program that the cache gave
    is left as it is. What compiling leaves in memory is given back.
    """
    options = compiler_options()  # which may compile as well, unheard
    events: list[str] = []
    thread = threading.get_ident()

    def hear(event: str, **_: Any) -> None:
        if threading.get_ident() == thread:
            events.append(event)

    jax.monitoring.register_event_listener(hear)
    try:
        fresh = program.compile(options)
    finally:
        jax.monitoring.unregister_event_listener(hear)
    if _KEPT in events and jax.default_backend() == "cpu":
        fresh = serialize_executable.deserialize_and_load(*serialize_executable.serialize(fresh))
    launcher.give_back_memory()
    return fresh


def compiler_options() -> dict[str, bool | str]:
    """For programs of training: on a CPU, XLA's older emitters and its saving of memory.

    The older emitters of fused loops compile sooner, and what they make runs faster. But how it
    rounds depends on how a batch is shared out, so figures are measured without them; jaxlib has
    them up to 0.10. The scheduler puts operations in the order that needs least memory, where by
    default each runs as early as it can (docs/performance.md). An option that XLA_FLAGS names is
    left alone, and one that this XLA does not know is left out.
    """
    if jax.default_backend() != "cpu":
        return {}
    flags = os.environ.get("XLA_FLAGS", "")
    return {
        name: value
        for name, value in _OPTIONS.items()
        if name not in flags and _has_option(name, value)
    }


@functools.cache
def _has_option(name: str, value: bool | str) -> bool:
    """Whether this XLA takes it, which only compiling something with it tells."""
    try:
        jax.jit(lambda: 0).lower().compile({name: value})
    except jax.errors.JaxRuntimeError as error:
        if "INVALID_ARGUMENT" not in str(error):
            raise
        return False
    return True


def pmap_sharded(function: Callable, most: int | None = None) -> Callable:
    """Pmap of `function(state, shards, constant) -> results`, with a leading axis of devices.

    On this process's own devices, or the first `most`; other processes need not take part.
    """
    devices = jax.local_devices()[:most]
    return jax.pmap(function, axis_name=_AXIS, in_axes=(None, 0, None), devices=devices)


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


def shard_shapes(tree: Any) -> Any:
    """What `shard` makes of arrays with these shapes."""
    count = jax.local_device_count()
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((count, x.shape[0] // count, *x.shape[1:]), x.dtype), tree
    )


def unshard(tree: Any) -> Any:
    """The inverse of `shard`, as arrays of the host."""
    return jax.tree.map(lambda x: jax.device_get(x).reshape(-1, *x.shape[2:]), tree)


def round_up(batch_size: int) -> int:
    """The smallest multiple of the number of local devices that is at least `batch_size`."""
    count = jax.local_device_count()
    return -(-batch_size // count) * count


def describe() -> str:
    """The devices in words, such as `2 CPU devices` or `1 CPU device in each of 2 processes`."""
    devices = jax.local_devices()
    kind = "CPU" if devices[0].platform == "cpu" else devices[0].device_kind
    several = f" in each of {jax.process_count()} processes" if jax.process_count() > 1 else ""
    return f"{len(devices)} {kind} device{'s' * (len(devices) > 1)}{several}"


def check_batch_size(batch_size: int) -> None:
    """Raises UserError unless the batch splits evenly over all devices of all processes."""
    count = jax.device_count()
    if count != jax.local_device_count() * jax.process_count():
        raise UserError(
            f"{jax.local_device_count()} of {count} devices are this process's, one of "
            f"{jax.process_count()}; give every process as many (JAX_NUM_CPU_DEVICES on a CPU)"
        )
    if batch_size % count:
        raise UserError(
            f"--config.train.batch_size={batch_size}: must be a multiple of the {count} devices "
            f"(such as {-(-batch_size // count) * count})"
        )


def memory_of(compiled: jax.stages.Compiled) -> int:
    """Bytes that a program needs at once, with what goes in and out, on all CPU devices or on one.

    CPU devices share the machine's memory, other devices have their own.
    """
    sizes = compiled.memory_analysis()
    if sizes is None:  # a backend that does not say
        return 0
    inside = sizes.temp_size_in_bytes + sizes.argument_size_in_bytes
    total = inside + sizes.output_size_in_bytes - sizes.alias_size_in_bytes
    return total * copies_of_the_state()


def copies_of_the_state() -> int:
    """How many copies of the state share one memory."""
    return jax.local_device_count() if jax.default_backend() == "cpu" else 1
