"""What an implicit gradient is worth: its error, predicted from residuals at the point itself.

The gradient of one sample at a state φ̂, for a cotangent c and an adjoint â, is g = ∂_θfᵀâ. It is
exact if f = 0 and ∂_φfᵀâ + c = 0. Proposition S8 of arXiv 2207.01332 bounds its error by a constant
times the distance from the exact rest point. Here that constant is not bounded but applied: to
first order, the distances are

    ∂_φf δφ + f = 0,   ∂_φfᵀδa + (∂_φfᵀâ + c) = 0,   ∂_φfᵀδb + (∂²_φ(âᵀf) + ∂_φc) δφ = 0,

where δφ leads to the rest point, δa solves the adjoint equation at φ̂, and δb is the change of the
adjoint along δφ. The error is then ∂²_{θφ}(âᵀf) δφ + ∂_θfᵀδb from the root, and ∂_θfᵀδa from the
adjoint. All of this is products with derivatives of f; the three linear equations are solved by
conjugate gradients, which need no contraction.

A rule's credit is measured in the same way. Its equations (`Equations`) are solved by a pair of a
state and a signal, z = (φ, a), and its gradient is a function g(z). With ∂_zG δz + G = 0 for their
residual G, the error is ∂_zg δz, and the parts of G tell which of the two is to blame.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from ..equilibrium import (
    RESULTS,
    AdjointSystem,
    Controlled,
    Linearised,
    Sample,
    Solution,
    Solver,
    TangentSystem,
    Tolerance,
    TrustRegion,
    controlled_rest,
)
from ..equilibrium._trees import norm, tree_add
from ..systems import AbstractSystem, on_kinks
from ._rule import AbstractRule, Batch, Credit, per_sample
from ._settle import batch_of, starts_of, system_of

State = PyTree[Float[Array, "batch ..."]]

# A prediction is good to a few percent, so its linear equations need not be solved to rounding.
_PREDICTED = Tolerance(relative=1e-4)


class GradientCertificate(eqx.Module):
    """The trust in the gradient of each sample.

    * `root_residual`: ‖f‖ at the state.
    * `adjoint_residual`: ‖∂_φfᵀa + c‖ at the state.
    * `root_error`: the error of the gradient that comes from the state, relative to the gradient
      without both errors.
    * `adjoint_error`: that which comes from the adjoint.
    * `predicted_error`: their sum, which bounds the relative error to first order; infinite if a
      linear equation at the state has no solution.
    * `result`: an item of `RESULTS` for each sample. It names the root or the adjoint, whichever
      has the larger error, if the predicted error is above what is asked for.
    """

    root_residual: Float[Array, " batch"]
    adjoint_residual: Float[Array, " batch"]
    root_error: Float[Array, " batch"]
    adjoint_error: Float[Array, " batch"]
    predicted_error: Float[Array, " batch"]
    result: Any


def gradient_certificate(
    vector_field: Callable[[PyTree, PyTree, PyTree], PyTree],
    params: PyTree[Any],
    x: PyTree[Any],
    solution: Solution[Any] | PyTree[Array],
    cotangent: PyTree[Array] | Callable[[PyTree[Array]], PyTree[Array]],
    *,
    adjoint: PyTree[Array] | None = None,
    solver: Solver | None = None,
    tolerance: Tolerance | None = None,
    accuracy: float = 1e-2,
) -> GradientCertificate:
    """Predicts the error of the gradient of each sample at a state that anybody found.

        solution = settle(f, params, x, start=jnp.zeros(64))
        certificate = gradient_certificate(f, params, x, solution, jax.grad(loss_of_states))

    The gradient is that in `params`, or in `x` if nothing in `params` is learned.

    **Arguments:**

    * `vector_field`, `params`, `x`: as for `settle`.
    * `solution`: what `settle` returned, or a pytree of states with a leading batch axis from any
      other solver or simulation.
    * `cotangent`: c = ∇_φL of each sample, like the states; or a function from the states to it,
      such as `jax.grad` of a sum over the batch. With a function the prediction includes that the
      cotangent is evaluated at a wrong state.
    * `adjoint`: a of each sample, like the states, if it was computed elsewhere, with the sign of
      ∂_φfᵀa + c = 0.
    * `solver`, `tolerance`: of the adjoint, if it is not given, as for `settle`.
    * `accuracy`: the largest predicted relative error that counts as solved.

    **Raises:** `ValueError` if f, the states and the inputs do not fit, or if the accuracy is not
    above 0.
    """
    _check_accuracy(accuracy)
    x, batch = batch_of(x)
    states = solution.value if isinstance(solution, Solution) else solution
    states = starts_of(vector_field, params, x, states, batch)
    return _certificate(
        vector_field,
        params,
        x,
        states,
        cotangent,
        adjoint,
        solver,
        Tolerance() if tolerance is None else tolerance,
        accuracy,
    )


@eqx.filter_jit
def _certificate(
    vector_field: Callable[[PyTree, PyTree, PyTree], PyTree],
    params: PyTree[Any],
    x: PyTree[Any],
    states: State,
    cotangent: Any,
    adjoint: State | None,
    solver: Solver | None,
    tolerance: Tolerance,
    accuracy: float,
) -> GradientCertificate:
    system = system_of(vector_field, params, states)
    tangents, adjoints = TangentSystem(system=system), AdjointSystem(system=system)
    points = Linearised(x, states)

    solve = lambda linear, force: _solved_for(linear, points, force)  # noqa: E731
    fields = jax.vmap(system.vector_field)(states, x)
    to_root, rooted = solve(tangents, fields)
    if callable(cotangent):
        cotangent, turned = jax.jvp(cotangent, (states,), (to_root,))
    else:
        turned = jax.tree.map(jnp.zeros_like, states)
    if adjoint is None:
        forced = Controlled(points, cotangent)
        adjoint, _, _ = controlled_rest(adjoints, forced, solver=solver, tolerance=tolerance)

    def pulled(states: State) -> State:
        return jax.vmap(adjoints.vector_field)(adjoint, Linearised(x, states))

    back, bent = jax.jvp(pulled, (states,), (to_root,))
    missing = tree_add(back, cotangent)
    to_adjoint, adjoined = solve(adjoints, missing)
    along_root, followed = solve(adjoints, tree_add(bent, turned))

    learned, fixed = eqx.partition(params, eqx.is_inexact_array)
    in_x = not jax.tree.leaves(learned)

    def errors_of(sample: tuple) -> tuple[Array, Array]:
        x, state, a, to_root, to_adjoint, along_root = sample

        def gradient(state: PyTree, a: PyTree) -> PyTree:
            moving, still = eqx.partition(x, eqx.is_inexact_array)
            if in_x:
                field = lambda moving: vector_field(params, state, eqx.combine(moving, still))  # noqa: E731
            else:
                moving = learned
                field = lambda moving: vector_field(eqx.combine(moving, fixed), state, x)  # noqa: E731
            return jax.vjp(field, moving)[1](a)[0]

        value, from_root = jax.jvp(gradient, (state, a), (to_root, along_root))
        from_adjoint = gradient(state, to_adjoint)
        exact = norm(tree_add(value, tree_add(from_root, from_adjoint)))
        sizes = norm(from_root), norm(from_adjoint)
        return _relative(sizes, exact)

    # One sample after another, because the gradient of each is as large as the parameters.
    samples = x, states, adjoint, to_root, to_adjoint, along_root
    root_error, adjoint_error = jax.lax.map(errors_of, samples)
    finite = jax.vmap(lambda *trees: jnp.isfinite(norm(trees)))(states, fields, adjoint, missing)
    return _judged(
        jax.vmap(norm)(fields),
        jax.vmap(norm)(missing),
        root_error,
        adjoint_error,
        rooted & adjoined & followed,
        finite,
        accuracy,
    )


def _solved_for(
    linear: AbstractSystem, points: Linearised, force: State
) -> tuple[State, Bool[Array, " batch"]]:
    # In units of the force, because the squares of small residuals underflow.
    size = jax.vmap(norm)(force)
    unit = jnp.where(size > 0, size, 1)
    scaled = jax.tree.map(lambda leaf: leaf / per_sample(unit, leaf), force)
    values, _, errors = controlled_rest(
        linear, Controlled(points, scaled), solver=TrustRegion(), tolerance=_PREDICTED
    )
    return jax.tree.map(lambda leaf: leaf * per_sample(unit, leaf), values), errors <= 1


def _relative(sizes: tuple[Array, Array], exact: Array) -> tuple[Array, Array]:
    # An error of zero is zero, even of a gradient of zero.
    root, adjoint = (jnp.where(size == 0, 0, size / exact) for size in sizes)
    return root, adjoint


def _judged(
    root_residual: Float[Array, " batch"],
    adjoint_residual: Float[Array, " batch"],
    root_error: Float[Array, " batch"],
    adjoint_error: Float[Array, " batch"],
    predictable: Bool[Array, " batch"],
    finite: Bool[Array, " batch"],
    accuracy: float,
) -> GradientCertificate:
    predicted = jnp.where(predictable, root_error + adjoint_error, jnp.inf)

    def verdict(
        predicted: Array, root: Array, adjoint: Array, predictable: Array, finite: Array
    ) -> Any:
        blamed = RESULTS.where(root >= adjoint, RESULTS.root_to_blame, RESULTS.adjoint_to_blame)
        blamed = RESULTS.where(predictable, blamed, RESULTS.not_differentiable)
        blamed = RESULTS.where(finite, blamed, RESULTS.no_finite_point)
        return RESULTS.where(
            finite & (predicted <= accuracy),
            RESULTS.successful,  # pyright: ignore[reportArgumentType]
            blamed,
        )

    result = jax.vmap(verdict)(predicted, root_error, adjoint_error, predictable, finite)
    return GradientCertificate(
        root_residual, adjoint_residual, root_error, adjoint_error, predicted, result
    )


def credit_certificate(
    rule: AbstractRule,
    system: AbstractSystem,
    batch: Batch,
    credit: Credit | Solution[Any],
    *,
    accuracy: float = 1e-2,
) -> GradientCertificate:
    """Predicts the error of each sample's gradient in a rule's credit.

        credit = rule(system, feedback, batch)
        certificate = credit_certificate(rule, system, batch, credit)

    The root is the state, and the adjoint is the signal that comes back to it: the control and the
    output control of `LeastControl`, and the adjoint of `RecurrentBackpropagation`, which is solved
    for again. Under learned feedback the error is that from the gradient of the least control.
    Units inside f that rest on their kinks have the shares of the solution, which the prediction
    holds fixed.

    **Arguments:**

    * `rule`, `system`, `batch`: as they gave the credit.
    * `credit`: the rule's credit, or a solution alone, such as that of `least_control`.
    * `accuracy`: the largest predicted relative error that counts as solved.

    **Raises:** `ValueError` for a rule whose gradient is not that at the solution of equations, or
    if the accuracy is not above 0.
    """
    _check_accuracy(accuracy)
    if rule.aspects.equations is None:
        raise ValueError(
            f"{type(rule.aspects.rule).__name__} has no equations of which its gradient is a "
            "function, but the certificate measures those: give LeastControl or "
            "RecurrentBackpropagation."
        )
    solution = credit.solution if isinstance(credit, Credit) else credit
    return _certificate_of_credit(rule, system, batch, solution, accuracy)


@eqx.filter_jit
def _certificate_of_credit(
    rule: AbstractRule,
    system: AbstractSystem,
    batch: Batch,
    solution: Solution[Any],
    accuracy: float,
) -> GradientCertificate:
    equations = rule.aspects.equations
    assert equations is not None
    unknowns = equations.unknowns(system, batch, solution)
    samples = Sample(jax.vmap(system.drive)(batch.inputs), batch.targets)
    joint = system_of(_of_equations, (equations.residual, system), unknowns)
    given = samples, solution.shares
    residuals = jax.vmap(joint.vector_field)(unknowns, given)
    none = jax.tree.map(jnp.zeros_like, residuals)
    points = Linearised(given, unknowns)
    tangents = TangentSystem(system=joint)
    to_root, rooted = _solved_for(tangents, points, (residuals[0], none[1]))
    to_adjoint, adjoined = _solved_for(tangents, points, (none[0], residuals[1]))

    learned, fixed = eqx.partition(system, eqx.is_inexact_array)

    def errors_of(sample: tuple) -> tuple[Array, Array]:
        x, (targeted, shares), unknowns, to_root, to_adjoint = sample

        def gradient(unknowns: Any) -> PyTree:
            def field_and_readout(learned: PyTree) -> tuple[PyTree, Array]:
                moving = on_kinks(eqx.combine(learned, fixed), shares)
                state = unknowns[0]
                return moving.vector_field(state, moving.drive(x)), moving.readout(state)

            signals = equations.signals(system, targeted, unknowns)
            return jax.vjp(field_and_readout, learned)[1](signals)[0]

        value, push = jax.linearize(gradient, unknowns)
        from_root, from_adjoint = push(to_root), push(to_adjoint)
        exact = norm(tree_add(value, tree_add(from_root, from_adjoint)))
        return _relative((norm(from_root), norm(from_adjoint)), exact)

    # One sample after another, because the gradient of each is as large as the parameters.
    steps = batch.inputs, given, unknowns, to_root, to_adjoint
    root_error, adjoint_error = jax.lax.map(errors_of, steps)
    finite = jax.vmap(lambda *trees: jnp.isfinite(norm(trees)))(unknowns, residuals)
    return _judged(
        jax.vmap(norm)(residuals[0]),
        jax.vmap(norm)(residuals[1]),
        root_error,
        adjoint_error,
        rooted & adjoined,
        finite,
        accuracy,
    )


def _of_equations(params: Any, unknowns: Any, given: Any) -> Any:
    (residual, system), (sample, shares) = params, given
    return residual(on_kinks(system, shares), sample, unknowns)


def _check_accuracy(accuracy: float) -> None:
    if not accuracy > 0:
        raise ValueError(
            f"`accuracy` is {accuracy}, but it is a relative error above 0: write accuracy=1e-2."
        )
