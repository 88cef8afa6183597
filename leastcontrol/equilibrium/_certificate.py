"""What a solve returns, and the measurement that decides whether it is a solution.

`certify` evaluates the three conditions of a controlled rest point (arXiv 2207.01332, theorem 1 and
proposition S1) from their definitions, at the point it is given, and compares each with what
`Tolerance` allows; the errors as multiples of the allowance are also what the solvers stop on.
"""

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Bool, Float, Int, PyTree

from ..systems import AbstractSystem, pullback_at_rest
from ._problem import ControlProblem, Sample
from ._rate import Rate, rate_of_pullback
from ._trees import dot, norm, tree_add

Value = TypeVar("Value")


class RESULTS(optx.RESULTS):  # pyright: ignore[reportGeneralTypeIssues]
    """How a solve ended, one sentence each; `RESULTS[solution.result]` is the sentence."""

    not_at_rest = (
        "The residual of the point that was reached is above what the tolerance allows. Give the "
        "solver more steps, choose another solver, ask for less control with a larger leak, or "
        "write f in the unit of time of its own decay, on which the least control depends."
    )
    not_contracting = (
        "The free dynamics do not contract in their own unit of time: at the point that was "
        "reached a unit step leaves the residual no smaller. Divide f by the rate of its fastest "
        "part, which leaves its rest points where they are, train with a JacobianPenalty, or "
        "settle by free_equilibrium(..., solver=TrustRegion()), which needs no contraction."
    )
    no_finite_point = (
        "The solver met a value that is not finite. Check the input and the parameters, lower the "
        "learning rate, or ask for less control with a larger leak."
    )
    invalid_target = (
        "The sample's target is not one that its loss is defined for. Give labels from 0 up to one "
        "less than the number of outputs, probabilities that are at least 0 and sum to 1, or "
        "finite target vectors."
    )
    target_not_reached = (
        "The simulated control left more of the output's error than was asked for. Simulate more "
        "time points or longer steps, use a larger gain, or see whether the controlled dynamics "
        "are stable."
    )


class Point(NamedTuple):
    """A controlled state of one sample: φ, the control ψ on it, and the output control u."""

    state: PyTree[Float[Array, "..."]]
    control: PyTree[Float[Array, "..."]]
    output_control: Float[Array, "..."]

    @staticmethod
    def uncontrolled(system: AbstractSystem, drive: PyTree[Any]) -> "Point":
        """Returns where a solver starts that knows no better: the first state, without control."""
        state = system.initial_state(drive)
        read = jax.eval_shape(system.readout, state)
        return Point(state, jax.tree.map(jnp.zeros_like, state), jnp.zeros(read.shape, read.dtype))

    @staticmethod
    def first(system: AbstractSystem, sample: Sample) -> "Point":
        """Returns the sample's own start, or where a solver starts without one."""
        if sample.start is None:
            return Point.uncontrolled(system, sample.drive)
        return sample.start


