"""Newton's method down a landscape, safeguarded by a trust region.

Each iteration looks at the energy's quadratic model where it stands and minimises it by conjugate
gradients within a radius (Steihaug, SIAM J. Numer. Anal. 1983): a direction of negative curvature,
or a step out of the radius, is followed to the edge. The step is taken if the energy falls as the
model says, and the radius grows or shrinks with how well the two agree. The energy never rises,
whatever the strength of the control, and near the equilibrium the method is Newton's.

The linear solver is written here because none of Lineax's stops at a radius or at negative
curvature, which is what makes the method globally convergent.
"""

from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from ._driver import MARGIN, AbstractProblem, FixedPoint
from ._landscape import AbstractLandscape
from ._trees import dot, norm, tree_add, tree_scale, tree_subtract, tree_where

# A step is taken if the energy falls by this share of what the model promises.
ACCEPTED = 1e-4
# Below the first agreement of energy and model the radius shrinks, above the second it may grow.
POOR, GOOD = 0.25, 0.75
SHRINK, GROW = 0.25, 2.0
# The linear solve is inexact: this share of the gradient may be left at most.
LOOSEST = 0.1


class TrustRegion(eqx.Module):
    """How far a descent may go: in Newton steps, and in linear steps inside one of them."""

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
        """How the driver runs the Newton steps."""
        return FixedPoint(max_steps=self.max_steps)


class Descent(NamedTuple):
    """An iterate: a place on the landscape and how far the model is trusted there.

    The radius is infinite until the first step, which is Cauchy's: as far as the gradient and the
    curvature along it say.
    """

    place: PyTree[Array]
    output_control: Float[Array, "..."]
    radius: Float[Array, "*batch"]
    point: Any


class TrustRegionProblem(AbstractProblem):
    """The least energy of one sample, by trust-region Newton steps.

    **Arguments:**

    * `landscape`: the energy and its coordinates.
    * `solver`: the linear steps in one iteration, at most.
    """

    remeasured: ClassVar[bool] = True

    landscape: AbstractLandscape
    solver: TrustRegion = TrustRegion()

    def initial(self, sample: Any) -> Descent:
        return self._first(self.landscape.initial(sample))

    def start_from(self, sample: Any, point: Any) -> Descent:
        """Returns the first iterate at a point that another solver has left, if that is lower."""
        points = (point, self.landscape.initial(sample))
        both = jax.tree.map(lambda *own: jnp.stack(own), *points)

        def height(point: Any) -> Float[Array, ""]:
            return self.landscape.height(sample, *self.landscape.start_from(point))[0]

        # Of both at once, for the compiler's sake.
        of_other, of_first = jax.vmap(height)(both)
        return self._first(tree_where(of_other < of_first, *points))

    def _first(self, point: Any) -> Descent:
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
        # The residual is −g − Hp, so that the model's −g·p − ½p·Hp is ½p·(r − g).
        promised = 0.5 * dot(model.step, tree_subtract(model.residual, view.gradient))
        expected = view.output_control + model.turn
        energy, output_control = self.landscape.height(sample, place, expected)
        # Two energies that agree up to their rounding say nothing against a step.
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
    # What the step adds to the output control.
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
    """Returns a step within the radius down the model.

    The gradient left is at most the share √(‖g‖/size) of the gradient, for superlinear convergence.
    All is done in units of the gradient's largest element: the squares of small gradients are below
    the smallest number.
    """
    largest = jnp.max(jnp.stack([jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(gradient)]))
    unit = jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1)
    gradient = tree_scale(1 / unit, gradient)
    radius, size = radius / unit, size / unit
    slope = norm(gradient)
    share = jnp.sqrt(slope / jnp.maximum(size, slope))
    enough = jnp.minimum(LOOSEST, share) * slope

    def advance(own: _Conjugate) -> _Conjugate:
        bent, turning = curvature(own.direction)
        along = dot(own.direction, bent)
        length = own.square / jnp.where(along > 0, along, 1)
        inner = tree_add(own.step, tree_scale(length, own.direction))
        reached = norm(inner)
        cauchy = jnp.where(along > 0, reached, slope)
        radius = jnp.where(jnp.isinf(own.radius), cauchy, own.radius)
        outside = (along <= 0) | (reached >= radius)
        # The positive root τ of ‖step + τ direction‖ = radius.
        squared, half = dot(own.direction, own.direction), dot(own.step, own.direction)
        room = jnp.maximum(radius**2 - dot(own.step, own.step), 0)
        to_edge = (jnp.sqrt(half**2 + squared * room) - half) / squared
        length = jnp.where(outside, to_edge, length)
        step = tree_add(own.step, tree_scale(length, own.direction))
        residual = tree_subtract(own.residual, tree_scale(length, bent))
        square = dot(residual, residual)
        direction = tree_add(residual, tree_scale(square / own.square, own.direction))
        active = ~outside & (jnp.sqrt(square) > enough) & (own.steps + 1 < linear_steps)
        turn = own.turn + length * turning
        return _Conjugate(
            step, turn, residual, direction, square, radius, outside, own.steps + 1, active
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
    last = jax.lax.while_loop(lambda own: own.active, advance, first)
    step, turn, residual = tree_scale(unit, (last.step, last.turn, last.residual))
    return last._replace(step=step, turn=turn, residual=residual, radius=unit * last.radius)
