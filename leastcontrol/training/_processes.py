"""What the processes of one training agree on.

The engine is JAX's: `connect` joins the processes, a mesh holds the devices of all of them, and a
compiled epoch sums over it. Each process runs the same program on the same data, so that all hold
the same weights. Only the first one writes to the disk and prints. If it fails at that, the others
must not wait for it in the next sum: `by_first` and `restored_by_first` let them know how it ended.
`by_all` does the same for work that may fail in any process.
"""

import dataclasses
import json
from collections.abc import Callable
from typing import Any, TypeVar, cast

import equinox as eqx
import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from ._checkpoints import Resumable
from ._placement import placed_like

T = TypeVar("T")
State = TypeVar("State", bound=Resumable)


class DevicesError(ValueError):
    """There are fewer devices or processes than asked for; the message says what to do."""


class ProcessError(RuntimeError):
    """Another process of the same training could not go on, so this one stops too."""


def connect(coordinator: str, processes: int, process: int, *, timeout: int = 300) -> None:
    """Joins this process to the others of one training; nothing may use JAX before.

    **Arguments:**

    * `coordinator`: address and port at which all of them reach the first process; it listens on no
      other address.
    * `processes`, `process`: how many there are, and the number of this one, counted from 0.
    * `timeout`: how many seconds are waited for those that are missing.

    **Raises:** `DevicesError` where they do not meet.
    """
    try:
        jax.distributed.initialize(
            coordinator,
            processes,
            process,
            initialization_timeout=timeout,
            # Else it would listen on every interface of the machine.
            coordinator_bind_address=coordinator if process == 0 else None,
        )
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise DevicesError(
            f"Process {process} of {processes} did not meet the others at {coordinator} within "
            f"{timeout} s ({reason}): start them all with the same address, of the first one."
        ) from error


def device_mesh(devices: int | None = None, per_copy: int = 1) -> Mesh:
    """Makes a mesh of the first devices of every process, or of all of them.

    Its axes are `"samples"`, along which batches are split, and `"weights"`, whose devices hold a
    copy of the weights between them.

    **Arguments:**

    * `devices`: how many of each process; all without a number.
    * `per_copy`: how many devices hold one copy. The devices of a copy belong to one process.

    **Raises:** `DevicesError` where this process has fewer, or their number is no multiple of
    `per_copy`.
    """
    local = jax.local_device_count()
    if devices is not None and not 1 <= devices <= local:
        kind = jax.local_devices()[0].platform
        raise DevicesError(
            f"{devices} devices are asked for, but JAX has {local} here ({kind}): ask for at most "
            f"{local}; a processor is split into several by "
            "XLA_FLAGS=--xla_force_host_platform_device_count."
        )
    number = local if devices is None else devices
    if per_copy < 1 or number % per_copy:
        fitting = max(n for n in range(1, max(1, per_copy) + 1) if number % n == 0)
        raise DevicesError(
            f"{per_copy} devices are to hold a copy of the weights, but a process has {number}, "
            f"which are divided into copies without a rest: ask for {fitting} devices per copy."
        )
    chosen = []
    for process in range(jax.process_count()):
        there = [device for device in jax.devices() if device.process_index == process]
        chosen += there[:devices]
    return Mesh(np.array(chosen).reshape(-1, per_copy), ("samples", "weights"))


def is_first() -> bool:
    """Tells whether this process is the one that writes."""
    return jax.process_index() == 0


def by_first(work: Callable[[], Any]) -> Any:
    """Lets the first process work, and gives its result, of JSON's types, to every process.

    **Raises:** in the first process what its work raises, and in the others `ProcessError`.
    """
    if jax.process_count() == 1:
        return work()
    if not is_first():
        content = _broadcast(b"")
        if not content:
            raise ProcessError(
                "The first process could not go on, and this one stops with it: see what that says."
            )
        return json.loads(content)
    try:
        value = work()
    except BaseException:
        _broadcast(b"")
        raise
    _broadcast(json.dumps(value).encode())
    return value


def by_all(work: Callable[[], T]) -> T:
    """Lets every process work, and gives each the result of its work.

    **Raises:** what the work raises in this process; `ProcessError` if it failed in another.
    """
    if jax.process_count() == 1:
        return work()
    failure = value = None
    try:
        value = work()
    except BaseException as error:
        failure = error
    failed = multihost_utils.process_allgather(np.array(failure is not None))
    if failure is not None:
        raise failure
    if failed.any():
        raise ProcessError(
            f"Process {int(np.argmax(failed))} could not go on, and this one stops with it: see "
            "what that says."
        )
    return cast(T, value)


def restored_by_first(
    restore: Callable[[], tuple[State, float] | None], like: State
) -> tuple[State, float] | None:
    """Lets the first process restore a training state, and gives it to every process.

    **Arguments:** `like`, what the training started from.

    **Raises:** the same as `by_first`.
    """
    if jax.process_count() == 1:
        return restore()
    read = []

    def header() -> dict[str, Any] | None:
        restored = restore()
        if restored is None:
            return None
        trained, seconds = restored
        read.append(trained)
        return {"metrics": [dataclasses.asdict(m) for m in trained.metrics], "seconds": seconds}

    answer = by_first(header)
    if answer is None:
        return None
    arrays, static = eqx.partition((read[0] if read else like).kept(), eqx.is_array)
    received = multihost_utils.broadcast_one_to_all(arrays)
    received = jax.tree.map(placed_like, received, eqx.filter(like.kept(), eqx.is_array))
    kept = eqx.combine(received, static)
    return like.restored(kept, answer["metrics"]), answer["seconds"]


def _broadcast(content: bytes) -> bytes:
    """Gives every process the content that the first one was called with."""
    size = int(multihost_utils.broadcast_one_to_all(np.array(len(content))))
    padded = np.frombuffer(content if is_first() else bytes(size), np.uint8)
    return np.asarray(multihost_utils.broadcast_one_to_all(padded)).tobytes() if size else b""
