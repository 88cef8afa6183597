"""Free equilibria of a batch, with a solver that suits the system, and their certificates."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Float, Int, PyTree

from ..systems import AbstractOrderedSystem, AbstractSystem
from ._certificate import RESULTS, Certificate, Solution, Tolerance, verdict
from ._driver import FixedPoint, for_the_rest, run
from ._free import Controlled, FreeProblem
from ._landscape import FieldLandscape
from ._rate import rate_along
from ._trees import norm, tree_add, tree_subtract, tree_where
from ._trust_region import TrustRegion, TrustRegionProblem


class InTurn(eqx.Module):
    """Fixed-point iterations that take turns: each starts anew where those before found no rest.

    Mixed steps find rest points that unit steps turn away from, and lose others that plain steps
    reach slowly (docs/results.md, recurrent networks without a penalty).

    **Arguments:**

    * `solvers`: the iterations, at least one.

    **Raises:** `ValueError` for no solvers.
    """

    solvers: tuple[FixedPoint, ...] = (FixedPoint.mixed_later(), FixedPoint(400))

    def __check_init__(self):
        if not self.solvers:
            raise ValueError(
                "InTurn was given no solvers, but at least one looks for the rest points: write "
                "InTurn((FixedPoint.mixed_later(), FixedPoint(400)))."
            )


Solver = FixedPoint | InTurn | TrustRegion | optx.AbstractFixedPointSolver


def free_equilibrium(
    system: AbstractSystem,
    drives: PyTree[Any],
    *,
    solver: Solver | None = None,
    tolerance: Tolerance | None = None,
    start: PyTree[Float[Array, "batch ..."]] | None = None,
) -> Solution[PyTree[Float[Array, "batch ..."]]]:
    """Solves f(φ) = 0 for a batch of drives.

    **Arguments:**

    * `system`: an ordered system settles in one pass; any other by a fixed-point iteration.
    * `drives`: `jax.vmap(system.drive)(x)`.
    * `solver`: the iteration; by default at most 200 plain steps. `TrustRegion()` minimises ½‖f‖²
      instead, which needs no contraction but costs more. `InTurn()` tries a second iteration on
      the samples that a first leaves unsolved. An Optimistix solver, such as `Anderson`, iterates
      every sample until that solver's criterion is met, for at most 200 steps.
    * `tolerance`: of the residual ‖f‖ at the returned state.
    * `start`: a state for each sample from which the solver starts; by default
      `system.initial_state`.
    """
    tolerance = Tolerance() if tolerance is None else tolerance
    samples = Controlled(drives, None)
    reached = approach(system, samples, solver=solver, tolerance=tolerance, start=start)
    measured = reached.errors, reached.residuals
    return certify_free(system, drives, reached.states, reached.steps, tolerance, *measured)


def controlled_rest(
    system: AbstractSystem,
    samples: Controlled,
    *,
    solver: Solver | None = None,
    tolerance: Tolerance,
) -> tuple[PyTree[Float[Array, "batch ..."]], Int[Array, " batch"], Float[Array, " batch"]]:
    """Solves f(φ) + ψ = 0 for a batch of drives and constant controls.

    Returns the states, the step counts, and the errors as multiples of the tolerance. It evaluates
    f less often than `free_equilibrium`, and does not say why a sample was not solved.
    """
    states, steps, errors, _ = approach(system, samples, solver=solver, tolerance=tolerance)
    if errors is not None:
        return states, steps, errors
    problem = FreeProblem(system, tolerance)

    def measure(sample: Controlled, state: PyTree) -> Float[Array, ""]:
        # The rate of f is known from the second iterate on.
        onwards, _, _ = problem.iterate(sample, problem.start_from(state))
        step = tree_subtract(onwards.state, state)
        _, turned = jax.jvp(lambda s: system.vector_field(s, sample.drive), (state,), (step,))
        rate = 1.0 if system.unit_rate else rate_along(step, turned)
        return tolerance.free_error(norm(step), jnp.maximum(rate * norm(state), norm(step)))

    return states, steps, jax.vmap(measure)(samples, states)


class Reached(NamedTuple):
    """The last states of a solve, its step counts, and what the solve measured of these states.

    `errors` are multiples of the tolerance, and `residuals` are ‖f + ψ‖.
    """

    states: PyTree[Float[Array, "batch ..."]]
    steps: Int[Array, " batch"]
    errors: Float[Array, " batch"] | None = None
    residuals: Float[Array, " batch"] | None = None


def approach(
    system: AbstractSystem,
    samples: Controlled,
    *,
    solver: Solver | None,
    tolerance: Tolerance,
    start: PyTree[Float[Array, "batch ..."]] | None = None,
) -> Reached:
    """Runs the solver of f(φ) + ψ = 0 that suits the system."""
    solver = FixedPoint() if solver is None else solver
    if isinstance(system, AbstractOrderedSystem):

        def settle(sample: Controlled) -> PyTree[Array]:
            first = jax.tree.map(jnp.zeros_like, system.initial_state(sample.drive))
            return system.settle(sample.drive, first if sample.control is None else sample.control)

        states = jax.vmap(settle)(samples)
        steps = jnp.ones(jax.tree.leaves(states)[0].shape[0], jnp.int32)
        return Reached(states, steps)
    if isinstance(solver, TrustRegion):
        descent = TrustRegionProblem(FieldLandscape(system, tolerance), solver)
        first = None if start is None else jax.vmap(descent.start_at)(start)
        last, steps, errors = run(descent, solver.driver, samples, first)
        return Reached(last.point, steps, errors)
    if isinstance(solver, optx.AbstractFixedPointSolver):
        first = start
        if first is None:
            first = jax.vmap(system.initial_state)(samples.drive)

        def settle_by(sample: Controlled, first: PyTree) -> tuple[PyTree[Array], Array]:
            def onwards(state: PyTree, sample: Controlled) -> PyTree:
                moved = tree_add(state, system.vector_field(state, sample.drive))
                return moved if sample.control is None else tree_add(moved, sample.control)

            solution = optx.fixed_point(
                onwards, solver, first, sample, max_steps=FixedPoint().max_steps, throw=False
            )
            return solution.value, solution.stats["num_steps"]

        states, steps = jax.vmap(settle_by)(samples, first)
        return Reached(states, steps)
    turns = solver.solvers if isinstance(solver, InTurn) else (solver,)
    return _in_turn(system, samples, turns, tolerance, start)


def _in_turn(
    system: AbstractSystem,
    samples: Controlled,
    solvers: tuple[FixedPoint, ...],
    tolerance: Tolerance,
    start: PyTree[Float[Array, "batch ..."]] | None,
) -> Reached:
    """Runs iterations one after the other, each for what those before left unsolved."""
    begin = jax.vmap(system.initial_state)(samples.drive) if start is None else start

    def iterated(solver: FixedPoint, samples: Controlled, begin: PyTree) -> tuple[Any, ...]:
        problem = FreeProblem(system, tolerance, plain=solver.plain)
        last, steps, errors = run(problem, solver, samples, jax.vmap(problem.start_from)(begin))
        return last.state, steps, errors, last.residual

    first, *others = solvers
    reached = iterated(first, samples, begin)
    for other in others:

        def again(
            group: tuple[Controlled, PyTree], before: tuple[Any, ...], other: FixedPoint = other
        ) -> tuple[Any, ...]:
            after = iterated(other, *group)
            # Where neither solves a sample, its first point and error are kept.
            states, _, errors, residuals = jax.vmap(tree_where)(after[2] <= 1, after, before)
            return states, before[1] + after[1], errors, residuals

        reached = for_the_rest(again, reached[2] <= 1, (samples, begin), reached)
    return Reached(*reached)


def certify_free(
    system: AbstractSystem,
    drives: PyTree[Any],
    states: PyTree[Float[Array, "batch ..."]],
    steps: Int[Array, " batch"],
    tolerance: Tolerance,
    errors: Float[Array, " batch"] | None = None,
    residuals: Float[Array, " batch"] | None = None,
) -> Solution[PyTree[Float[Array, "batch ..."]]]:
    """Certifies a batch of states by measuring ‖f‖.

    If an iteration has already measured the errors of these states, or ‖f‖ itself, pass them as
    `errors` and `residuals`; they then decide the result.

    If a state is not at rest and a unit step from it does not reduce ‖f‖, the result is
    `RESULTS.not_contracting`.
    """

    def measure(
        drive: PyTree, state: PyTree, error: Float[Array, ""] | None
    ) -> tuple[Array, Array]:
        field = system.vector_field(state, drive)
        residual, rate = norm(field), 1.0
        if error is None and not system.unit_rate:
            _, turned = jax.jvp(lambda s: system.vector_field(s, drive), (state,), (field,))
            rate = rate_along(field, turned)
        if error is None:
            error = tolerance.free_error(residual, norm(state), rate)
        return residual, error

    if errors is None or residuals is None:
        residuals, errors = jax.vmap(measure)(drives, states, errors)

    def after_a_step(drive: PyTree, state: PyTree) -> Float[Array, ""]:
        stepped = tree_add(state, system.vector_field(state, drive))
        return norm(system.vector_field(stepped, drive))

    # Evaluations of f, which a batch that is solved does without.
    after = jax.lax.cond(
        jnp.all(errors <= 1), lambda: residuals, lambda: jax.vmap(after_a_step)(drives, states)
    )

    def conclude(
        state: PyTree, steps: Array, residual: Array, error: Array, after: Array
    ) -> Solution:
        growing = (error > 1) & jnp.isfinite(residual) & (after >= residual)
        result = RESULTS.where(growing, RESULTS.not_contracting, verdict(error))
        zero = jnp.zeros_like(residual)
        return Solution(state, result, Certificate(steps, residual, zero, zero, zero, error))

    return jax.vmap(conclude)(states, steps, residuals, errors, after)
