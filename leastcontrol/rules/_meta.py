"""Meta-learning rules: slow weights from which tasks are learned well.

All are rules of `FastWeights`, called like every other rule with a batch whose inputs are support
sets and whose targets are query sets. They are composed of an **adaptation**, the way in which fast
weights learn a task, and of what the slow weights learn from where it ends. They are not
`AbstractRule`s, for these have a loss that is convex in a short output, of which they may form the
Hessian; here the output is all the weights of a learner, and L_evaluate is any function of them.

| rule | what moves the slow weights ω (φ: where the adaptation ends) |
|---|---|
| `MetaLeastControl` | ∂_θfᵀψ at the controlled rest point; it is λψ for ω |
| `FirstOrderMAML` | −∇L_evaluate(φ) |
| `MAML` | −∇_ω L_evaluate(φ(ω)), through all steps of the adaptation |
| `Reptile` | φ − ω |
| `T1T2` | −λ∇L_evaluate(φ) |
| `ImplicitMAML` | −λδ, (∂²L_learn + λ)δ = ∇L_evaluate(φ) |
| `ContrastiveMeta` | λ(φ_β − φ)/β, where φ_β also descends βL_evaluate |
"""

import abc
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import optimistix as optx
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ..controllers import AbstractOutputControl, as_output_control
from ..equilibrium import (
    RESULTS,
    Certificate,
    Point,
    Solution,
    Tolerance,
    TrustRegion,
    minimum,
    verdict,
)
from ..equilibrium._trees import dot, norm, tree_add, tree_scale, tree_subtract
from ..systems import FastWeights
from ._policy import AbstractUnsolved, Keep
from ._rule import Batch, Counted, Credit

Weights = PyTree[Float[Array, "..."]]
Task = PyTree[Any]


class Outcome(eqx.Module):
    """What a rule finds for one task: a gradient like the system, its objective, the loss."""

    gradient: PyTree[Any]
    objective: Float[Array, ""]
    loss: Float[Array, ""]
    solution: Solution


class AbstractMetaRule(eqx.Module):
    """A rule for `FastWeights`; called like `AbstractRule`."""

    adaptation: eqx.AbstractVar["AbstractAdaptation"]
    unsolved: eqx.AbstractVar[AbstractUnsolved]

    def init(self, system: FastWeights, *, key: PRNGKeyArray) -> None:
        """Returns the feedback weights: none."""
        del system, key

    @abc.abstractmethod
    def of_task(self, system: FastWeights, support: Task, query: Task) -> Outcome:
        """Returns what one task asks for."""

    def __call__(
        self,
        system: FastWeights,
        feedback: PyTree[Any],
        batch: Batch,
        *,
        key: PRNGKeyArray | None = None,
    ) -> Credit:
        """Returns the credit of a batch of tasks.

        **Raises:** `ValueError` where support and query sets are not of as many tasks.
        """
        del feedback, key
        sizes = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves((batch.inputs, batch.targets))}
        if len(sizes) != 1 or sizes == {()}:
            raise ValueError(
                f"The first axes of the support and query sets are {sorted(sizes)}, but both are "
                "of one batch of tasks: give arrays with the same first axis."
            )
        outcome = jax.vmap(lambda s, q: _if_finite(self.of_task(system, s, q)))(
            batch.inputs, batch.targets
        )
        counted = Counted.of(self.unsolved.weights(outcome.solution))
        gradient = counted.weighted(outcome.gradient)
        return Credit(
            jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), gradient),
            None,
            counted.mean(outcome.objective),
            counted.mean(outcome.loss),
            counted.count,
            outcome.solution,
        )


def _if_finite(outcome: Outcome) -> Outcome:
    """Returns a task's outcome, as unsolved where its gradient, objective or loss is not finite."""
    numbers = (outcome.gradient, outcome.objective, outcome.loss)
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(numbers)]))
    solution = outcome.solution
    error = jnp.where(finite, solution.stats.error, jnp.inf)
    result = RESULTS.where(finite, solution.result, RESULTS.no_finite_point)
    solution = eqx.tree_at(lambda own: (own.result, own.stats.error), solution, (result, error))
    return eqx.tree_at(lambda own: own.solution, outcome, solution)


