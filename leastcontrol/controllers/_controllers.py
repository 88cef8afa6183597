"""The controllers that are exact: they differ in their road, not in where it ends."""

from typing import Any

import equinox as eqx
import jax
from jaxtyping import PyTree

from ..equilibrium import (
    AbstractErrorCoordinates,
    AbstractLandscape,
    ControlProblem,
    EnergyProblem,
    ErrorLandscape,
    FixedPoint,
    JointProblem,
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
    run,
    solved,
)
from ..systems import AbstractOrderedSystem, AbstractRectifiedSystem
from ._controller import AbstractControllerWithoutFeedback

TO_ROUNDING = 1e-30


def _of_kinks(max_steps: int) -> FixedPoint:
    """Returns how the sweeps of a rectified system are run: most samples end after a few."""
    return FixedPoint(max_steps, first_share=2, groups=16)


class DynamicInversion(AbstractControllerWithoutFeedback):
    """The control has dynamics that invert the system's: ψ̇ = ∂_φfᵀψ + ∂_φhᵀu.

    (arXiv 2207.01332, equations 8 and 14.) An ordered system is iterated by sweeps, state forward
    and control backward, a rectified one so that units may rest on their kinks; any other by the
    joint iteration of state and control.

    **Arguments:**

    * `tolerance`: of the residuals.
    * `solver`: how the iteration is run; by default 60 relaxed sweeps for an ordered system, 60
      plain ones for a rectified one, and 200 plain steps for any other.
    """

    tolerance: Tolerance = Tolerance()
    solver: FixedPoint | None = None

    def equilibrium(
        self, problem: ControlProblem, samples: Sample, feedback: PyTree[Any] = None
    ) -> Solution[Point]:
        del feedback
        system = problem.system
        if isinstance(system, AbstractRectifiedSystem) and system.rectified:
            kinked = KinkedSweepProblem(problem, system, self.tolerance)
            last, steps, _ = run(kinked, self.solver or _of_kinks(max_steps=60), samples)
            return certified(last.point, steps, last.residuals)
        if isinstance(system, AbstractOrderedSystem):
            sweeps = SweepProblem(problem, system, self.tolerance)
            last, steps, _ = run(sweeps, self.solver or FixedPoint(60, relax=True), samples)
            return certified(last.point, steps, last.residuals)
        joint = JointProblem(problem, self.tolerance)
        last, steps, _ = run(joint, self.solver or FixedPoint(max_steps=200), samples)
        return certified(last.point, steps, last.residuals)


class Energy(AbstractControllerWithoutFeedback):
    """The control is read off, ψ = −f, while the state descends the energy.

        F = ½‖f‖² + ½‖u‖² + L/α,  φ̇ = ∂_φfᵀψ + ∂_φhᵀu = −∂F/∂φ

    (arXiv 2207.01332, equations 10 and 15.) The descent is taken in error coordinates, and is
    monotone up to rounding.

    **Arguments:**

    * `tolerance`: of the residuals.
    * `solver`: how the descent is run.
    """

    tolerance: Tolerance = Tolerance()
    solver: FixedPoint = FixedPoint(max_steps=200)

    def equilibrium(
        self, problem: ControlProblem, samples: Sample, feedback: PyTree[Any] = None
    ) -> Solution[Point]:
        del feedback
        coordinates: AbstractErrorCoordinates
        if isinstance(problem.system, AbstractOrderedSystem):
            coordinates = OrderedCoordinates(problem.system)
        else:
            # To rounding: a sample that needs little control is judged relative to that control,
            # and not to its state as an inner solve is.
            inner = Tolerance(TO_ROUNDING, 0.5 * self.tolerance.rounding)
            inner_solver = FixedPoint(max_steps=200)
            coordinates = SolvedCoordinates(problem.system, inner, inner_solver)
        iteration = EnergyProblem(problem, coordinates, self.tolerance)
        last, steps, _ = run(iteration, self.solver, samples)
        return certify(problem, samples, last.point, steps, self.tolerance)


