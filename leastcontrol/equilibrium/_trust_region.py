"""Newton's method on an energy landscape, safeguarded by a trust region.

Each iteration minimises a quadratic model of the energy by conjugate gradients within a radius
(Steihaug, SIAM J. Numer. Anal. 1983). A direction of negative curvature, or a step that leaves the
radius, is followed to the edge. The step is accepted if the energy falls roughly as predicted, and
the radius grows or shrinks with the agreement. The energy never rises, however strong the control,
and near the equilibrium the method is Newton's.

The linear solver is written here because those of Lineax do not stop at a radius or at negative
curvature, which global convergence needs.
"""

from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from ._driver import MARGIN, AbstractProblem, FixedPoint
from ._landscape import AbstractLandscape
from ._trees import dot, norm, tree_add, tree_scale, tree_subtract, tree_where

# Smallest ratio of actual to predicted decrease at which a step is accepted.
ACCEPTED = 1e-4
# The radius shrinks below the first ratio and may grow above the second.
POOR, GOOD = 0.25, 0.75
SHRINK, GROW = 0.25, 2.0
# Largest fraction of the gradient that the inexact linear solve may leave.
LOOSEST = 0.1


class TrustRegion(eqx.Module):
    """The maximal numbers of Newton steps and of linear steps in each of them."""

    max_steps: int = eqx.field(static=True, default=100)
    linear_steps: int = eqx.field(static=True, default=100)

    def __check_init__(self):
        if self.max_steps < 1 or self.linear_steps < 1:
            raise ValueError(
                f"The trust region was given max_steps={self.max_steps} and linear_steps="
                f"{self.linear_steps}, but both are at least 1: write TrustRegion(max_steps=100)."
            )

    @property
    def driver(self) -> FixedPoint:
        """The fixed-point solver that runs the Newton steps."""
        return FixedPoint(max_steps=self.max_steps)


class Descent(NamedTuple):
    """An iterate: a place on the landscape and the radius of the trust region.

    The radius is infinite until the first step, which sets it to the length of the Cauchy step.
    """

    place: PyTree[Array]
    output_control: Float[Array, "..."]
    radius: Float[Array, "*batch"]
    point: Any


class TrustRegionProblem(AbstractProblem):
    """The minimum of the energy of one sample, by trust-region Newton steps.

    **Arguments:**

    * `landscape`: the energy and its coordinates.
    * `solver`: gives the maximal number of linear steps in an iteration.
    """

    remeasured: ClassVar[bool] = True

    landscape: AbstractLandscape
    solver: TrustRegion = TrustRegion()

    def initial(self, sample: Any) -> Descent:
        return self.start_at(self.landscape.initial(sample))

    def start_at(self, point: Any) -> Descent:
        """Makes the first iterate from the given point."""
        place, output_control = self.landscape.start_from(point)
        unknown = jnp.full((), jnp.inf, jax.tree.leaves(place)[0].dtype)
        return Descent(place, output_control, unknown, point)

    def iterate(self, sample: Any, z: Descent) -> tuple[Descent, Descent, Float[Array, ""]]:
        view = self.landscape.look(sample, z.place, z.output_control)
        model = _model_step(
            view.curvature,
            view.gradient,
            view.output_control,
            z.radius,
            norm(z.place),
            view.error > MARGIN,
            self.solver.linear_steps,
        )
        place = tree_add(z.place, model.step)
        # The residual is r = −g − Hp, so the predicted decrease −g·p − ½p·Hp is ½p·(r − g).
        promised = 0.5 * dot(model.step, tree_subtract(model.residual, view.gradient))
        expected = view.output_control + model.turn
        energy, output_control = self.landscape.height(sample, place, expected)
        # Energies that differ by rounding alone do not count against a step.
        agreement = (view.energy - energy + view.rounding) / (promised + view.rounding)
        accepted = agreement > ACCEPTED
        length = norm(model.step)
        radius = jnp.where(
            agreement >= POOR,
            jnp.where((agreement > GOOD) & model.at_edge, GROW * model.radius, model.radius),
            SHRINK * jnp.minimum(length, model.radius),
        )
        measured = Descent(z.place, view.output_control, z.radius, view.point)
        onwards = Descent(place, output_control, radius, view.point)
        back = measured._replace(radius=radius)
        return tree_where(accepted, onwards, back), measured, view.error

    def mixed(self, z: Descent) -> tuple[PyTree[Array], ...]:
        return (z.place,)

    def with_mixed(self, z: Descent, blocks: tuple[PyTree[Array], ...]) -> Descent:
        return z._replace(place=blocks[0])


