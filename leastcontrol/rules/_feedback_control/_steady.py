"""Phases that go to the equilibrium without simulating the way there."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ...controllers import (
    AbstractFeedbackPath,
    AbstractTeaching,
    FeedbackEquilibrium,
    FeedbackSample,
    JacobianFeedback,
    feedback_equilibrium,
    linearised_control,
)
from ...equilibrium import AbstractSum, FixedPoint, Moment, Tolerance
from .._policy import AbstractUnsolved, Drop
from .._rule import Counted
from ._difference import AbstractDifference
from ._phase import AbstractPhase, PhaseResult, certified, row_norms, updates_at_rest
from ._task import Controlled, Layers, Task


class AnalyticSteadyState(AbstractPhase):
    """Computes the update at the equilibrium of the linearised network ("ssa").

    It solves (JQ + αI)u = e at the free output, then makes one pass with Δv = Qu through the
    nonlinear network (arXiv 2106.07887, equation 5). It does not take into account how e changes
    with the output, so it is meant for nudging.

    **Arguments:** `leak`, α ≥ 0.

    **Raises:** `ValueError` if the leak is below zero.
    """

    leak: float = eqx.field(static=True)

    def __check_init__(self):
        _check_leak(self.leak)

    @property
    def output_leak(self) -> float:
        return self.leak

    @property
    def simulated(self) -> None:
        return None

    @property
    def dynamics_of_noise(self) -> None:
        return None

    @property
    def at_rest(self) -> bool:
        return True

    def check(self, path: AbstractFeedbackPath, teaching: AbstractTeaching) -> None:
        """Accepts every feedback path and teaching."""

    def run(
        self,
        task: Task,
        difference: AbstractDifference,
        sums: tuple[AbstractSum, ...],
        draws: Any,
    ) -> PhaseResult:
        del draws
        assert not sums
        free = task.free.soma
        weights = None if isinstance(task.path, JacobianFeedback) else task.weights
        errors = task.errors(free[-1])
        control, change = jax.vmap(
            lambda v, e: linearised_control(task.network, weights, self.leak, v, e)
        )(free, errors)
        moment = _settled(task, control, change)
        updates = updates_at_rest(task, difference, change, moment.rates, task.usable)
        last_errors = task.errors(moment.soma[-1])
        residual = row_norms(last_errors - self.leak * control)
        # The linearised equation holds; how far it is from the nonlinear one is the residual.
        error = jnp.where(jnp.isfinite(row_norms(control)), 0.0, jnp.nan).astype(residual.dtype)
        solution = certified(
            task,
            Controlled(moment, errors, last_errors),
            jnp.ones(len(error), jnp.int32),
            residual,
            error,
        )
        return PhaseResult(updates, task.usable, solution, (), None)


class SteadyState(AbstractPhase):
    """Solves for the equilibrium that the noise-free dynamics end at, and updates there.

    It is the equilibrium of every simulation with the same leak, whatever its other constants are,
    in a few passes where a simulation takes hundreds. It is certified by ‖e − αu‖.

    **Arguments:**

    * `leak`: α > 0.
    * `tolerance`: of ‖e − αu‖, relative to the error without control.
    * `solver`: of the iteration on u.
    * `unsolved`: the policy for samples whose equilibrium was not found.

    **Raises:** `ValueError` if the leak is not above zero, or if the feedback path has no weights
    of its own.
    """

    leak: float = eqx.field(static=True)
    tolerance: Tolerance = Tolerance()
    solver: FixedPoint = FixedPoint(max_steps=40)
    unsolved: AbstractUnsolved = Drop()

    def __check_init__(self):
        _check_leak(self.leak)
        if self.leak == 0:
            raise ValueError(
                "`leak` is 0.0, but the rest point is solved for with a leak above 0: write "
                "SteadyState(1e-3)."
            )

    @property
    def output_leak(self) -> float:
        return self.leak

    @property
    def simulated(self) -> None:
        return None

    @property
    def dynamics_of_noise(self) -> None:
        return None

    @property
    def at_rest(self) -> bool:
        return True

    def check(self, path: AbstractFeedbackPath, teaching: AbstractTeaching) -> None:
        """Raises `ValueError` if the feedback path has no weights of its own."""
        del teaching
        if not path.learns:
            raise ValueError(
                f"{type(path).__name__} has no feedback weights to solve the rest point with. With "
                "the Jacobian it is the least-control state: write "
                "LeastControl(DynamicInversion(), leak)."
            )

    def problem(self, task: Task) -> tuple[FeedbackEquilibrium, FeedbackSample]:
        """Builds the problem whose solution is the equilibrium, and its samples."""
        problem = FeedbackEquilibrium(
            task.network, task.weights, task.teaching, task.loss, self.leak, self.tolerance
        )
        return problem, FeedbackSample(task.free.soma, task.references)

    def run(
        self,
        task: Task,
        difference: AbstractDifference,
        sums: tuple[AbstractSum, ...],
        draws: Any,
    ) -> PhaseResult:
        del draws
        assert not sums
        problem, samples = self.problem(task)
        rest = feedback_equilibrium(problem, self.solver, samples)
        control, changes = rest.point
        apical = tuple(control @ weight.T for weight in task.weights)
        soma = tuple(v + change for v, change in zip(task.free.soma, changes, strict=True))
        rates = tuple(task.network.activation(v) for v in soma[:-1])
        basal = tuple(v - part for v, part in zip(soma, apical, strict=True))
        moment = Moment(soma, basal, apical, rates, control)
        last_errors = jax.vmap(problem.output_error)(samples, changes[-1])
        value = Controlled(moment, task.errors(task.free.soma[-1]), last_errors)
        solution = certified(task, value, rest.steps, rest.residual, rest.error)
        weights = self.unsolved.weights(solution)
        apical, rates = Counted.of(weights).safe((apical, rates))
        updates = updates_at_rest(task, difference, apical, rates, weights)
        return PhaseResult(updates, weights, solution, (), rest)


def _settled(task: Task, control: Float[Array, "batch _"], change: Layers) -> Moment:
    """Settles the network with each layer at its basal voltage plus a given change."""
    hidden = jax.vmap(task.network.settle)(task.drives, change[:-1])
    rates = tuple(task.network.activation(v) for v in hidden)
    output = jax.vmap(task.network.readout)(hidden) + change[-1]
    soma = (*hidden, output)
    basal = tuple(v - part for v, part in zip(soma, change, strict=True))
    return Moment(soma, basal, change, rates, control)


def _check_leak(leak: float) -> None:
    if not 0 <= leak < float("inf"):
        raise ValueError(f"`leak` is {leak}, but a leak is finite and at least 0: write leak=0.01.")
