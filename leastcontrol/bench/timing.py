"""What a training step costs: compiled as training compiles it, timed beside its baseline.

A **step** is a rule's credit for one batch and Adam's update of the weights by it. Several are
compiled as one scan, so that Python is met once per call. The learning rate is an argument of the
compiled program and zero: it is the program of training, yet every step meets the weights that are
to be measured, and every repetition the same ones.

Times on a shared machine drift. So every timed call of a rule has one of the baseline as its
neighbour, now before it, now after; a **ratio** is the median of the ratios of such neighbours, and
a spread the quartiles.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, PyTree

from ..equilibrium import solved
from ..rules import AbstractRule, Batch
from ..systems import AbstractSystem
from ..training import Program

FEWEST_ROUNDS = 3
MEGABYTE = 1e6


class Step(NamedTuple):
    """A compiled call of several steps, and what its solves were like.

    * `call`: runs it, and returns when it has finished.
    * `steps`: how many steps a call takes.
    * `error`: the largest error of a solved sample, as a multiple of what is allowed; `None` where
      none was solved.
    * `steps_mean`, `steps_max`: iterations of a sample's solve.
    * `converged_fraction`: share of the samples that were solved.
    * `peak_mb`: arguments, results and temporary arrays of the program as XLA lays them out, in
      units of 10⁶ bytes, or `None` where it does not say; `temporary_mb`: the temporary arrays
      alone.
    """

    call: Callable[[], Any]
    steps: int
    error: float | None
    steps_mean: float
    steps_max: int
    converged_fraction: float
    peak_mb: float | None
    temporary_mb: float | None


def compile_step(system: AbstractSystem, rule: AbstractRule, batches: Batch, key: Array) -> Step:
    """Returns the compiled steps of a rule.

    **Arguments:**

    * `system`, `rule`: as they are measured.
    * `batches`: with two leading axes, of batches and of samples.
    * `key`: for the rule's feedback weights and its noise.
    """
    feedback_key, noise_key = jax.random.split(key)
    learned, fixed = eqx.partition(system, eqx.is_inexact_array)
    feedback = rule.init(system, key=feedback_key)
    weights, fixed_feedback = eqx.partition(feedback, eqx.is_inexact_array)
    optimiser = optax.scale_by_adam()

    def step(rate: Array, carry: PyTree, own: tuple[Batch, Array]) -> tuple[PyTree, PyTree]:
        learned, state, weights, feedback_state = carry
        batch, key = own
        feedback = eqx.combine(weights, fixed_feedback)
        credit = rule(eqx.combine(learned, fixed), feedback, batch, key=key)
        direction, state = optimiser.update(credit.gradient, state)
        learned = _moved(learned, direction, rate)
        if credit.feedback_gradient is not None:
            direction, feedback_state = optimiser.update(credit.feedback_gradient, feedback_state)
            weights = _moved(weights, direction, rate)
        stats = credit.solution.stats
        figures = solved(credit.solution), stats.error, stats.steps
        return (learned, state, weights, feedback_state), figures

    def steps(carry: PyTree, batches: Batch, keys: Array, rate: Array) -> tuple[PyTree, PyTree]:
        return jax.lax.scan(lambda c, own: step(rate, c, own), carry, (batches, keys))

    count = batches.targets.shape[0]
    arguments = (
        (learned, optimiser.init(learned), weights, optimiser.init(weights)),
        batches,
        jax.random.split(noise_key, count),
        jnp.zeros((), batches.inputs.dtype),
    )
    program = Program.of(jax.jit(steps), *arguments)

    def call() -> tuple[PyTree, PyTree]:
        return jax.block_until_ready(program.call(*arguments))

    found, error, taken = map(np.asarray, call()[1])
    memory = program.memory
    peak = temporary = None
    if memory is not None:
        temporary = memory.temporary / MEGABYTE
        peak = temporary + memory.lasting / MEGABYTE
    return Step(
        call,
        count,
        float(error[found].max()) if found.any() else None,
        float(taken.mean()),
        int(taken.max()),
        float(found.mean()),
        peak,
        temporary,
    )


def _moved(weights: PyTree, direction: PyTree, rate: Array) -> PyTree:
    return jax.tree.map(lambda own, toward: own - rate * toward, weights, direction)


class Spread(NamedTuple):
    """A median and the quartiles around it."""

    median: float
    lower: float
    upper: float

    @staticmethod
    def of(values: Sequence[float]) -> "Spread":
        """Returns those of at least two values."""
        lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
        return Spread(median, lower, upper)


class Timing(NamedTuple):
    """Milliseconds a step of a rule, their ratio to the baseline's, and the number of calls."""

    ms: Spread
    ratio: Spread
    repeats: int


def interleaved(
    baseline: Step, others: Sequence[Step], *, repeats: int, seconds: float
) -> list[Timing]:
    """Returns the timings of the baseline, whose ratio to itself is 1, and of all others.

    **Arguments:**

    * `repeats`: rounds, in each of which every other rule is called once beside the baseline.
    * `seconds`: after them no round is begun, once there were three.
    """
    began = time.perf_counter()
    alone: list[float] = []
    pairs: list[list[tuple[float, float]]] = [[] for _ in others]
    for round_ in range(repeats):
        alone.append(_ms(baseline))
        for other, own in zip(others, pairs, strict=True):
            if round_ % 2:
                after = _ms(other)
                own.append((_ms(baseline), after))
            else:
                own.append((_ms(baseline), _ms(other)))
        if round_ + 1 >= FEWEST_ROUNDS and time.perf_counter() - began > seconds:
            break
    every = alone + [base for own in pairs for base, _ in own]
    timings = [Timing(Spread.of(every), Spread(1.0, 1.0, 1.0), len(every))]
    for own in pairs:
        times = [time_ for _, time_ in own]
        ratios = [time_ / base for base, time_ in own]
        timings.append(Timing(Spread.of(times), Spread.of(ratios), len(own)))
    return timings


def _ms(step: Step) -> float:
    began = time.perf_counter()
    step.call()
    return 1e3 * (time.perf_counter() - began) / step.steps