def _check_steps(module: Any) -> None:
    name = type(module).__name__
    if module.steps < 1 or not 0 < module.step_size < math.inf:
        raise ValueError(
            f"{name} was given steps={module.steps} and step_size={module.step_size}, but the "
            f"first is at least 1 and the second above 0 and finite: write {name}(steps=100, "
            "step_size=0.03)."
        )


def _check_momentum(module: Any) -> None:
    if not 0 <= module.momentum < 1:
        name = type(module).__name__
        raise ValueError(
            f"{name} was given momentum={module.momentum}, but it is at least 0 and below 1: write "
            f"{name}(momentum=0.9)."
        )


# --- Adaptation: how the fast weights learn a task. ---


class AbstractAdaptation(eqx.Module):
    """From the slow weights to fast weights that have learned a task."""

    @abc.abstractmethod
    def adapt(self, system: FastWeights, support: Task) -> tuple[Weights, Int[Array, ""]]:
        """Returns the fast weights and the steps that they took."""

    def residual(self, system: FastWeights, state: Weights, support: Task) -> Weights:
        """Returns what would be zero if the adaptation had come to rest: f."""
        return system.vector_field(state, support)

    def solution(self, system: FastWeights, support: Task, tolerance: Tolerance) -> Solution:
        """Returns the fast weights with their residual, measured there."""
        state, steps = self.adapt(system, support)
        return self.certified(system, state, steps, support, tolerance)

    def certified(
        self,
        system: FastWeights,
        state: Weights,
        steps: Int[Array, ""],
        support: Task,
        tolerance: Tolerance,
    ) -> Solution:
        """Returns fast weights that were reached by so many steps with their residual."""
        residual = norm(self.residual(system, state, support))
        error = tolerance.free_error(residual, norm(state))
        zero = jnp.zeros_like(residual)
        return Solution(
            state, verdict(error), Certificate(steps, residual, zero, zero, zero, error)
        )


def _descend(
    field: Callable[[Weights], Weights],
    start: Weights,
    steps: int,
    step_size: float,
    momentum: float = 0.0,
) -> Weights:
    def step(carry: tuple[Weights, Weights], _: None) -> tuple[tuple[Weights, Weights], None]:
        state, velocity = carry
        velocity = tree_add(tree_scale(momentum, velocity), field(state))
        return (tree_add(state, tree_scale(step_size, velocity)), velocity), None

    still = jax.tree.map(jnp.zeros_like, start)
    return jax.lax.scan(step, (start, still), length=steps)[0][0]


class GradientDescent(AbstractAdaptation):
    """φ ← φ − η∇L_learn(φ) from ω on, without any pull: the adaptation of MAML and Reptile.

    It is not meant to come to rest; its residual is ∇L_learn all the same.

    **Arguments:** `steps` ≥ 1, the step size η > 0, and the momentum 0 ≤ μ < 1 of the descent.

    **Raises:** `ValueError` for one out of its range.
    """

    steps: int = eqx.field(static=True, default=5)
    step_size: float = eqx.field(static=True, default=0.01)
    momentum: float = eqx.field(static=True, default=0.0)

    def __check_init__(self):
        _check_steps(self)
        _check_momentum(self)

    def adapt(self, system: FastWeights, support: Task) -> tuple[Weights, Int[Array, ""]]:
        field = lambda state: self.residual(system, state, support)  # noqa: E731
        state = _descend(field, system.slow_weights, self.steps, self.step_size, self.momentum)
        return state, jnp.asarray(self.steps, jnp.int32)

    def residual(self, system: FastWeights, state: Weights, support: Task) -> Weights:
        """Returns −∇L_learn(φ)."""
        return tree_scale(-1.0, jax.grad(system.learning)(state, support))


