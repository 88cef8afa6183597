"""What the processes of one training agree on.

The engine is JAX's: `connect` joins the processes, a mesh holds the devices of all of them, and a
compiled epoch sums over it. Each process runs the same program on the same data, so that all hold
the same weights; only what touches the disk, or a person, is left to the first one. That may fail
there alone, and the others must not wait for it in the next sum: `by_first` and `restored_by_first`
tell them how it ended. `by_all` does the same for what may fail anywhere.
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

T = TypeVar("T")


class DevicesError(ValueError):
    """Devices or processes that are asked for are not there; the message says what to do."""


class ProcessError(RuntimeError):
    """Another process of the same training could not go on, and this one stops with it."""


def connect(coordinator: str, processes: int, process: int, *, timeout: int = 300) -> None:
    """Joins this process to those of one training, before anything else is asked of JAX.

    **Arguments:**

    * `coordinator`: address and port of the first process, as all of them reach it, and where it
      listens: on no other address.
    * `processes`, `process`: how many they are, and which one this is, from 0.
    * `timeout`: seconds after which those that are missing are given up.

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


def device_mesh(devices: int | None = None) -> Mesh:
    """Returns a mesh of one axis with the first devices of every process; `None` for all.

    **Raises:** `DevicesError` where this process has fewer.
    """
    local = jax.local_device_count()
    if devices is not None and not 1 <= devices <= local:
        kind = jax.local_devices()[0].platform
        raise DevicesError(
            f"{devices} devices are asked for, but JAX has {local} here ({kind}): ask for at most "
            f"{local}; a processor is split into several by "
            "XLA_FLAGS=--xla_force_host_platform_device_count."
        )
    chosen = []
    for process in range(jax.process_count()):
        own = [device for device in jax.devices() if device.process_index == process]
        chosen += own[:devices]
    return Mesh(np.array(chosen), ("samples",))


def is_first() -> bool:
    """Returns whether this process is the one that writes."""
    return jax.process_index() == 0


def by_first(work: Callable[[], Any]) -> Any:
    """Returns in every process what work of the first one returns there, of JSON's types.

    **Raises:** what the work raises in the first process, and then `ProcessError` in the others.
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
    """Returns what work of every process returns there.

    **Raises:** what the work raises in this process, and `ProcessError` if it did in another.
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
    restore: Callable[[], tuple[Left, float] | None], like: Left
) -> tuple[Left, float] | None:
    """Returns in every process the training state that the first one restores.

    **Arguments:** `like`, what the training started from.

    **Raises:** as `by_first`.
    """
    if jax.process_count() == 1:
        return restore()
    found = []

    def header() -> dict[str, Any] | None:
        own = restore()
        if own is None:
            return None
        found.append(own[0])
        return {"metrics": [dataclasses.asdict(m) for m in own[0].metrics], "seconds": own[1]}

    answer = by_first(header)
    if answer is None:
        return None
    arrays, static = eqx.partition((found[0] if found else like).kept(), eqx.is_array)
    kept = eqx.combine(multihost_utils.broadcast_one_to_all(arrays), static)
    return like.restored(kept, answer["metrics"]), answer["seconds"]


def _broadcast(content: bytes) -> bytes:
    """Returns the content that the first process was called with."""
    size = int(multihost_utils.broadcast_one_to_all(np.array(len(content))))
    padded = np.frombuffer(content if is_first() else bytes(size), np.uint8)
    return np.asarray(multihost_utils.broadcast_one_to_all(padded)).tobytes() if size else b""