class Tolerance(eqx.Module):
    """How large a residual may be.

    With ψ̄ = (ψ, u), the conditions of a controlled rest point are allowed

        ‖f + ψ‖              ≤ relative · ‖ψ̄‖   + rounding · ε (‖φ‖ + ‖ψ‖)
        ‖∂_φfᵀψ + ∂_φhᵀu‖    ≤ relative · ‖ψ̄‖   + rounding · ε (‖φ‖ + ‖ψ‖), or (‖ψ‖) alone
        ‖αu + ∇_yL‖          ≤ relative · α‖ψ̄‖  + rounding · ε (1 + ‖y‖) tr ∂²_yL

    where ε is the spacing of the numbers at 1 in the state's dtype. The second terms are floors:
    f, and the output that ∇_yL is taken at, are sums of numbers of about the state's and the
    output's size, so their last digits cannot be smaller, however little control a sample needs,
    and neither can those of a control that is read off as −f or found under an order's rounding.
    The joint iteration of dynamic inversion has a control of its own, whose floor is its own size.
    A free rest point is allowed ‖f‖ ≤ relative · ‖φ‖ + rounding · ε ‖φ‖.

    So it is for f = −φ + g(φ). A rest point does not depend on the unit of time, but ‖f‖ does, by a
    rate: f ≈ ∂_φf e for an error e of the state. Of any other f the rate r = ‖∂_φf v‖ / ‖v‖ is
    measured, for the v that is at hand where the residual is measured: the residual itself (of
    which ‖f‖/r is then the state's error as far as one derivative tells it), the last step, or the
    control. A free rest point is allowed r times as much, and a controlled one

        ‖f + ψ‖              ≤ relative · ‖ψ̄‖   + rounding · ε (r‖φ‖ + ‖ψ‖)
        ‖∂_φfᵀψ + ∂_φhᵀu‖    ≤ r (relative · ‖ψ̄‖ + rounding · ε (r‖φ‖ + ‖ψ‖)).
    """

    relative: float = 1e-5
    rounding: float = 16.0

    def __check_init__(self):
        if not (0 < self.relative < 1) or not (0 < self.rounding < float("inf")):
            raise ValueError(
                f"The tolerance is relative={self.relative}, rounding={self.rounding}, but the "
                "first lies between 0 and 1 and the second is positive: write "
                "Tolerance(relative=1e-5)."
            )

    def free_error(
        self,
        residual: Float[Array, ""],
        state_norm: Float[Array, ""],
        rate: Rate = 1.0,
    ) -> Float[Array, ""]:
        """Returns ‖f‖ as a multiple of what a free rest point is allowed."""
        floor = self.rounding * jnp.finfo(state_norm.dtype).eps
        return _ratio(residual, (self.relative + floor) * rate * state_norm)

    def control_error(
        self,
        *,
        state_residual: Float[Array, ""],
        optimality_residual: Float[Array, ""],
        leak_residual: Float[Array, ""],
        state_norm: Float[Array, ""],
        control_norm: Float[Array, ""],
        output_floor: Float[Array, ""],
        leak: float | Float[Array, ""],
        own_control: bool = False,
        rate: Rate = 1.0,
    ) -> "Residuals":
        """Returns the three residuals and the largest of them as a multiple of its allowance.

        `own_control` says that the control is iterated by itself, so that the rounding of the state
        is no excuse for what it lacks.
        """
        floor = self.rounding * jnp.finfo(state_norm.dtype).eps
        scale = self.relative * control_norm
        size = rate * state_norm + control_norm
        control_size = control_norm if own_control else size
        error = jnp.maximum(
            jnp.maximum(
                _ratio(state_residual, scale + floor * size),
                _ratio(optimality_residual, rate * (scale + floor * control_size)),
            ),
            _ratio(leak_residual, leak * scale + output_floor),
        )
        return Residuals(state_residual, optimality_residual, leak_residual, control_norm, error)


class Residuals(NamedTuple):
    """What was measured at a point; the figures of a `Certificate`."""

    state_residual: Float[Array, "*batch"]
    optimality_residual: Float[Array, "*batch"]
    leak_residual: Float[Array, "*batch"]
    control_norm: Float[Array, "*batch"]
    error: Float[Array, "*batch"]

    @staticmethod
    def unknown(dtype: Any) -> "Residuals":
        """Returns those of a sample's point at which nothing was measured yet."""
        return Residuals(*(jnp.full((), jnp.inf, dtype) for _ in Residuals._fields))


class Certificate(eqx.Module):
    """What was measured at the point of a `Solution`, for each sample.

    * `steps`: iterations of the solver.
    * `state_residual`: ‖f + ψ‖. `optimality_residual`: ‖∂_φfᵀψ + ∂_φhᵀu‖; with learned feedback the
      distance of ψ from what the feedback asks for, see its controller.
      `leak_residual`: ‖αu + ∇_yL‖. The last two are zero for a free rest point.
    * `control_norm`: ‖(ψ, u)‖, zero for a free rest point.
    * `error`: the largest residual as a multiple of what the tolerance allows; solved up to 1.
    """

    steps: Int[Array, "*batch"]
    state_residual: Float[Array, "*batch"]
    optimality_residual: Float[Array, "*batch"]
    leak_residual: Float[Array, "*batch"]
    control_norm: Float[Array, "*batch"]
    error: Float[Array, "*batch"]


class Solution(eqx.Module, Generic[Value]):
    """The outcome of a solve.

    * `value`: the `Point` (or whatever was solved for), with a leading batch axis.
    * `result`: an item of `RESULTS` for each sample.
    * `stats`: the `Certificate` of each sample.
    """

    value: Value
    result: Any
    stats: Certificate