class Relaxation(AbstractAdaptation):
    """φ ← φ + ηf(φ) from ω on: Euler steps of the free dynamics (arXiv 2207.01332, section S4.5).

    **Arguments:** `steps` ≥ 1, the step size η > 0, and the momentum 0 ≤ μ < 1 of the descent.

    **Raises:** `ValueError` for one out of its range.
    """

    steps: int = eqx.field(static=True, default=100)
    step_size: float = eqx.field(static=True, default=0.03)
    momentum: float = eqx.field(static=True, default=0.0)

    def __check_init__(self):
        _check_steps(self)
        _check_momentum(self)

    def adapt(self, system: FastWeights, support: Task) -> tuple[Weights, Int[Array, ""]]:
        field = lambda state: system.vector_field(state, support)  # noqa: E731
        state = _descend(field, system.slow_weights, self.steps, self.step_size, self.momentum)
        return state, jnp.asarray(self.steps, jnp.int32)


class Settled(AbstractAdaptation):
    """The free equilibrium f(φ) = 0, by minimising its potential.

    **Arguments:** the `tolerance` at which it stops, and `solver`, as in `Exact`.
    """

    tolerance: Tolerance = Tolerance()
    solver: TrustRegion = TrustRegion()

    def adapt(self, system: FastWeights, support: Task) -> tuple[Weights, Int[Array, ""]]:
        return minimum(
            lambda state: system.potential(state, support),
            system.slow_weights,
            lambda state, slope: self.tolerance.free_error(norm(slope), norm(state)),
            self.solver,
        )


# --- Least control. ---


class AbstractMetaControl(eqx.Module):
    """Finds fast weights under control, for one task."""

    tolerance: eqx.AbstractVar[Tolerance]

    @abc.abstractmethod
    def equilibrium(
        self, system: FastWeights, leak: float, support: Task, query: Task
    ) -> Solution[Point]:
        """Returns φ, ψ and u with their residuals: of f + ψ = 0 and αu + ∇L_evaluate = 0."""


class EulerControl(AbstractMetaControl):
    """Euler steps of weights and control together, as in the paper:

        φ ← φ + η(f + u),   u ← u − η(αu + ∇L_evaluate(φ)),   ψ = u

    from φ = ω, u = 0 (arXiv 2207.01332, equations 17 and 18, section S4.5). A fixed number of steps
    need not reach the rest point; the residuals say how far it is.

    **Arguments:** the `tolerance` of the residuals, `steps` ≥ 1 and the step size η > 0.

    **Raises:** `ValueError` for steps or a step size out of their range.
    """

    tolerance: Tolerance = Tolerance()
    steps: int = eqx.field(static=True, default=100)
    step_size: float = eqx.field(static=True, default=0.03)

    def __check_init__(self):
        _check_steps(self)

    def equilibrium(
        self, system: FastWeights, leak: float, support: Task, query: Task
    ) -> Solution[Point]:
        def step(carry: tuple[Weights, Weights], _: None) -> tuple[tuple[Weights, Weights], None]:
            state, control = carry
            onwards = tree_add(system.vector_field(state, support), control)
            slope = jax.grad(system.evaluation)(state, query)
            towards = tree_add(tree_scale(leak, control), slope)
            return (
                tree_add(state, tree_scale(self.step_size, onwards)),
                tree_subtract(control, tree_scale(self.step_size, towards)),
            ), None

        start = (system.slow_weights, system.zero_state())
        (state, control), _ = jax.lax.scan(step, start, length=self.steps)
        residual = norm(tree_add(system.vector_field(state, support), control))
        point, steps = Point(state, control, control), jnp.asarray(self.steps, jnp.int32)
        return _certified(system, leak, query, point, steps, residual, self.tolerance)