class _Conjugate(NamedTuple):
    step: PyTree[Array]
    # The change of the output control under the step.
    turn: Float[Array, "..."]
    residual: PyTree[Array]
    direction: PyTree[Array]
    square: Float[Array, ""]
    radius: Float[Array, ""]
    at_edge: Bool[Array, ""]
    steps: Int[Array, ""]
    active: Bool[Array, ""]


def _model_step(
    curvature: Any,
    gradient: PyTree[Array],
    output_control: Float[Array, "..."],
    radius: Float[Array, ""],
    size: Float[Array, ""],
    wanted: Bool[Array, ""],
    linear_steps: int,
) -> _Conjugate:
    """Minimises the quadratic model within the radius by conjugate gradients.

    The linear residual is at most √(‖g‖/size) times the gradient, for superlinear convergence. The
    computation is in units of the largest gradient element, because the squares of small gradients
    underflow.
    """
    largest = jnp.max(jnp.stack([jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(gradient)]))
    unit = jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1)
    gradient = tree_scale(1 / unit, gradient)
    radius, size = radius / unit, size / unit
    slope = norm(gradient)
    share = jnp.sqrt(slope / jnp.maximum(size, slope))
    enough = jnp.minimum(LOOSEST, share) * slope

    def advance(last: _Conjugate) -> _Conjugate:
        bent, turning = curvature(last.direction)
        along = dot(last.direction, bent)
        length = last.square / jnp.where(along > 0, along, 1)
        inner = tree_add(last.step, tree_scale(length, last.direction))
        reached = norm(inner)
        cauchy = jnp.where(along > 0, reached, slope)
        radius = jnp.where(jnp.isinf(last.radius), cauchy, last.radius)
        outside = (along <= 0) | (reached >= radius)
        # The positive root τ of ‖step + τ direction‖ = radius.
        squared, half = dot(last.direction, last.direction), dot(last.step, last.direction)
        room = jnp.maximum(radius**2 - dot(last.step, last.step), 0)
        to_edge = (jnp.sqrt(half**2 + squared * room) - half) / squared
        length = jnp.where(outside, to_edge, length)
        step = tree_add(last.step, tree_scale(length, last.direction))
        residual = tree_subtract(last.residual, tree_scale(length, bent))
        square = dot(residual, residual)
        direction = tree_add(residual, tree_scale(square / last.square, last.direction))
        active = ~outside & (jnp.sqrt(square) > enough) & (last.steps + 1 < linear_steps)
        turn = last.turn + length * turning
        return _Conjugate(
            step, turn, residual, direction, square, radius, outside, last.steps + 1, active
        )

    down = tree_scale(-1.0, gradient)
    first = _Conjugate(
        tree_scale(0.0, gradient),
        jnp.zeros_like(output_control),
        down,
        down,
        slope**2,
        radius,
        jnp.asarray(False),
        jnp.asarray(0),
        wanted & (slope > 0),
    )
    last = jax.lax.while_loop(lambda iterate: iterate.active, advance, first)
    step, turn, residual = tree_scale(unit, (last.step, last.turn, last.residual))
    return last._replace(step=step, turn=turn, residual=residual, radius=unit * last.radius)