def solved(solution: Solution) -> Bool[Array, "*batch"]:
    """Returns for each sample whether its residuals are within the tolerance."""
    return solution.result == RESULTS.successful


def verdict(error: Float[Array, ""], missed: Any = RESULTS.not_at_rest) -> Any:
    """Returns the result that a sample's error, as a multiple of the allowance, stands for.

    `missed` is what an error that is finite and too large is called.
    """
    unsolved = RESULTS.where(jnp.isfinite(error), missed, RESULTS.no_finite_point)
    return RESULTS.where(
        error <= 1,
        RESULTS.successful,  # pyright: ignore[reportArgumentType]
        unsolved,
    )


def certify(
    problem: ControlProblem,
    samples: Sample,
    point: Point,
    steps: Int[Array, " batch"],
    tolerance: Tolerance,
    missing: Callable[[Sample, Point], PyTree[Array]] | None = None,
) -> Solution[Point]:
    """Returns a batch of points with the residuals measured there and the result they decide.

    `missing` says what the control at a point lacks where it is not to be the least one: it takes
    the place of ∂_φfᵀψ + ∂_φhᵀu.
    """

    def measure(sample: Sample, point: Point, steps: Int[Array, ""]) -> Solution[Point]:
        lacking = None if missing is None else missing(sample, point)
        residuals = measured(problem, sample, point, tolerance, lacking)
        return Solution(point, verdict(residuals.error), Certificate(steps, *residuals))

    return jax.vmap(measure)(samples, point, steps)


def measured(
    problem: ControlProblem,
    sample: Sample,
    point: Point,
    tolerance: Tolerance,
    lacking: PyTree[Array] | None = None,
) -> Residuals:
    """Returns one sample's residuals, evaluated at a point, with its own ∂_φfᵀψ + ∂_φhᵀu or that
    which is given."""
    field, read, pull = pullback_at_rest(problem.system, point.state, sample.drive)
    state = tree_add(field, point.control)
    if lacking is not None:
        return residuals_of(problem, sample, point, tolerance, state, lacking, read)
    optimality = pull(point.control, point.output_control)
    rate = rate_of_pullback(problem.system, pull, point.control, point.output_control)
    return residuals_of(problem, sample, point, tolerance, state, optimality, read, rate=rate)


def residuals_of(
    problem: ControlProblem,
    sample: Sample,
    point: Point,
    tolerance: Tolerance,
    state_residual: PyTree[Array],
    optimality_residual: PyTree[Array],
    read: Float[Array, " outputs"],
    own_control: bool = False,
    rate: Rate = 1.0,
) -> Residuals:
    """Returns one sample's residuals where f + ψ, ∂_φfᵀψ + ∂_φhᵀu and h at the point are known."""
    output = read + problem.own_gain * point.output_control
    slope = problem.loss.gradient(output, sample.target)
    return tolerance.control_error(
        state_residual=norm(state_residual),
        optimality_residual=norm(optimality_residual),
        leak_residual=norm(problem.leak * point.output_control + slope),
        state_norm=norm(point.state),
        control_norm=norm((point.control, point.output_control)),
        output_floor=problem.output_floor(sample, output, tolerance.rounding),
        leak=problem.leak,
        own_control=own_control,
        rate=rate,
    )


def energy_and_loss(
    problem: ControlProblem, sample: Sample, point: Point
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Returns F and L of one sample at a point."""
    read = problem.system.readout(point.state)
    square = dot(point.control, point.control)
    energy = problem.energy(sample, square, read, point.output_control)
    output = read + problem.own_gain * point.output_control
    return energy, problem.loss(output, sample.target)


def certified(point: Point, steps: Int[Array, " batch"], residuals: Residuals) -> Solution[Point]:
    """Returns a batch of points with residuals measured there and the result they decide."""
    result = jax.vmap(verdict)(residuals.error)
    return Solution(point, result, Certificate(steps, *residuals))


def _ratio(residual: Float[Array, ""], allowed: Float[Array, ""]) -> Float[Array, ""]:
    # A zero residual is allowed even where nothing else is.
    return jnp.where(residual == 0, 0.0, residual / allowed).astype(residual.dtype)
