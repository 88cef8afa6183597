"""Free equilibria of a batch, with a solver that suits the system, and their certificates."""

from typing import Any

import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Float, Int, PyTree

from ..systems import AbstractOrderedSystem, AbstractSystem
from ._certificate import RESULTS, Certificate, Solution, Tolerance, verdict
from ._driver import FixedPoint, run
from ._free import Controlled, FreeProblem
from ._landscape import FieldLandscape
from ._rate import rate_along
from ._trees import norm, tree_add
from ._trust_region import TrustRegion, TrustRegionProblem


def free_equilibrium(
    system: AbstractSystem,
    drives: PyTree[Any],
    *,
    solver: FixedPoint | TrustRegion | optx.AbstractFixedPointSolver | None = None,
    tolerance: Tolerance | None = None,
) -> Solution[PyTree[Float[Array, "batch ..."]]]:
    """Solves f(φ) = 0 for a batch of drives.

    **Arguments:**

    * `system`: an ordered system settles in one pass; any other by a fixed-point iteration.
    * `drives`: `jax.vmap(system.drive)(x)`.
    * `solver`: the iteration; by default at most 200 plain steps. `TrustRegion()` minimises ½‖f‖²
      instead, which needs no contraction but costs more. An Optimistix solver, such as `Anderson`,
      iterates every sample until that solver's criterion is met, for at most 200 steps.
    * `tolerance`: of the residual ‖f‖ at the returned state.
    """
    tolerance = Tolerance() if tolerance is None else tolerance
    errors = None
    solver = FixedPoint() if solver is None else solver
    if isinstance(system, AbstractOrderedSystem):

        def settle(drive: PyTree) -> PyTree[Array]:
            start = system.initial_state(drive)
            return system.settle(drive, jax.tree.map(jnp.zeros_like, start))

        states = jax.vmap(settle)(drives)
        steps = jnp.ones(jax.tree.leaves(states)[0].shape[0], jnp.int32)
    elif isinstance(solver, TrustRegion):
        descent = TrustRegionProblem(FieldLandscape(system, tolerance), solver)
        last, steps, errors = run(descent, solver.driver, Controlled(drives, None))
        states = last.point
    elif isinstance(solver, optx.AbstractFixedPointSolver):

        def settle_by(drive: PyTree) -> tuple[PyTree[Array], Array]:
            solution = optx.fixed_point(
                lambda state, drive: tree_add(state, system.vector_field(state, drive)),
                solver,
                system.initial_state(drive),
                drive,
                max_steps=FixedPoint().max_steps,
                throw=False,
            )
            return solution.value, solution.stats["num_steps"]

        states, steps = jax.vmap(settle_by)(drives)
    else:
        problem = FreeProblem(system, tolerance)
        last, steps, errors = run(problem, solver, Controlled(drives, None))
        states = last.state
    return certify_free(system, drives, states, steps, tolerance, errors)


def certify_free(
    system: AbstractSystem,
    drives: PyTree[Any],
    states: PyTree[Float[Array, "batch ..."]],
    steps: Int[Array, " batch"],
    tolerance: Tolerance,
    errors: Float[Array, " batch"] | None = None,
) -> Solution[PyTree[Float[Array, "batch ..."]]]:
    """Certifies a batch of states by measuring ‖f‖.

    If an iteration has already measured the errors of these states, pass them as `errors`; they
    then decide the result.

    If a state is not at rest and a unit step from it does not reduce ‖f‖, the result is
    `RESULTS.not_contracting`.
    """

    def measure(
        drive: PyTree, state: PyTree, steps: Int[Array, ""], error: Float[Array, ""] | None
    ) -> Solution:
        field = system.vector_field(state, drive)
        residual, rate = norm(field), 1.0
        if error is None and not system.unit_rate:
            _, turned = jax.jvp(lambda s: system.vector_field(s, drive), (state,), (field,))
            rate = rate_along(field, turned)
        if error is None:
            error = tolerance.free_error(residual, norm(state), rate)
        after = norm(system.vector_field(tree_add(state, field), drive))
        growing = (error > 1) & jnp.isfinite(residual) & (after >= residual)
        result = RESULTS.where(growing, RESULTS.not_contracting, verdict(error))
        zero = jnp.zeros_like(residual)
        certificate = Certificate(steps, residual, zero, zero, zero, error)
        return Solution(state, result, certificate)

    return jax.vmap(measure)(drives, states, steps, errors)
