"""The result of a solve, and the certificate that decides whether it is a solution.

`certify` evaluates the three conditions of a controlled equilibrium (arXiv 2207.01332, theorem 1
and proposition S1) at a given point, from their definitions, and compares each residual with the
`Tolerance`. Solvers stop on the same errors.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Bool, Float, Int, PyTree

from ..systems import AbstractSystem, Units, pullback_at_rest
from ._problem import ControlProblem, Sample
from ._rate import Rate, rate_of_pullback
from ._trees import dot, norm, tree_add

Value = TypeVar("Value")


class RESULTS(optx.RESULTS):  # pyright: ignore[reportGeneralTypeIssues]
    """The outcomes of a solve; `RESULTS[solution.result]` is a sentence that explains one."""

    not_at_rest = (
        "The residual of the point that was reached is above what the tolerance allows. Give the "
        "solver more steps, choose another solver, ask for less control with a larger leak, or "
        "rescale f so that its unit of time is its decay time, because the least control depends "
        "on that unit."
    )
    not_contracting = (
        "The free dynamics do not contract: at the point that was reached, a unit step does not "
        "reduce the residual. Divide f by the rate of its fastest part, which does not change its "
        "rest points, train with a JacobianPenalty, or solve by free_equilibrium(..., "
        "solver=TrustRegion()), which needs no contraction."
    )
    no_finite_point = (
        "The solver reached a value that is not finite. Check the input and the parameters, lower "
        "the learning rate, or ask for less control with a larger leak."
    )
    invalid_target = (
        "The loss is not defined for the target of this sample. Give labels from 0 up to one less "
        "than the number of outputs, probabilities that are at least 0 and sum to 1, or finite "
        "target vectors."
    )
    not_convex = (
        "The loss is not convex at the output that was reached, so that the control there need not "
        "be the least one, and may depend on the start. Give a loss that is convex in the output, "
        "start nearer to the target, or count such samples by unsolved=Keep()."
    )
    target_not_reached = (
        "The simulated control left a larger output error than the tolerance allows. Simulate "
        "more time points or longer steps, use a larger gain, or check that the controlled "
        "dynamics are stable."
    )
    unstable = (
        "The rest point was found, but the dynamics leave it: the Jacobian of f has an eigenvalue "
        "with a positive real part there. Start where the dynamics go, as from the end of a "
        "simulation, use FixedPoint, which follows them, or train with a JacobianPenalty."
    )
    root_to_blame = (
        "The gradient is less accurate than was asked for, mostly because the state is not at "
        "rest. Lower the tolerance of the solve, give it more steps, or choose another solver."
    )
    adjoint_to_blame = (
        "The gradient is less accurate than was asked for, mostly because the adjoint does not "
        "solve its equation. Lower its tolerance, give its solver more steps, write "
        "solver=TrustRegion(), or check that the adjoint was computed from the same f."
    )
    not_differentiable = (
        "The Jacobian of f at the state is singular, or so nearly that no error of the gradient "
        "can be predicted. The rest point may be one of a continuum or about to vanish: check the "
        "parameters, or add a leak to f."
    )


class Point(NamedTuple):
    """A controlled state of one sample: the state φ, the control ψ and the output control u."""

    state: PyTree[Float[Array, "..."]]
    control: PyTree[Float[Array, "..."]]
    output_control: Float[Array, "..."]

    @staticmethod
    def uncontrolled(system: AbstractSystem, drive: PyTree[Any]) -> "Point":
        """Makes the default start of a solver: the system's initial state without control."""
        state = system.initial_state(drive)
        read = jax.eval_shape(system.readout, state)
        return Point(state, jax.tree.map(jnp.zeros_like, state), jnp.zeros(read.shape, read.dtype))

    @staticmethod
    def first(system: AbstractSystem, sample: Sample) -> "Point":
        """Returns the start that the sample gives, or else the default start."""
        if sample.start is None:
            return Point.uncontrolled(system, sample.drive)
        return sample.start


