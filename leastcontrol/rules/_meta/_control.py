"""Controls for fast weights, and the two that take a fixed number of steps."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ...equilibrium import Certificate, Point, Solution, Tolerance, verdict
from ...equilibrium._trees import norm, tree_add, tree_scale, tree_subtract
from ...systems import FastWeights
from ._weights import Task, Weights, check_momentum, check_steps, descend


class AbstractMetaControl(eqx.Module):
    """Finds the controlled fast weights of one task."""

    tolerance: eqx.AbstractVar[Tolerance]

    @abc.abstractmethod
    def equilibrium(
        self, system: FastWeights, leak: float, support: Task, query: Task
    ) -> Solution[Point]:
        """Finds φ, ψ and u, and measures the residuals of f + ψ = 0 and αu + ∇L_evaluate = 0."""


class EulerControl(AbstractMetaControl):
    """Takes Euler steps of weights and control together, as in the paper:

        φ ← φ + η(f + u),   u ← u − η(αu + ∇L_evaluate(φ)),   ψ = u

    starting at φ = ω, u = 0 (arXiv 2207.01332, equations 17 and 18, section S4.5). A fixed number
    of steps need not reach the equilibrium; the residuals say how far away it is.

    **Arguments:** the `tolerance` of the residuals, `steps` ≥ 1 and the step size η > 0.

    **Raises:** `ValueError` if `steps` or the step size is out of its range.
    """

    tolerance: Tolerance = Tolerance()
    steps: int = eqx.field(static=True, default=100)
    step_size: float = eqx.field(static=True, default=0.03)

    def __check_init__(self):
        check_steps(self)

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
        return certified(system, leak, query, point, steps, residual, self.tolerance)


class DescentControl(AbstractMetaControl):
    """Finds the equilibrium of `DirectControl` by descent with momentum, not by Newton steps:

        v ← μv + (αf − ∇L_evaluate(φ))/(1 + α),   φ ← φ + ηv,   ψ = u = −∇L_evaluate(φ)/α

    starting at φ = ω, v = 0 (Polyak 1964). The output control is eliminated, so no integral of it
    can overshoot. The two losses enter as a weighted mean, so the step size of an adaptation serves
    whatever the leak is. A fixed number of steps need not reach the equilibrium; the residual of
    f + ψ says how far away it is.

    **Arguments:** the `tolerance` of the residual, `steps` ≥ 1, the step size η > 0 and the
    momentum 0 ≤ μ < 1.

    **Raises:** `ValueError` if `steps`, the step size or the momentum is out of its range, and when
    it is called with a leak of 0, for it divides by the leak.
    """

    tolerance: Tolerance = Tolerance()
    steps: int = eqx.field(static=True, default=100)
    step_size: float = eqx.field(static=True, default=0.03)
    momentum: float = eqx.field(static=True, default=0.0)

    def __check_init__(self):
        check_steps(self)
        check_momentum(self)

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

        state = descend(field, system.slow_weights, self.steps, self.step_size, self.momentum)
        control = tree_scale(-1 / leak, slope_of(state))
        residual = norm(tree_add(system.vector_field(state, support), control))
        point, steps = Point(state, control, control), jnp.asarray(self.steps, jnp.int32)
        return certified(system, leak, query, point, steps, residual, self.tolerance)


def certified(
    system: FastWeights,
    leak: float,
    query: Task,
    point: Point,
    steps: Int[Array, ""],
    state_residual: Float[Array, ""],
    tolerance: Tolerance,
) -> Solution[Point]:
    """Measures the leak residual at a point, and certifies the point by it and ‖f + ψ‖."""
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