class AbstractMinimisedControl(AbstractMetaControl):
    """A controlled rest point as the minimum of M = αR(φ) + L_evaluate(φ).

    R grows with what the control has to hold: the output control is read off as u = ∇R, and the
    control on the weights as ψ = −f, so that ∇M = αu + ∇L_evaluate is the only residual.
    """

    solver: eqx.AbstractVar[TrustRegion]

    @abc.abstractmethod
    def restoring(self, system: FastWeights, state: Weights, support: Task) -> Float[Array, ""]:
        """Returns R(φ)."""

    def equilibrium(
        self, system: FastWeights, leak: float, support: Task, query: Task
    ) -> Solution[Point]:
        restoring = lambda state: self.restoring(system, state, support)  # noqa: E731

        def merit(state: Weights) -> Float[Array, ""]:
            return leak * restoring(state) + system.evaluation(state, query)

        def point(state: Weights) -> Point:
            control = tree_scale(-1.0, system.vector_field(state, support))
            return Point(state, control, jax.grad(restoring)(state))

        def certified(state: Weights, steps: Int[Array, ""]) -> Solution[Point]:
            own = point(state)
            zero = jnp.zeros_like(norm(state))
            return _certified(system, leak, query, own, steps, zero, self.tolerance)

        def error(state: Weights, slope: Weights) -> Float[Array, ""]:
            del slope
            # With room for the rounding between this measurement and the last.
            return 2 * certified(state, jnp.asarray(0, jnp.int32)).stats.error

        state, steps = minimum(merit, system.slow_weights, error, self.solver)
        return certified(state, steps)


class DirectControl(AbstractMinimisedControl):
    """The rest point of the paper's dynamics, where the output control acts as it is, Q = I.

    ψ = u = −∇L_evaluate/α: the weights minimise L_learn + ½λ‖φ − ω‖² + L_evaluate/α. For α → 0 it
    is the least control; for α > 0 its update is not the gradient of an objective (arXiv
    2207.01332, proposition S9), see `OptimalControl`.

    **Arguments:** `tolerance` and `solver` as in `Exact`.
    """

    tolerance: Tolerance = Tolerance()
    solver: TrustRegion = TrustRegion()

    def restoring(self, system: FastWeights, state: Weights, support: Task) -> Float[Array, ""]:
        return system.potential(state, support)


class DescentControl(AbstractMetaControl):
    """The rest point of `DirectControl`, by descent with momentum instead of Newton steps:

        v ← μv + (αf − ∇L_evaluate(φ))/(1 + α),   φ ← φ + ηv,   ψ = u = −∇L_evaluate(φ)/α

    from φ = ω, v = 0 (Polyak 1964). The output control is eliminated, so that no integral of it can
    overshoot, and the step size is that of an adaptation, whatever the leak: the two losses enter
    as a weighted mean. A fixed number of steps need not reach the rest point; the residual of f + ψ
    says how far it is.

    **Arguments:** the `tolerance` of the residual, `steps` ≥ 1, the step size η > 0 and the
    momentum 0 ≤ μ < 1.

    **Raises:** `ValueError` for steps, a step size or a momentum out of their range, and where
    there is no leak to divide by.
    """

    tolerance: Tolerance = Tolerance()
    steps: int = eqx.field(static=True, default=100)
    step_size: float = eqx.field(static=True, default=0.03)
    momentum: float = eqx.field(static=True, default=0.0)

    def __check_init__(self):
        _check_steps(self)
        _check_momentum(self)

    def equilibrium(
        self, system: FastWeights, leak: float, support: Task, query: Task
    ) -> Solution[Point]:
        if leak == 0:
            raise ValueError(
                "DescentControl reads the control off as −∇L_evaluate/α, and the leak α is 0: "
                "write MetaLeastControl(0.1, control=DescentControl()), or use DirectControl()."
            )
        slope_of = jax.grad(lambda state: system.evaluation(state, query))

        def field(state: Weights) -> Weights:
            held = tree_scale(leak, system.vector_field(state, support))
            return tree_scale(1 / (1 + leak), tree_subtract(held, slope_of(state)))

        state = _descend(field, system.slow_weights, self.steps, self.step_size, self.momentum)
        control = tree_scale(-1 / leak, slope_of(state))
        residual = norm(tree_add(system.vector_field(state, support), control))
        point, steps = Point(state, control, control), jnp.asarray(self.steps, jnp.int32)
        return _certified(system, leak, query, point, steps, residual, self.tolerance)