class Tolerance(eqx.Module):
    """The largest allowed residuals.

    With ψ̄ = (ψ, u), the residuals of a controlled equilibrium may be at most

        ‖f + ψ‖              ≤ relative · ‖ψ̄‖   + rounding · ε (‖φ‖ + ‖ψ‖)
        ‖∂_φfᵀψ + ∂_φhᵀu‖    ≤ relative · ‖ψ̄‖   + rounding · ε (‖φ‖ + ‖ψ‖), or (‖ψ‖) alone
        ‖αu + ∇_yL‖          ≤ relative · α‖ψ̄‖  + rounding · ε (1 + ‖y‖) tr ∂²_yL

    where ε is the machine epsilon of the state's dtype and the second terms are rounding floors;
    the joint iteration of dynamic inversion has the floor ‖ψ‖ alone. A free equilibrium is allowed
    ‖f‖ ≤ relative · ‖φ‖ + rounding · ε ‖φ‖.

    These bounds hold for f = −φ + g(φ). For any other f the rate r = ‖∂_φf v‖ / ‖v‖ is measured
    along the residual, the last step, or the control, because ‖f‖ depends on the unit of time
    ([Tolerances and units of time][tolerances-and-units-of-time]). A free equilibrium is then
    allowed r times as much, and a controlled one

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
        """Computes ‖f‖ as a multiple of the allowed residual of a free equilibrium."""
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
        """Computes the largest of the three residuals as a multiple of its allowed value.

        With `own_control` the control is iterated separately, and the rounding of the state does
        not relax the tolerance of its residual.
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
    """The residuals at a point, as in `Certificate`."""

    state_residual: Float[Array, "*batch"]
    optimality_residual: Float[Array, "*batch"]
    leak_residual: Float[Array, "*batch"]
    control_norm: Float[Array, "*batch"]
    error: Float[Array, "*batch"]

    @staticmethod
    def unknown(dtype: Any) -> "Residuals":
        """Makes infinite residuals, for a point that has not been measured."""
        return Residuals(*(jnp.full((), jnp.inf, dtype) for _ in Residuals._fields))


class Certificate(eqx.Module):
    """The residuals of a `Solution`, for each sample.

    * `steps`: number of solver iterations.
    * `state_residual`: ‖f + ψ‖.
    * `optimality_residual`: ‖∂_φfᵀψ + ∂_φhᵀu‖, zero for a free equilibrium. With learned feedback,
      the distance of ψ from the control that the feedback gives; see its controller.
    * `leak_residual`: ‖αu + ∇_yL‖, zero for a free equilibrium.
    * `control_norm`: ‖(ψ, u)‖, zero for a free equilibrium.
    * `error`: the largest residual as a multiple of its allowed value. The sample is solved if it
      is at most 1.
    * `largest_real_part`: of the spectrum of ∂_φf at a free equilibrium, if `settle` was asked for
      stability.
    * `stability_accuracy`: the norm of a change of ∂_φf for which `largest_real_part` is that of an
      eigenvalue.
    """

    steps: Int[Array, "*batch"]
    state_residual: Float[Array, "*batch"]
    optimality_residual: Float[Array, "*batch"]
    leak_residual: Float[Array, "*batch"]
    control_norm: Float[Array, "*batch"]
    error: Float[Array, "*batch"]
    largest_real_part: Float[Array, "*batch"] | None = None
    stability_accuracy: Float[Array, "*batch"] | None = None


class Solution(eqx.Module, Generic[Value]):
    """The outcome of a solve.

    * `value`: the `Point`, or state, with a leading batch axis.
    * `result`: an item of `RESULTS` for each sample.
    * `stats`: the `Certificate` of each sample.
    * `shares`: the shares of the slopes of the rectified units inside f, for a solver that lets
      them rest on their kinks; `None` elsewhere.
    """

    value: Value
    result: Any
    stats: Certificate
    shares: Units | None = None


def solved(solution: Solution) -> Bool[Array, "*batch"]:
    """Returns for each sample whether its residuals are within the tolerance."""
    return solution.result == RESULTS.successful


