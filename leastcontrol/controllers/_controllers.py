"""The exact controllers, which reach the same equilibrium by different methods."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..equilibrium import (
    AbstractErrorCoordinates,
    AbstractLandscape,
    Budget,
    ControlProblem,
    EnergyProblem,
    ErrorLandscape,
    FixedPoint,
    JointProblem,
    KinkedJointProblem,
    KinkedSweepProblem,
    OrderedCoordinates,
    Point,
    Sample,
    Solution,
    SolvedCoordinates,
    StateLandscape,
    SweepProblem,
    Tolerance,
    TrustRegion,
    TrustRegionProblem,
    certified,
    certify,
    for_the_rest,
    free_equilibrium,
    minimum_on_kinks,
    run,
    solved,
)
from ..systems import (
    AbstractOrderedSystem,
    AbstractRectifiedSystem,
    inner_kinks,
)
from ._controller import AbstractControllerWithoutFeedback

TO_ROUNDING = 1e-30


# Sweeps on kinks. Most samples need few, and Newton's method, which knows no kinks, solves hardly
# one of those that need many.
KINKED_SWEEPS = FixedPoint(max_steps=120, first_share=2, groups=16)
# Joint steps on kinks. Shares follow slowly, and quickly where iterates are mixed.
KINKED_JOINT = FixedPoint(max_steps=200, memory=5)
# Steps of descent with two solves each. On recurrent networks hardly one sample that needs more is
# solved within two hundred.
ENERGY_STEPS = 12


def _iteration(solver: FixedPoint | Budget | None, default: FixedPoint) -> FixedPoint:
    return default if solver is None else solver.instead_of(default)


class DynamicInversion(AbstractControllerWithoutFeedback):
    """Control with dynamics that invert those of the system, ψ̇ = ∂_φfᵀψ + ∂_φhᵀu.

    (arXiv 2207.01332, equations 8 and 14.) An ordered system is solved by sweeps, state forward and
    control backward. A rectified system uses sweeps that let units rest on their kinks. Any other
    system is solved by a joint iteration of state and control.

    **Arguments:**

    * `tolerance`: of the residuals.
    * `solver`: of the iteration; by default at most 60 relaxed sweeps for an ordered system, 120
      plain sweeps for a rectified one, 200 mixed steps for one with rectified units inside f, and
      200 steps for any other, of which the later ones mix iterates. A `Budget` changes the number
      of steps alone.
    """

    tolerance: Tolerance = Tolerance()
    solver: FixedPoint | Budget | None = None

    def equilibrium(
        self, problem: ControlProblem, samples: Sample, feedback: PyTree[Any] = None
    ) -> Solution[Point]:
        del feedback
        system = problem.system
        if isinstance(system, AbstractRectifiedSystem) and system.rectified:
            kinked = KinkedSweepProblem(problem, system, self.tolerance)
            last, steps, _ = run(kinked, _iteration(self.solver, KINKED_SWEEPS), samples)
            return certified(problem, samples, last.point, steps, last.residuals)
        if isinstance(system, AbstractOrderedSystem):
            sweeps = SweepProblem(problem, system, self.tolerance)
            solver = _iteration(self.solver, FixedPoint(60, relax=True))
            last, steps, _ = run(sweeps, solver, samples)
            return certified(problem, samples, last.point, steps, last.residuals)
        kinked = inner_kinks(system)
        if kinked is not None:
            joint = KinkedJointProblem(problem, kinked, self.tolerance)
            last, steps, _ = run(joint, _iteration(self.solver, KINKED_JOINT), samples)
            return certified(problem, samples, last.point, steps, last.residuals, last.shares)
        solver = _iteration(self.solver, FixedPoint.mixed_later())
        joint = JointProblem(problem, self.tolerance, plain=solver.plain)
        last, steps, _ = run(joint, solver, samples)
        return certified(problem, samples, last.point, steps, last.residuals)


class Energy(AbstractControllerWithoutFeedback):
    """Control as minus the vector field, ψ = −f, while the state descends the energy.

        F = ½‖f‖² + ½‖u‖² + L/α,  φ̇ = ∂_φfᵀψ + ∂_φhᵀu = −∂F/∂φ

    (arXiv 2207.01332, equations 10 and 15.) The descent uses error coordinates and is monotone up
    to rounding. Each of its steps needs two solves if the system has no order. Then by default the
    samples that are not solved after a few steps go on with Newton's method, as in `Exact`, which
    descends the same energy; units with kinks inside f are an exception.

    **Arguments:**

    * `tolerance`: of the residuals.
    * `solver`: of the descent, which then does not go on with Newton's method; by default at most
      12 steps for a system without an order and without kinks inside f, and 200 for any other.
    """

    tolerance: Tolerance = Tolerance()
    solver: FixedPoint | None = None

    def equilibrium(
        self, problem: ControlProblem, samples: Sample, feedback: PyTree[Any] = None
    ) -> Solution[Point]:
        del feedback
        coordinates: AbstractErrorCoordinates
        goes_on = False
        if isinstance(problem.system, AbstractOrderedSystem):
            coordinates = OrderedCoordinates(problem.system)
        else:
            goes_on = self.solver is None and inner_kinks(problem.system) is None
            # Inner solves run to rounding. Their tolerance is relative to the state, but a sample
            # is certified relative to its control, which may be small.
            inner = Tolerance(TO_ROUNDING, 0.5 * self.tolerance.rounding)
            inner_solver = FixedPoint(max_steps=200)
            coordinates = SolvedCoordinates(problem.system, inner, inner_solver)
        iteration = EnergyProblem(problem, coordinates, self.tolerance)
        solver = self.solver or FixedPoint(ENERGY_STEPS if goes_on else 200)
        last, steps, _ = run(iteration, solver, samples)
        first = certify(problem, samples, last.point, steps, self.tolerance)
        return Exact(self.tolerance).finished(problem, samples, first) if goes_on else first


class Exact(AbstractControllerWithoutFeedback):
    """Control of least energy, by Newton's method in a trust region; the reference controller.

    It needs only derivatives of f, neither an order nor a contraction. The energy
    F = ½‖ψ‖² + ½‖u‖² + L/α never rises, however strong the control. It starts no higher than at the
    free equilibrium, where that is found: a rest point whose energy is above L/α of the free
    equilibrium meets the equations and is not the least control.

    **Arguments:**

    * `tolerance`: of the residuals.
    * `solver`: gives the maximal numbers of steps.
    """

    tolerance: Tolerance = Tolerance()
    solver: TrustRegion = TrustRegion()

    def equilibrium(
        self, problem: ControlProblem, samples: Sample, feedback: PyTree[Any] = None
    ) -> Solution[Point]:
        del feedback
        return self._from_lowest(problem, samples, None)

    def continued(
        self, problem: ControlProblem, samples: Sample, first: Solution[Point]
    ) -> Solution[Point]:
        """Computes the equilibria from what another controller reached, or from lower."""
        return self._from_lowest(problem, samples, first)

    def finished(
        self, problem: ControlProblem, samples: Sample, first: Solution[Point]
    ) -> Solution[Point]:
        """Solves the samples that another controller left unsolved, from what it reached."""

        def again(samples: Sample, first: Solution[Point]) -> Solution[Point]:
            second = self.continued(problem, samples, first)
            steps = first.stats.steps + second.stats.steps
            return eqx.tree_at(lambda solution: solution.stats.steps, second, steps)

        return for_the_rest(again, solved(first), samples, first)

    def _from_lowest(
        self, problem: ControlProblem, samples: Sample, first: Solution[Point] | None
    ) -> Solution[Point]:
        landscape: AbstractLandscape
        if isinstance(problem.system, AbstractOrderedSystem):
            landscape = ErrorLandscape(
                problem=problem, system=problem.system, tolerance=self.tolerance
            )
        else:
            landscape = StateLandscape(problem=problem, tolerance=self.tolerance)
        kinked = inner_kinks(problem.system)
        if kinked is not None and first is not None:
            # Shares belong to their point, which then is not exchanged for another one.
            points, shares = first.value, first.shares
        else:
            starts, shares = [jax.vmap(landscape.initial)(samples)], None
            if not isinstance(problem.system, AbstractOrderedSystem):
                solver = FixedPoint.mixed_later()
                free = free_equilibrium(problem.system, samples.drive, solver=solver).value
                starts.append(starts[0]._replace(state=free))
            if first is not None:
                starts.append(first.value)
            points = _lowest(landscape, samples, starts)
        if kinked is not None:
            last = minimum_on_kinks(
                problem, kinked, samples, self.tolerance, self.solver, points, shares
            )
            return certified(problem, samples, last.point, last.steps, last.residuals, last.shares)
        iteration = TrustRegionProblem(landscape, self.solver)
        start = jax.vmap(iteration.start_at)(points)
        last, steps, _ = run(iteration, self.solver.driver, samples, start)
        return certify(problem, samples, last.point, steps, self.tolerance)


def _lowest(landscape: AbstractLandscape, samples: Sample, points: Sequence[Point]) -> Point:
    """Chooses for each sample the point of the lowest energy; one that is NaN is not chosen."""
    first, *others = points
    if not others:
        return first
    together = jax.tree.map(lambda *leaves: jnp.stack(leaves), *points)

    def height(sample: Sample, point: Point) -> Float[Array, ""]:
        return landscape.height(sample, *landscape.start_from(point))[0]

    # All at once, so that the landscape is compiled once.
    heights = jax.vmap(jax.vmap(height), (None, 0))(samples, together)
    chosen = jnp.argmin(jnp.where(jnp.isnan(heights), jnp.inf, heights), axis=0)
    return jax.vmap(lambda number, point: jax.tree.map(lambda leaf: leaf[number], point), (0, 1))(
        chosen, together
    )


class Quick(AbstractControllerWithoutFeedback):
    """Dynamic inversion with few steps, which suffice for most samples of most batches.

    **Arguments:**

    * `tolerance`: of the residuals.
    * `solver`: of the dynamic inversion; by default at most 40 relaxed sweeps for an ordered
      system, 120 plain sweeps for a rectified one, 200 mixed steps for one with rectified units
      inside f, and for any other 80 joint steps, of which the later ones mix iterates. A `Budget`
      changes the number of steps alone.
    """

    tolerance: Tolerance = Tolerance()
    solver: FixedPoint | Budget | None = None

    def equilibrium(
        self, problem: ControlProblem, samples: Sample, feedback: PyTree[Any] = None
    ) -> Solution[Point]:
        del feedback
        if inner_kinks(problem.system) is not None:
            default = KINKED_JOINT
        elif isinstance(problem.system, AbstractRectifiedSystem) and problem.system.rectified:
            default = KINKED_SWEEPS
        elif isinstance(problem.system, AbstractOrderedSystem):
            default = FixedPoint(max_steps=40, relax=True)
        else:
            default = FixedPoint.mixed_later(80)
        solver = _iteration(self.solver, default)
        return DynamicInversion(self.tolerance, solver).equilibrium(problem, samples)


class Automatic(AbstractControllerWithoutFeedback):
    """Dynamic inversion, and Newton's method for the samples that it does not solve.

    `Quick` chooses the iteration by the structure of the system, and the samples that it leaves
    unsolved continue alone with the safeguard. `docs/how-to-choose-a-solver.md` compares the two.

    **Arguments:**

    * `tolerance`: of the residuals.
    * `solver`: of the dynamic inversion; by default that of `Quick`.
    * `safeguard`: solves the remaining samples; by default `Exact` with the same tolerance.
    """

    tolerance: Tolerance = Tolerance()
    solver: FixedPoint | Budget | None = None
    safeguard: Exact | None = None

    @property
    def quick(self) -> Quick:
        """The same controller without the safeguard."""
        return Quick(self.tolerance, self.solver)

    def equilibrium(
        self, problem: ControlProblem, samples: Sample, feedback: PyTree[Any] = None
    ) -> Solution[Point]:
        safeguard = Exact(self.tolerance) if self.safeguard is None else self.safeguard
        return safeguard.finished(
            problem, samples, self.quick.equilibrium(problem, samples, feedback)
        )