class OptimalControl(AbstractMinimisedControl):
    """The least control at any leak: ψ solves ∂_φfᵀψ + u = 0, Q = −(∂_φf)⁻ᵀ.

    The weights minimise F = ½‖f‖² + L_evaluate/α, of which the update is the exact gradient
    (theorem 1); it takes derivatives of L_learn up to the third.

    **Arguments:** `tolerance` and `solver` as in `Exact`.
    """

    tolerance: Tolerance = Tolerance()
    solver: TrustRegion = TrustRegion()

    def restoring(self, system: FastWeights, state: Weights, support: Task) -> Float[Array, ""]:
        field = system.vector_field(state, support)
        return 0.5 * dot(field, field)


def _certified(
    system: FastWeights,
    leak: float,
    query: Task,
    point: Point,
    steps: Int[Array, ""],
    state_residual: Float[Array, ""],
    tolerance: Tolerance,
) -> Solution[Point]:
    slope_of = jax.grad(lambda state: system.evaluation(state, query))
    # The curvature of L_evaluate in the direction of the control: the trace takes n products.
    slope, bend = jax.jvp(slope_of, (point.state,), (point.output_control,))
    size = norm(point.output_control)
    curvature = norm(bend) / jnp.where(size > 0, size, 1)
    leak_residual = norm(tree_add(tree_scale(leak, point.output_control), slope))
    floor = tolerance.rounding * jnp.finfo(size.dtype).eps
    residuals = tolerance.control_error(
        state_residual=state_residual,
        optimality_residual=jnp.zeros_like(state_residual),
        leak_residual=leak_residual,
        state_norm=norm(point.state),
        control_norm=norm((point.control, point.output_control)),
        output_floor=floor * (1 + norm(point.state)) * curvature,
        leak=leak,
    )
    return Solution(point, verdict(residuals.error), Certificate(steps, *residuals))


class MetaLeastControl(AbstractMetaRule):
    """Descends the control that fast weights need to do well on their query sets.

    With ψ at the controlled rest point of a task, Δθ = ∂_θfᵀψ: Δω = λψ and, where the pull learns,
    Δλ = −(φ − ω)ψ (arXiv 2207.01332, equations 16 to 18). One phase, no second derivative for
    `EulerControl`, and a memory that does not grow with its steps.

    It is not `LeastControl` of the system, though that and `Exact` take `FastWeights` as well: the
    paper's control is u itself, Q = I, and neither a Hessian of L_evaluate in all weights nor an
    oracle for its minima without leak is at hand.

    **Arguments:**

    * `leak`: α ≥ 0, as a number or an output controller; the paper has 0.1.
    * `control`: finds the controlled weights; the paper's 100 Euler steps by default.
    * `adaptation`: how a task is learned when it is evaluated, without any control.
    * `unsolved`: the policy for tasks whose rest point was not reached; by default they count, for
      the paper's steps stop before it.

    **Raises:** `ValueError` for a leak that is not a number of at least 0.
    """

    output_control: AbstractOutputControl
    control: AbstractMetaControl
    adaptation: AbstractAdaptation
    unsolved: AbstractUnsolved

    def __init__(
        self,
        leak: float | AbstractOutputControl = 0.1,
        *,
        control: AbstractMetaControl | None = None,
        adaptation: AbstractAdaptation | None = None,
        unsolved: AbstractUnsolved | None = None,
    ):
        self.output_control = as_output_control(leak)
        self.control = EulerControl() if control is None else control
        self.adaptation = Relaxation() if adaptation is None else adaptation
        self.unsolved = Keep() if unsolved is None else unsolved

    def of_task(self, system: FastWeights, support: Task, query: Task) -> Outcome:
        leak = self.output_control.leak
        solution = self.control.equilibrium(system, leak, support, query)
        state, control, _ = solution.value
        loss = system.evaluation(state, query)
        objective = 0.5 * dot(control, control) + (loss / leak if leak > 0 else 0.0)
        gradient = _pulled_back(system, state, support, tree_scale(-1.0, control))
        return Outcome(gradient, objective, loss, solution)


# --- The others, on equal terms. ---