def verdict(error: Float[Array, ""], missed: Any = RESULTS.not_at_rest) -> Any:
    """Converts the error of a sample, a multiple of its allowed value, into an item of `RESULTS`.

    `missed` is the result for a finite error above 1.
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
    """Certifies a batch of points by measuring their residuals.

    For a control that is not the least control, `missing` computes the residual that replaces
    ∂_φfᵀψ + ∂_φhᵀu.
    """

    def measure(sample: Sample, point: Point, steps: Int[Array, ""]) -> Solution[Point]:
        lacking = None if missing is None else missing(sample, point)
        residuals = measured(problem, sample, point, tolerance, lacking)
        return _of_measured(problem, sample, point, steps, residuals)

    return jax.vmap(measure)(samples, point, steps)


def certified(
    problem: ControlProblem,
    samples: Sample,
    point: Point,
    steps: Int[Array, " batch"],
    residuals: Residuals,
    shares: Units | None = None,
) -> Solution[Point]:
    """Makes the solution of a batch from points whose residuals have been measured."""
    solution = jax.vmap(partial(_of_measured, problem))(samples, point, steps, residuals)
    return Solution(solution.value, solution.result, solution.stats, shares)


def _of_measured(
    problem: ControlProblem,
    sample: Sample,
    point: Point,
    steps: Int[Array, ""],
    residuals: Residuals,
) -> Solution[Point]:
    output = problem.system.readout(point.state) + problem.own_gain * point.output_control
    concavity = problem.loss.concavity(output, sample.target, problem.leak_of(sample))
    convex = concavity == 0
    error = jnp.where(convex, residuals.error, jnp.maximum(residuals.error, 1 + concavity))
    result = RESULTS.where(
        convex,
        verdict(error),
        verdict(error, RESULTS.not_convex),
    )
    return Solution(point, result, Certificate(steps, *residuals._replace(error=error)))


def measured(
    problem: ControlProblem,
    sample: Sample,
    point: Point,
    tolerance: Tolerance,
    lacking: PyTree[Array] | None = None,
) -> Residuals:
    """Measures the residuals of one sample at a point.

    `lacking` replaces the residual ∂_φfᵀψ + ∂_φhᵀu, if given.
    """
    if lacking is not None:
        # Values of f and h alone, so that f may be what JAX cannot differentiate.
        state = tree_add(problem.system.vector_field(point.state, sample.drive), point.control)
        read = problem.system.readout(point.state)
        sizes = Sizes.of(state, lacking, point.state, point.control)
        return residuals_of(problem, sample, point.output_control, tolerance, sizes, read)
    field, read, pull = pullback_at_rest(problem.system, point.state, sample.drive)
    state = tree_add(field, point.control)
    optimality = pull(point.control, point.output_control)
    sizes = Sizes.of(state, optimality, point.state, point.control)
    # Without control the rate is that along what is left of f, or of the optimality.
    directions = (point.control, field, optimality)
    rate = rate_of_pullback(problem.system, pull, directions, point.output_control)
    return residuals_of(problem, sample, point.output_control, tolerance, sizes, read, rate=rate)


class Sizes(NamedTuple):
    """The norms of f + ψ, of ∂_φfᵀψ + ∂_φhᵀu, of the state and of the control at a point."""

    state_residual: Float[Array, ""]
    optimality_residual: Float[Array, ""]
    state: Float[Array, ""]
    control: Float[Array, ""]

    @staticmethod
    def of(
        state_residual: PyTree[Array],
        optimality_residual: PyTree[Array],
        state: PyTree[Array],
        control: PyTree[Array],
    ) -> "Sizes":
        """Computes the norms, one by one."""
        return Sizes(*map(norm, (state_residual, optimality_residual, state, control)))


def residuals_of(
    problem: ControlProblem,
    sample: Sample,
    output_control: Float[Array, " outputs"],
    tolerance: Tolerance,
    sizes: Sizes,
    read: Float[Array, " outputs"],
    own_control: bool = False,
    rate: Rate = 1.0,
) -> Residuals:
    """Computes the residuals of one sample from u, from h, and from the norms at a point."""
    output = read + problem.own_gain * output_control
    slope = problem.loss.gradient(output, sample.target)
    leak = problem.leak_of(sample)
    return tolerance.control_error(
        state_residual=sizes.state_residual,
        optimality_residual=sizes.optimality_residual,
        leak_residual=norm(leak * output_control + slope),
        state_norm=sizes.state,
        control_norm=jnp.sqrt(sizes.control**2 + dot(output_control, output_control)),
        output_floor=problem.output_floor(sample, output, tolerance.rounding),
        leak=leak,
        own_control=own_control,
        rate=rate,
    )


def energy_and_loss(
    problem: ControlProblem, sample: Sample, point: Point
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Computes F and L of one sample at a point."""
    read = problem.system.readout(point.state)
    square = dot(point.control, point.control)
    energy = problem.energy(sample, square, read, point.output_control)
    output = read + problem.own_gain * point.output_control
    return energy, problem.loss(output, sample.target)


def _ratio(residual: Float[Array, ""], allowed: Float[Array, ""]) -> Float[Array, ""]:
    # A residual of zero passes even if the allowed value is zero.
    return jnp.where(residual == 0, 0.0, residual / allowed).astype(residual.dtype)
