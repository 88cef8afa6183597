"""Newton's method for a system with rectified units inside f, by softened units.

The energy has kinks where units rest, which a Newton step does not see. With shares λ and widths w
every unit is smooth, and at the minimum of that smooth energy a unit has the slope

    λ′ = min(max(λ + z/w, 0), 1).

With λ′ in the place of λ the next minimum lies nearer to the kinks. At a fixed point, λ′ = λ, every
unit is exactly on its kink or sharp, whatever the widths are: no width has to go to zero. This is
the method of multipliers, one of whose rounds is a descent of `TrustRegionProblem`
(docs/derivations/kinks-inside-f.md).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PyTree

from ..systems import AbstractInnerKinks, OnKinks, Units, follow, preactivations
from ._certificate import Point, Residuals, Sizes, Tolerance, residuals_of
from ._driver import run
from ._kinked_joint import responses, widths_of
from ._landscape import AbstractLandscape, StateLandscape, View
from ._problem import ControlProblem, Sample
from ._trees import tree_scale, tree_where
from ._trust_region import TrustRegion, TrustRegionProblem

# Each round leaves about this share of the distances to the kinks.
STIFFNESS = 0.1
# The first widths, as a share of the size of the pre-activations of a layer.
FIRST_WIDTH = 0.1
MOST_ROUNDS = 12


class Softened(NamedTuple):
    """A sample, with the shares and widths of the units inside f."""

    sample: Sample
    shares: Units
    widths: Units


class SoftenedLandscape(AbstractLandscape):
    """The energy of a system whose units inside f are softened for each sample."""

    problem: ControlProblem
    system: AbstractInnerKinks
    tolerance: Tolerance

    def _softened(self, sample: Softened) -> StateLandscape:
        system = OnKinks(self.system, sample.shares, sample.widths)
        problem = ControlProblem(system, self.problem.loss, self.problem.leak)
        return StateLandscape(problem=problem, tolerance=self.tolerance)

    def initial(self, sample: Softened) -> Point:
        return Point.uncontrolled(self.system, sample.sample.drive)

    def look(self, sample: Softened, place: PyTree[Array], guess: Array) -> View:
        return self._softened(sample).look(sample.sample, place, guess)

    def height(self, sample: Softened, place: PyTree[Array], guess: Array) -> tuple[Array, Array]:
        return self._softened(sample).height(sample.sample, place, guess)

    def start_from(self, point: Point) -> tuple[PyTree[Array], Array]:
        return point.state, point.output_control


class Round(NamedTuple):
    """What the rounds have reached: points, units, residuals and step counts of a batch."""

    point: Point
    shares: Units
    widths: Units
    residuals: Residuals
    steps: Int[Array, " batch"]

    @property
    def unsolved(self) -> Bool[Array, " batch"]:
        """Whether a sample needs another round."""
        return ~(self.residuals.error <= 1)


def minimum_on_kinks(
    problem: ControlProblem,
    system: AbstractInnerKinks,
    samples: Sample,
    tolerance: Tolerance,
    solver: TrustRegion,
    start: Point,
    shares: Units | None = None,
) -> Round:
    """Computes the controlled equilibria of a batch, with units that rest on their kinks.

    **Arguments:**

    * `problem`, `system`, `samples`, `tolerance`: what is solved; the system is the problem's.
    * `solver`: of a round.
    * `start`: where each sample starts.
    * `shares`: of the units there; without them units start wide.
    """
    descent = TrustRegionProblem(SoftenedLandscape(problem, system, tolerance), solver)

    def measured(
        sample: Sample, point: Point, shares: Units, widths: Units | None
    ) -> tuple[Point, Units, Units, Residuals]:
        now = follow(system, point.state, sample.drive, shares, widths)
        point = point._replace(control=tree_scale(-1.0, now.field))
        change, signals = now.pull(point.control, point.output_control)
        sizes = Sizes.of(now.off_kinks, change, point.state, point.control)
        residuals = residuals_of(problem, sample, point.output_control, tolerance, sizes, now.read)
        widths = widths_of(signals, responses(system, point.state, sample.drive), STIFFNESS)
        return point, now.shares, widths, residuals

    def wide(sample: Sample, point: Point) -> tuple[Point, Units, Units]:
        layers = preactivations(system, point.state, sample.drive)
        sizes = [jnp.sqrt(jnp.mean(layer**2)) for layer in layers]
        widths = [
            jnp.full_like(layer, FIRST_WIDTH * size)
            for layer, size in zip(layers, sizes, strict=True)
        ]
        return point, tuple(jnp.full_like(layer, 0.5) for layer in layers), tuple(widths)

    def another(carry: tuple[Round, Int[Array, ""]]) -> tuple[Round, Int[Array, ""]]:
        last, number = carry
        softened = Softened(samples, last.shares, last.widths)
        first = jax.vmap(descent.start_at)(last.point)
        reached, steps, _ = run(descent, solver.driver, softened, first)
        point, shares, widths, residuals = jax.vmap(measured)(
            samples, reached.point, last.shares, last.widths
        )
        onwards = Round(point, shares, widths, residuals, last.steps + steps)
        return jax.vmap(tree_where)(last.unsolved, onwards, last), number + 1

    def unfinished(carry: tuple[Round, Int[Array, ""]]) -> Bool[Array, ""]:
        last, number = carry
        return jnp.any(last.unsolved) & (number < MOST_ROUNDS)

    if shares is None:
        point, shares, widths = jax.vmap(wide)(samples, start)
    else:
        first = jax.vmap(lambda sample, point, shares: measured(sample, point, shares, None))
        point, shares, widths, _ = first(samples, start, shares)
    steps = jnp.zeros(point.output_control.shape[0], jnp.int32)
    unknown = jax.vmap(lambda u: Residuals.unknown(u.dtype))(point.output_control)
    begun = Round(point, shares, widths, unknown, steps)
    return jax.lax.while_loop(unfinished, another, (begun, jnp.zeros((), jnp.int32)))[0]