class AbstractAfterAdaptation(AbstractMetaRule):
    """A rule that looks at where an adaptation without control ends."""

    tolerance: eqx.AbstractVar[Tolerance]

    @abc.abstractmethod
    def gradient(
        self, system: FastWeights, state: Weights, support: Task, query: Task
    ) -> PyTree[Any]:
        """Returns the gradient of one task, a pytree like the system."""

    def of_task(self, system: FastWeights, support: Task, query: Task) -> Outcome:
        solution = self.adaptation.solution(system, support, self.tolerance)
        loss = system.evaluation(solution.value, query)
        gradient = self.gradient(system, solution.value, support, query)
        return Outcome(gradient, loss, loss, solution)


class FirstOrderMAML(AbstractAfterAdaptation):
    """MAML without second derivatives: Δω = −∇L_evaluate(φ) (Finn et al., arXiv 1703.03400)."""

    adaptation: AbstractAdaptation = GradientDescent()
    unsolved: AbstractUnsolved = Keep()
    tolerance: Tolerance = Tolerance()

    def gradient(
        self, system: FastWeights, state: Weights, support: Task, query: Task
    ) -> PyTree[Any]:
        del support
        return _for_slow(system, jax.grad(system.evaluation)(state, query))


class MAML(AbstractMetaRule):
    """Differentiation through the adaptation: Δω = −∇_ω L_evaluate(φ(ω)) (arXiv 1703.03400).

    Its memory grows with the steps of the adaptation.
    """

    adaptation: AbstractAdaptation = GradientDescent()
    unsolved: AbstractUnsolved = Keep()
    tolerance: Tolerance = Tolerance()

    def of_task(self, system: FastWeights, support: Task, query: Task) -> Outcome:
        learned, fixed = eqx.partition(system, eqx.is_inexact_array)

        def after(learned: PyTree) -> tuple[Float[Array, ""], Solution]:
            own = eqx.combine(learned, fixed)
            state, steps = self.adaptation.adapt(own, support)
            solution = self.adaptation.certified(own, state, steps, support, self.tolerance)
            return own.evaluation(state, query), solution

        (loss, solution), gradient = jax.value_and_grad(after, has_aux=True)(learned)
        return Outcome(gradient, loss, loss, solution)


class Reptile(AbstractAfterAdaptation):
    """The slow weights move to the fast ones: Δω = φ − ω (Nichol et al., arXiv 1803.02999).

    Its adaptation learns from the support set; the query set is only looked at.
    """

    adaptation: AbstractAdaptation = GradientDescent()
    unsolved: AbstractUnsolved = Keep()
    tolerance: Tolerance = Tolerance()

    def gradient(
        self, system: FastWeights, state: Weights, support: Task, query: Task
    ) -> PyTree[Any]:
        del support, query
        return _for_slow(system, tree_subtract(system.slow_weights, state))


class T1T2(AbstractAfterAdaptation):
    """The implicit gradient with the inverse Hessian replaced by the identity.

    Δω = −λ∇L_evaluate(φ) (Luketina et al., arXiv 1511.06727), the Δθ = ∂_θfᵀψ of ψ = −∇L_evaluate.
    """

    adaptation: AbstractAdaptation = Relaxation()
    unsolved: AbstractUnsolved = Keep()
    tolerance: Tolerance = Tolerance()

    def gradient(
        self, system: FastWeights, state: Weights, support: Task, query: Task
    ) -> PyTree[Any]:
        return _pulled_back(system, state, support, jax.grad(system.evaluation)(state, query))


