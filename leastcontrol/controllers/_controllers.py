"""The three controllers that are exact: they differ in their road, not in where it ends."""

from typing import Any

from jaxtyping import PyTree

from ..equilibrium import (
    AbstractErrorCoordinates,
    ControlProblem,
    EnergyProblem,
    FixedPoint,
    JointProblem,
    KinkedSweepProblem,
    NewtonKrylov,
    OrderedCoordinates,
    Point,
    Sample,
    Solution,
    SolvedCoordinates,
    SweepProblem,
    Tolerance,
    certify,
    run,
)
from ..systems import AbstractOrderedSystem, AbstractRectifiedSystem
from ._controller import AbstractController

TO_ROUNDING = 1e-30


class DynamicInversion(AbstractController):
    """The control has dynamics that invert the system's: ψ̇ = ∂_φfᵀψ + ∂_φhᵀu.

    (arXiv 2207.01332, equations 8 and 14.) An ordered system is iterated by sweeps, state forward
    and control backward, a rectified one so that units may rest on their kinks; any other by the
    joint iteration of state and control.

    **Arguments:**

    * `tolerance`: of the residuals.
    * `solver`: how the iteration is run; by default 60 plain sweeps for an ordered system, and 200
      plain steps for any other.
    """

    tolerance: Tolerance = Tolerance()
    solver: FixedPoint | None = None

    def equilibrium(
        self, problem: ControlProblem, samples: Sample, feedback: PyTree[Any] = None
    ) -> Solution[Point]:
        del feedback
        system = problem.system
        if isinstance(system, AbstractRectifiedSystem) and system.rectified:
            # Measured where the sweep began, one sweep before the certificate.
            tighter = Tolerance(0.5 * self.tolerance.relative, self.tolerance.rounding)
            iteration = KinkedSweepProblem(problem, system, tighter)
            solver = FixedPoint(max_steps=60)
        elif isinstance(system, AbstractOrderedSystem):
            iteration = SweepProblem(problem, system, self.tolerance)
            solver = FixedPoint(max_steps=60)
        else:
            iteration = JointProblem(problem, self.tolerance)
            solver = FixedPoint(max_steps=200)
        (point, *_), steps, _ = run(iteration, self.solver or solver, samples)
        return certify(problem, samples, point, steps, self.tolerance)


class Energy(AbstractController):
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


class Exact(AbstractController):
    """The optimality conditions themselves, solved by Newton's method: the oracle.

    It asks nothing of f but its derivatives, neither an order nor a contraction.

    **Arguments:**

    * `tolerance`: of the residuals.
    * `solver`: the Newton iteration.
    """

    tolerance: Tolerance = Tolerance()
    solver: NewtonKrylov = NewtonKrylov()

    def equilibrium(
        self, problem: ControlProblem, samples: Sample, feedback: PyTree[Any] = None
    ) -> Solution[Point]:
        del feedback
        point, steps = self.solver.solve(problem, samples)
        return certify(problem, samples, point, steps, self.tolerance)
