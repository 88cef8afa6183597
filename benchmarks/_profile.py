"""What the profiles of a step have in common: weights that have learned, times of compiled calls
taken in turn, and solves.

Times are processor time on one core, so that other work on the machine counts less.
"""

import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np
import optax
from jaxtyping import Array

from leastcontrol.bench.timing import Spread
from leastcontrol.rules import AbstractRule, Batch

Call = Callable[[], Any]


def on_one_core() -> None:
    """Keeps this process on the last of its cores, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def learned(system: Any, rule: AbstractRule, batches: Batch) -> Any:
    """Returns a system after a step of a rule, by Adam at 1e-3, for each of some batches."""
    optimiser = optax.adam(1e-3)
    weights, fixed = eqx.partition(system, eqx.is_inexact_array)

    def step(carry: Any, pair: tuple[Batch, Array]) -> tuple[Any, None]:
        weights, state = carry
        batch, key = pair
        credit = rule(eqx.combine(weights, fixed), None, batch, key=key)
        change, state = optimiser.update(credit.gradient, state)
        return (eqx.apply_updates(weights, change), state), None

    train = jax.jit(
        lambda weights, pairs: jax.lax.scan(step, (weights, optimiser.init(weights)), pairs)
    )
    keys = jax.random.split(jax.random.key(0), len(batches.targets))
    return eqx.combine(train(weights, (batches, keys))[0][0], fixed)


def timed(calls: dict[str, tuple[Call, int]], rounds: int) -> dict[str, list[float]]:
    """Returns each call's times in microseconds, divided by how many steps it takes."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call, _ in calls.values():
        call()
    for _ in range(rounds):
        for name, (call, steps) in calls.items():
            began = time.process_time()
            call()
            times[name].append(1e6 * (time.process_time() - began) / steps)
    return times


def rows_of(times: dict[str, list[float]]) -> list[dict[str, Any]]:
    """Returns a row for each part, and prints it."""
    rows = [{"part": name, "us": Spread.of(values)._asdict()} for name, values in times.items()]
    for row in rows:
        print(f"{row['us']['median']:9.0f} us  {row['part']}")
    return rows


def of_solves(
    name: str, times: dict[str, list[float]], steps: np.ndarray, error: np.ndarray
) -> dict[str, Any]:
    """Returns what least control costs beside backpropagation at some weights, and its solves.

    **Arguments:** the weights' `name`; `times` of both steps at them; every sample's number of
    sweeps, and its error as a multiple of what is allowed.
    """
    pairs = zip(
        times[f"a step of least control, {name}"],
        times[f"a step of backpropagation, {name}"],
        strict=True,
    )
    return {
        "weights": name,
        "ratio": statistics.median(least / base for least, base in pairs),
        "sweeps_mean": float(steps.mean()),
        "sweeps_max": int(steps.max()),
        "solved_fraction": float((error <= 1).mean()),
        "share_after_sweeps": [float((steps <= n).mean()) for n in range(1, int(steps.max()) + 1)],
    }