class ImplicitMAML(AbstractAfterAdaptation):
    """The implicit gradient of L_evaluate(φ*(ω)): Δω = −λδ, (∂²L_learn + λ)δ = ∇L_evaluate(φ*).

    (Rajeswaran et al., arXiv 1909.04630.) It is exact at the free equilibrium. Conjugate gradients
    solve for δ, matrix-free; they take the Hessian for positive definite, as it is in a minimum.
    Away from one they can break down: such a task has no finite point, and does not count.

    **Arguments:**

    * `adaptation`, `unsolved`, `tolerance`: as for the others.
    * `products`: the most products of the Hessian with a vector; `accuracy`: where they stop.
    """

    adaptation: AbstractAdaptation = Relaxation()
    unsolved: AbstractUnsolved = Keep()
    tolerance: Tolerance = Tolerance()
    products: int = eqx.field(static=True, default=5)
    accuracy: float = eqx.field(static=True, default=1e-6)

    def gradient(
        self, system: FastWeights, state: Weights, support: Task, query: Task
    ) -> PyTree[Any]:
        slope_of = jax.grad(lambda state: system.potential(state, support))
        operator = lx.FunctionLinearOperator(
            lambda v: jax.jvp(slope_of, (state,), (v,))[1],
            jax.eval_shape(lambda: state),
            lx.positive_semidefinite_tag,
        )
        slope = jax.grad(system.evaluation)(state, query)
        length = jnp.maximum(norm(slope), jnp.finfo(norm(slope).dtype).tiny)
        solver = lx.CG(
            rtol=self.accuracy, atol=self.accuracy, norm=optx.two_norm, max_steps=self.products
        )
        unit = tree_scale(1 / length, slope)
        signal = lx.linear_solve(operator, unit, solver, throw=False).value
        return _pulled_back(system, state, support, tree_scale(length, signal))


class ContrastiveMeta(AbstractAfterAdaptation):
    """The contrast of two phases: Δω = λ(φ_β − φ)/β (Zucchet et al., arXiv 2104.01677).

    φ_β goes on from φ by as many steps of the free dynamics with −β∇L_evaluate added; Δλ is
    −½[(φ_β − ω)² − (φ − ω)²]/β.

    **Arguments:**

    * `adaptation`, `unsolved`, `tolerance`: as for the others.
    * `strength`: β > 0.
    * `steps`, `step_size`, `momentum`: of the second phase.

    **Raises:** `ValueError` for a strength, steps, a step size or a momentum out of their range.
    """

    adaptation: AbstractAdaptation = Relaxation()
    unsolved: AbstractUnsolved = Keep()
    tolerance: Tolerance = Tolerance()
    strength: float = eqx.field(static=True, default=0.1)
    steps: int = eqx.field(static=True, default=100)
    step_size: float = eqx.field(static=True, default=0.03)
    momentum: float = eqx.field(static=True, default=0.0)

    def __check_init__(self):
        _check_steps(self)
        _check_momentum(self)
        if not 0 < self.strength < math.inf:
            raise ValueError(
                f"`strength` is {self.strength}, but the strength β of the second phase is above 0 "
                "and finite: write ContrastiveMeta(strength=0.1)."
            )

    def gradient(
        self, system: FastWeights, state: Weights, support: Task, query: Task
    ) -> PyTree[Any]:
        def field(state: Weights) -> Weights:
            slope = jax.grad(system.evaluation)(state, query)
            return tree_subtract(
                system.vector_field(state, support), tree_scale(self.strength, slope)
            )

        nudged = _descend(field, state, self.steps, self.step_size, self.momentum)
        learned, fixed = eqx.partition(system, eqx.is_inexact_array)

        def contrast(learned: PyTree) -> Float[Array, ""]:
            own = eqx.combine(learned, fixed)
            return own.potential(nudged, support) - own.potential(state, support)

        return tree_scale(1 / self.strength, jax.grad(contrast)(learned))


def _pulled_back(
    system: FastWeights, state: Weights, support: Task, signal: Weights
) -> PyTree[Any]:
    """Returns ∂_θfᵀa at fast weights that are held fixed, a pytree like the system."""
    learned, fixed = eqx.partition(system, eqx.is_inexact_array)
    field = lambda learned: eqx.combine(learned, fixed).vector_field(state, support)  # noqa: E731
    return jax.vjp(field, learned)[1](signal)[0]


def _for_slow(system: FastWeights, gradient: Weights) -> PyTree[Any]:
    """Returns a gradient of the slow weights as one of the system, zero in the pull."""
    empty = eqx.filter(system, eqx.is_inexact_array)
    pull = jax.tree.map(jnp.zeros_like, system.log_pull)
    return eqx.tree_at(lambda own: (own.model, own.log_pull), empty, (gradient, pull))
