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
from .peers import Peer

FEWEST_ROUNDS = 3
MEGABYTE = 1e6


class Solves(NamedTuple):
    """The statistics of the solves in a call.

    * `error`: the largest error of a solved sample, as a multiple of the tolerance; `None` if no
      sample was solved.
    * `steps_mean`, `steps_max`: the mean and the largest number of iterations of a sample's solve.
    * `converged_fraction`: share of the samples that were solved.
    """

    error: float | None
    steps_mean: float
    steps_max: int
    converged_fraction: float


class Step(NamedTuple):
    """A compiled call of several steps.

    * `call`: runs the steps and returns when they have finished.
    * `steps`: the number of steps in a call.
    * `gradient`: Adam's average of the gradients in the weights, leaf by leaf.
    * `solves`: the statistics of its solves; `None` for a peer, which says nothing about them.
    * `peak_mb`: the memory of arguments, results and temporary arrays, as planned by XLA, in units
      of 10⁶ bytes; `None` if XLA does not report it.
    * `temporary_mb`: the memory of the temporary arrays alone.
    """

    call: Callable[[], Any]
    steps: int
    gradient: list[Array]
    solves: Solves | None
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

    def step(carry: PyTree, batch: Batch, key: Array, rate: Array) -> tuple[PyTree, PyTree]:
        learning, feedback_learning = carry
        system = eqx.combine(learning[0], fixed)
        feedback = eqx.combine(feedback_learning[0], fixed_feedback)
        credit = rule(system, feedback, batch, key=key)
        learning = _updated(learning, credit.gradient, rate)
        if credit.feedback_gradient is not None:
            feedback_learning = _updated(feedback_learning, credit.feedback_gradient, rate)
        stats = credit.solution.stats
        figures = solved(credit.solution), stats.error, stats.steps
        return (learning, feedback_learning), figures

    compiled = _compiled(step, (_beginning(learned), _beginning(weights)), batches, noise_key)
    is_solved, error, iterations = map(np.asarray, compiled.call()[1])
    solves = Solves(
        float(error[is_solved].max()) if is_solved.any() else None,
        float(iterations.mean()),
        int(iterations.max()),
        float(is_solved.mean()),
    )
    return compiled._replace(solves=solves)


def compile_peer_step(peer: Peer, batches: Batch) -> Step:
    """Compiles the steps of a peer, with batches as in `compile_step`."""

    def step(carry: PyTree, batch: Batch, key: Array, rate: Array) -> tuple[PyTree, PyTree]:
        del key
        learning, nothing = carry
        gradient = jax.grad(peer.loss)(learning[0], batch)
        return (_updated(learning, gradient, rate), nothing), nothing

    return _compiled(step, (_beginning(peer.weights), ()), batches, jax.random.key(0))


def _compiled(
    step: Callable[[PyTree, Batch, Array, Array], tuple[PyTree, PyTree]],
    carry: PyTree,
    batches: Batch,
    key: Array,
) -> Step:
    """Compiles one step for each batch, and calls them once.

    What is carried is a pair: the weights with Adam's averages of them, and whatever else learns.
    """

    def steps(carry: PyTree, batches: Batch, keys: Array, rate: Array) -> tuple[PyTree, PyTree]:
        return jax.lax.scan(lambda c, inputs: step(c, *inputs, rate), carry, (batches, keys))

    count = batches.targets.shape[0]
    arguments = (
        carry,
        batches,
        jax.random.split(key, count),
        jnp.zeros((), batches.inputs.dtype),
    )
    program = Program.of(jax.jit(steps), *arguments)

    def call() -> tuple[PyTree, PyTree]:
        return jax.block_until_ready(program.call(*arguments))

    (learning, _), _ = call()
    gradient = jax.tree.leaves(learning[1].mu)
    memory = program.memory
    if memory is None:
        return Step(call, count, gradient, None, None, None)
    temporary = memory.temporary / MEGABYTE
    peak = temporary + memory.lasting / MEGABYTE
    return Step(call, count, gradient, None, peak, temporary)


_ADAM = optax.scale_by_adam()


def _beginning(weights: PyTree) -> tuple[PyTree, PyTree]:
    return weights, _ADAM.init(weights)


def _updated(
    learning: tuple[PyTree, PyTree], gradient: PyTree, rate: Array
) -> tuple[PyTree, PyTree]:
    weights, state = learning
    direction, state = _ADAM.update(gradient, state)
    moved = jax.tree.map(lambda weight, step: weight - rate * step, weights, direction)
    return moved, state


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
