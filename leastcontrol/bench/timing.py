"""The cost of a training step, compiled as in training and timed together with a baseline.

A **step** computes a rule's credit for one batch and Adam's update of the weights. Several steps
are compiled as one scan, so that the overhead of Python is paid once per call. The learning rate is
an argument of the compiled program and set to zero: the program is that of training, but all steps
and repetitions use the same weights.

Times on a shared machine drift. Therefore each timed call of a rule is paired with a call of the
baseline, alternately before and after it. A **ratio** is the median of the ratios of these pairs,
and its spread is their quartiles.
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
    """A compiled call of several steps, and the statistics of its solves.

    * `call`: runs the steps and returns when they have finished.
    * `steps`: the number of steps in a call.
    * `error`: the largest error of a solved sample, as a multiple of the tolerance; `None` if no
      sample was solved.
    * `steps_mean`, `steps_max`: the mean and the largest number of iterations of a sample's solve.
    * `converged_fraction`: share of the samples that were solved.
    * `peak_mb`: the memory of arguments, results and temporary arrays, as planned by XLA, in units
      of 10⁶ bytes; `None` if XLA does not report it.
    * `temporary_mb`: the memory of the temporary arrays alone.
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
    """Compiles the steps of a rule.

    **Arguments:**

    * `system`, `rule`: the system and the rule to be measured.
    * `batches`: with two leading axes, for batches and samples.
    * `key`: for the feedback weights and the noise of the rule.
    """
    feedback_key, noise_key = jax.random.split(key)
    learned, fixed = eqx.partition(system, eqx.is_inexact_array)
    feedback = rule.init(system, key=feedback_key)
    weights, fixed_feedback = eqx.partition(feedback, eqx.is_inexact_array)
    optimiser = optax.scale_by_adam()

    def step(rate: Array, carry: PyTree, inputs: tuple[Batch, Array]) -> tuple[PyTree, PyTree]:
        learned, state, weights, feedback_state = carry
        batch, key = inputs
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
        return jax.lax.scan(lambda c, inputs: step(rate, c, inputs), carry, (batches, keys))

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

    is_solved, error, iterations = map(np.asarray, call()[1])
    memory = program.memory
    peak = temporary = None
    if memory is not None:
        temporary = memory.temporary / MEGABYTE
        peak = temporary + memory.lasting / MEGABYTE
    return Step(
        call,
        count,
        float(error[is_solved].max()) if is_solved.any() else None,
        float(iterations.mean()),
        int(iterations.max()),
        float(is_solved.mean()),
        peak,
        temporary,
    )


def _moved(weights: PyTree, direction: PyTree, rate: Array) -> PyTree:
    return jax.tree.map(lambda weight, step: weight - rate * step, weights, direction)


class Spread(NamedTuple):
    """The median and the quartiles of some values."""

    median: float
    lower: float
    upper: float

    @staticmethod
    def of(values: Sequence[float]) -> "Spread":
        """Computes them from at least two values."""
        lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
        return Spread(median, lower, upper)


class Timing(NamedTuple):
    """The milliseconds per step of a rule, their ratio to the baseline, and the number of calls."""

    ms: Spread
    ratio: Spread
    repeats: int


def interleaved(
    baseline: Step, others: Sequence[Step], *, repeats: int, seconds: float
) -> list[Timing]:
    """Times the baseline, whose ratio to itself is 1, and all others.

    **Arguments:**

    * `repeats`: the number of rounds; in each round every other rule is called once, paired with
      the baseline.
    * `seconds`: the time after which no further round begins; there are at least three rounds.
    """
    began = time.perf_counter()
    alone: list[float] = []
    pairs: list[list[tuple[float, float]]] = [[] for _ in others]
    for round_ in range(repeats):
        alone.append(_ms(baseline))
        for other, other_pairs in zip(others, pairs, strict=True):
            if round_ % 2:
                first = _ms(other)
                other_pairs.append((_ms(baseline), first))
            else:
                other_pairs.append((_ms(baseline), _ms(other)))
        if round_ + 1 >= FEWEST_ROUNDS and time.perf_counter() - began > seconds:
            break
    of_baseline = alone + [base for other_pairs in pairs for base, _ in other_pairs]
    ms = Spread.of(of_baseline)
    timings = [Timing(ms, Spread(1.0, 1.0, 1.0), len(of_baseline))]
    for other_pairs in pairs:
        times = [time_ for _, time_ in other_pairs]
        ratios = [time_ / base for base, time_ in other_pairs]
        timings.append(Timing(Spread.of(times), Spread.of(ratios), len(other_pairs)))
    return timings


def _ms(step: Step) -> float:
    began = time.perf_counter()
    step.call()
    return 1e3 * (time.perf_counter() - began) / step.steps
