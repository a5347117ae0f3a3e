"""Several processes that train one run together, on one machine or many.

Each has its own devices and its own share of a batch. The first alone touches the workdir: it
restores, logs, validates and saves, and tells the others what they need to know.
"""

import atexit
import contextlib
import hashlib
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

from cvae_jax import native_log
from cvae_jax.errors import UserError

HEARTBEAT_SECONDS = 30
"""A process that has been silent for so long is lost, and the others stop."""
_DAY = 24 * 60 * 60  # those that are done wait for the first one's last validation
_SCHEDULERS = (  # what says that there are several, how many, and which this is
    ("SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID"),
    ("OMPI_MCA_orte_hnp_uri", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
)


class Processes(NamedTuple):
    """How many train together, and how many of them are known to share this machine's cores."""

    together: int = 1
    on_this_machine: int = 1


@contextlib.contextmanager
def joined(
    coordinator_address: str | None,
    num_processes: int | None,
    process_id: int | None,
    initialization_timeout: int,
) -> Iterator[Processes]:
    """Joins the processes of one run, as the flags or the scheduler say; ends when they do.

    Without flags, SLURM and Open MPI are asked; `auto` as address asks whatever JAX knows, such as
    a TPU slice or Kubernetes. To be called before JAX looks for devices.

    Raises:
      UserError: the flags do not fit together, or the coordinator cannot be reached.
    """
    found = _find(coordinator_address, num_processes, process_id)
    if found is None:
        yield Processes()
        return
    processes, arguments, is_first = found
    address = arguments.get("coordinator_address")
    if address and not is_first:
        _wait_for(address, initialization_timeout)
    native_log.divert()
    try:
        jax.distributed.initialize(
            **arguments,
            initialization_timeout=initialization_timeout,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=_DAY,
        )
    except (ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"--coordinator_address={coordinator_address}: {reason}; give --coordinator_address, "
            "--num_processes and --process_id, or --num_processes=1 to train alone"
        ) from error
    try:
        yield processes
    except BaseException as error:
        if is_loss(error):
            os.write(2, native_log.LOST.encode())
            _leave(1, is_first)
        mistake = isinstance(error, UserError | OSError)
        atexit.register(_leave, 2 if mistake else 1, is_first)
        raise


def _find(address, count, index) -> tuple[Processes, dict[str, Any], bool] | None:
    """Who trains together, what JAX is to be told of it, and whether this is the first process."""
    if count == 1:
        return None
    if (address, count, index) == (None, None, None):
        for sign, count_name, index_name in _SCHEDULERS:
            if sign in os.environ and int(os.environ.get(count_name, 1)) > 1:
                first = os.environ.get(index_name) == "0"
                return Processes(int(os.environ[count_name])), {}, first
        return None
    if address == "auto":
        return Processes(), {}, True
    _check(address, count, index)
    arguments = {"coordinator_address": address, "num_processes": count, "process_id": index}
    here = address.rpartition(":")[0] in ("localhost", "127.0.0.1", "[::1]")
    if here:
        arguments["coordinator_bind_address"] = address  # by default it listens on every interface
    return Processes(count, count if here else 1), arguments, index == 0


def _check(address, count, index):
    flags = {"coordinator_address": address, "num_processes": count, "process_id": index}
    missing = [f"--{name}" for name, value in flags.items() if value is None]
    if missing:
        raise UserError(
            f"{', '.join(missing)}: is missing; every process needs --coordinator_address, "
            "--num_processes and --process_id, or none of them"
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UserError(
            f"--coordinator_address={address}: must be HOST:PORT of process 0, as "
            "localhost:1234, or auto"
        )
    if count < 1:
        raise UserError(f"--num_processes={count}: must be at least 1")
    if not 0 <= index < count:
        raise UserError(
            f"--process_id={index}: must be 0 to {count - 1}, below --num_processes={count}"
        )


def _wait_for(address: str, seconds: int) -> None:
    """Raises UserError if nothing listens there in time; JAX would abort the process."""
    host, _, port = address.rpartition(":")
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
            return
        except OSError as error:
            if time.monotonic() > end:
                raise UserError(
                    f"--coordinator_address={address}: cannot be reached in {seconds} s "
                    f"({error.strerror or error}); start process 0 there, or correct the address"
                ) from error
        time.sleep(0.2)


def is_loss(error: BaseException) -> bool:
    """Whether a computation failed since another process is gone."""
    signs = "Gloo", "NCCL", "coordination service", "coordination_service", "CoordinationService"
    return isinstance(error, ValueError | RuntimeError) and any(s in str(error) for s in signs)


def _leave(code: int, is_first: bool) -> NoReturn:
    """Ends the process without JAX's wait for the others, which may well wait for this one."""
    if is_first:
        time.sleep(1)  # without the first, the others end at once: let them say their own
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def is_first() -> bool:
    """Whether this process is the one that writes."""
    return jax.process_index() == 0


def say(text: str) -> None:
    """Prints in the first process."""
    if is_first():
        print(text)


def from_first(make: Callable[[], Any]) -> Any:
    """What `make` gives in the first process, where alone it is called: anything JSON can say.

    Raises:
      UserError: in every process, if `make` raises it.
    """
    if jax.process_count() == 1:
        return make()
    told: dict[str, Any] = {}
    if is_first():
        try:
            told = {"value": make()}
        except UserError as error:
            told = {"error": str(error)}
    text = np.frombuffer(json.dumps(told).encode(), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    padded = np.resize(text, size)
    told = json.loads(np.asarray(multihost_utils.broadcast_one_to_all(padded)).tobytes())
    if "error" in told:
        raise UserError(told["error"])
    return told["value"]


def any_asks(asked: bool) -> bool:
    """Whether any process does, the same in all; they wait for each other."""
    if jax.process_count() == 1:
        return asked
    return bool(np.any(multihost_utils.process_allgather(np.array(asked))))


def least(value: float) -> float:
    """The least of all processes' values, to float32 precision; they wait for each other."""
    if jax.process_count() == 1:
        return value
    return float(np.min(multihost_utils.process_allgather(np.float32(value))))


def arrays_from_first(tree: Any) -> Any:
    """The first process's arrays, for all; the others give arrays of the same shapes."""
    return tree if jax.process_count() == 1 else multihost_utils.broadcast_one_to_all(tree)


def check_agreement(**values: Any) -> None:
    """Raises UserError in every process unless all have the same values, which JSON can say."""
    if jax.process_count() == 1:
        return
    own = [hashlib.sha256(json.dumps(v, sort_keys=True).encode()).digest() for v in values.values()]
    digests = multihost_utils.process_allgather(np.frombuffer(b"".join(own), np.uint8))
    digests = np.asarray(digests).reshape(jax.process_count(), len(values), -1)
    differs = (digests != digests[0]).any(axis=2)
    if differs.any():
        who = ", ".join(map(str, np.flatnonzero(differs.any(axis=1))))
        what = " and ".join(np.array(list(values))[differs.any(axis=0)])
        raise UserError(
            f"processes {who} differ from process 0 in {what}; start the same command everywhere, "
            "with the same data"
        )
