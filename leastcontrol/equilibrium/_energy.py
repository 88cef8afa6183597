"""Gradient descent of the energy F = ½‖ψ‖² + ½‖u‖² + L/α in error coordinates.

The coordinates are the control ψ. The state is the rest point φ(ψ) with f(φ) + ψ = 0, and the
output control is the response u(h(φ)) (without output neurons, −∇L/α). Then F is a function of ψ
alone, with gradient

    ∂F/∂ψ = ψ − a,   a = (dh/dψ)ᵀ u   (so that ∂_φfᵀa + ∂_φhᵀu = 0),

and ψ = −f(φ) holds at every step, as in the energy-based control of arXiv 2207.01332 (equation 10).
The energy is far better conditioned in ψ than in φ.

Every step is checked against the energy, so the descent cannot diverge. `AbstractErrorCoordinates`
computes φ(ψ): in one pass for ordered systems, and for others by inner solves that start from the
previous ones.
"""

import abc
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..systems import AbstractOrderedSystem, AbstractSystem
from ._certificate import Point, Tolerance
from ._driver import AbstractProblem, FixedPoint, run
from ._free import Controlled, FreeProblem
from ._linear import AdjointSystem, Linearised
from ._problem import ControlProblem, Sample
from ._sweep import settle_and_read, sweep_residuals
from ._trees import dot, tree_scale, tree_subtract, tree_where

# Fraction of the predicted decrease that Armijo's condition requires.
SUFFICIENT_DECREASE = 1e-4
SHORTEST_STEP = 1e-4


class AbstractErrorCoordinates(eqx.Module):
    """Computes state, readout and pullback as functions of the control ψ."""

    @abc.abstractmethod
    def settle(
        self, sample: Sample, control: PyTree[Array], state: PyTree[Array]
    ) -> tuple[
        PyTree[Array],
        PyTree[Array],
        Float[Array, " outputs"],
        Callable[[Array, PyTree[Array]], PyTree[Array]],
    ]:
        """Computes φ(ψ), the control −f(φ), h(φ) and the pullback (u, guess) ↦ a.

        A search for φ(ψ) starts from `state`.
        """


class OrderedCoordinates(AbstractErrorCoordinates):
    """Exact coordinates of an ordered system, by one pass and one pullback."""

    system: AbstractOrderedSystem

    def settle(self, sample, control, state):
        del state
        read, pull, settled = settle_and_read(self.system, sample, control)
        return settled, control, read, lambda output_control, guess: pull(output_control)[0]


class SolvedCoordinates(AbstractErrorCoordinates):
    """Coordinates of any system, by one fixed-point solve for φ(ψ) and one for a."""

    system: AbstractSystem
    tolerance: Tolerance
    solver: FixedPoint

    def settle(self, sample, control, state):
        free = FreeProblem(self.system, self.tolerance)
        settled = self._solve(free, Controlled(sample.drive, control), free.start_from(state)).state

        def pull(output_control: Array, guess: PyTree[Array]) -> PyTree[Array]:
            adjoint = FreeProblem(AdjointSystem(system=self.system), self.tolerance)
            linearised = Controlled(Linearised(sample.drive, settled, output_control), None)
            return self._solve(adjoint, linearised, adjoint.start_from(guess)).state

        # With the control −f(φ) the energy is exact at φ, even if the solve for φ was not.
        actual_control = tree_scale(-1.0, self.system.vector_field(settled, sample.drive))
        return settled, actual_control, self.system.readout(settled), pull

    def _solve(self, problem: AbstractProblem, sample: PyTree[Any], start: PyTree[Array]):
        # The driver takes a batch: here a batch of one, inside the mapped batch of samples.
        one = lambda tree: jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], tree)  # noqa: E731
        solution, _, _ = run(problem, self.solver, one(sample), one(start))
        return jax.tree.map(lambda leaf: leaf[0], solution)


class _Descent(NamedTuple):
    """An iterate: the trial control, the last accepted one, and the gradient there.

    A trial is accepted or rejected when it is evaluated, one iteration after it was proposed, so
    that every iteration evaluates the system once.
    """

    trial: PyTree[Array]
    accepted: PyTree[Array]
    energy: Float[Array, "*batch"]
    gradient: PyTree[Array]
    step: Float[Array, "*batch"]
    point: Point


class EnergyProblem(AbstractProblem):
    """The controlled equilibrium as the minimum of the energy, by safeguarded gradient descent.

    The step size is Barzilai and Borwein's, at most 1; a unit step is exact where the output does
    not depend on the control. A trial that does not lower the energy enough is halved.
    """

    remeasured: ClassVar[bool] = True

    problem: ControlProblem
    coordinates: AbstractErrorCoordinates
    tolerance: Tolerance

    def initial(self, sample: Sample) -> _Descent:
        point = Point.first(self.problem.system, sample)
        control, dtype = point.control, point.output_control.dtype
        zero = jax.tree.map(jnp.zeros_like, control)
        infinite = jnp.full((), jnp.inf, dtype)
        return _Descent(control, control, infinite, zero, jnp.ones((), dtype), point)

    def iterate(self, sample: Sample, z: _Descent) -> tuple[_Descent, _Descent, Float[Array, ""]]:
        problem = self.problem
        state, actual_control, read, pull = self.coordinates.settle(sample, z.trial, z.point.state)
        output_control = problem.respond(
            sample, read, z.point.output_control, problem.own_gain, self.tolerance.rounding
        )
        control = pull(output_control, z.point.control)
        gradient = tree_subtract(actual_control, control)
        point = Point(state, control, output_control)
        error = sweep_residuals(problem, self.tolerance, sample, actual_control, point, read).error

        energy = problem.energy(sample, dot(actual_control, actual_control), read, output_control)
        promised = z.step * dot(z.gradient, z.gradient)
        rounding = 8 * jnp.finfo(energy.dtype).eps * jnp.abs(z.energy)
        # Energies that differ by rounding alone count as equal.
        better = energy <= z.energy - SUFFICIENT_DECREASE * promised + rounding
        better = better | (jnp.isinf(z.energy) & jnp.isfinite(energy))

        moved = tree_subtract(actual_control, z.accepted)
        turned = tree_subtract(gradient, z.gradient)
        curvature = dot(moved, turned)
        step = jnp.where(curvature > 0, dot(moved, moved) / curvature, 1.0)
        step = jnp.clip(step, SHORTEST_STEP, 1.0).astype(energy.dtype)
        onwards = z._replace(
            trial=tree_subtract(actual_control, tree_scale(step, gradient)),
            accepted=actual_control,
            energy=energy,
            gradient=gradient,
            step=step,
            point=point,
        )
        shorter = z.step / 2
        back = z._replace(
            trial=tree_subtract(z.accepted, tree_scale(shorter, z.gradient)), step=shorter
        )
        proposed = tree_where(better, onwards, back)
        return proposed, z._replace(point=point), error

    def mixed(self, z: _Descent) -> tuple[PyTree[Array], ...]:
        return (z.trial,)

    def with_mixed(self, z: _Descent, blocks: tuple[PyTree[Array], ...]) -> _Descent:
        return z._replace(trial=blocks[0])