class Exact(AbstractControllerWithoutFeedback):
    """The least energy itself, by Newton's method inside a trust region: the oracle.

    It asks nothing of f but its derivatives, neither an order nor a contraction, and it is
    safeguarded: the energy never rises, whatever the strength of the control.

    **Arguments:**

    * `tolerance`: of the residuals.
    * `solver`: how many steps a sample may take.
    """

    tolerance: Tolerance = Tolerance()
    solver: TrustRegion = TrustRegion()

    def equilibrium(
        self, problem: ControlProblem, samples: Sample, feedback: PyTree[Any] = None
    ) -> Solution[Point]:
        del feedback
        return self._run(self._iteration(problem), problem, samples, None)

    def continued(self, problem: ControlProblem, samples: Sample, points: Point) -> Solution[Point]:
        """Returns the equilibria of samples that another controller has left at some points."""
        iteration = self._iteration(problem)
        start = jax.vmap(iteration.start_from)(samples, points)
        return self._run(iteration, problem, samples, start)

    def _iteration(self, problem: ControlProblem) -> TrustRegionProblem:
        landscape: AbstractLandscape
        if isinstance(problem.system, AbstractOrderedSystem):
            landscape = ErrorLandscape(
                problem=problem, system=problem.system, tolerance=self.tolerance
            )
        else:
            landscape = StateLandscape(problem=problem, tolerance=self.tolerance)
        return TrustRegionProblem(landscape, self.solver)

    def _run(
        self, iteration: TrustRegionProblem, problem: ControlProblem, samples: Sample, start: Any
    ) -> Solution[Point]:
        last, steps, _ = run(iteration, self.solver.driver, samples, start)
        return certify(problem, samples, last.point, steps, self.tolerance)


class Quick(AbstractControllerWithoutFeedback):
    """Dynamic inversion as long as it is quick, which most samples of most batches need no more of.

    **Arguments:**

    * `tolerance`: of the residuals.
    * `solver`: of the dynamic inversion; by default 40 relaxed sweeps for an ordered system, 24
      plain ones for a rectified one, and for any other 80 joint steps, as long as a sample's error
      falls fast enough to end in them.
    """

    tolerance: Tolerance = Tolerance()
    solver: FixedPoint | None = None

    def equilibrium(
        self, problem: ControlProblem, samples: Sample, feedback: PyTree[Any] = None
    ) -> Solution[Point]:
        del feedback
        if self.solver is not None:
            solver = self.solver
        elif isinstance(problem.system, AbstractRectifiedSystem) and problem.system.rectified:
            # A flip of units may raise the error for a step, which is no reason to give up.
            solver = _of_kinks(max_steps=24)
        elif isinstance(problem.system, AbstractOrderedSystem):
            solver = FixedPoint(max_steps=40, relax=True)
        else:
            solver = FixedPoint(max_steps=80, give_up=True)
        return DynamicInversion(self.tolerance, solver).equilibrium(problem, samples)


class Automatic(AbstractControllerWithoutFeedback):
    """Dynamic inversion where it is quick, and Newton's method for the samples where it is not.

    The choice is made by structure and strength: `Quick` by what the system is, and the samples
    that it leaves go on, by themselves, with the safeguarded solver. How the two compare is
    measured in `docs/how-to-choose-a-solver.md`.

    **Arguments:**

    * `tolerance`: of the residuals.
    * `solver`: of the dynamic inversion; the default is that of `Quick`.
    * `safeguard`: finds what is left; by default `Exact` with the same tolerance.
    """

    tolerance: Tolerance = Tolerance()
    solver: FixedPoint | None = None
    safeguard: Exact | None = None

    @property
    def quick(self) -> Quick:
        """The same without the safeguard."""
        return Quick(self.tolerance, self.solver)

    def equilibrium(
        self, problem: ControlProblem, samples: Sample, feedback: PyTree[Any] = None
    ) -> Solution[Point]:
        safeguard = Exact(self.tolerance) if self.safeguard is None else self.safeguard
        first = self.quick.equilibrium(problem, samples, feedback)

        def again(samples: Sample, first: Solution[Point]) -> Solution[Point]:
            second = safeguard.continued(problem, samples, first.value)
            steps = first.stats.steps + second.stats.steps
            return eqx.tree_at(lambda solution: solution.stats.steps, second, steps)

        return for_the_rest(again, solved(first), samples, first)
