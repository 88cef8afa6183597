"""Dynamic inversion in continuous time, for those who want the dynamics."""

import math
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from ..equilibrium import (
    ControlProblem,
    Point,
    Sample,
    Solution,
    Tolerance,
    certify,
    measured,
)
from ._controller import AbstractControllerWithoutFeedback

if TYPE_CHECKING:
    import diffrax


class ContinuousTime(AbstractControllerWithoutFeedback):
    """State and control follow their differential equations until both rest.

        φ̇ = f(φ) + ψ,   ψ̇ = ∂_φfᵀψ + ∂_φhᵀu

    (arXiv 2207.01332, equation 8), with an output control that is at rest at any time, αu + ∇L = 0.
    The unit step of `DynamicInversion` is Euler's method for them with a step of one; where that
    oscillates around a rest point that is stable, a smaller step settles. It is dearer.

    **Arguments:**

    * `tolerance`: of the residuals, which are measured after every step and end a sample's run.
    * `method`: a solver of Diffrax, Heun's by default. Its steps are equal: one that adapts them to
      the error of the trajectory keeps moving about the rest point at the size of that error.
    * `step`: in units of the state's time constant, short enough for the fastest part of f.
    * `max_steps`: steps after which a sample counts as unsolved.

    **Raises:** `ValueError` for a step that is not above 0 and finite, or less than one of them.
    """

    tolerance: Tolerance = Tolerance()
    method: "diffrax.AbstractSolver | None" = None
    step: float = eqx.field(static=True, default=0.25)
    max_steps: int = eqx.field(static=True, default=1000)

    def __check_init__(self):
        if not 0 < self.step < math.inf or self.max_steps < 1:
            raise ValueError(
                f"The dynamics were given step={self.step} and max_steps={self.max_steps}, but a "
                "step is above 0 and finite, and at least one is taken: write "
                "ContinuousTime(step=0.25, max_steps=1000)."
            )

    def equilibrium(
        self, problem: ControlProblem, samples: Sample, feedback: PyTree[Any] = None
    ) -> Solution[Point]:
        # Imported here because it takes long, and few need it.
        import diffrax

        del feedback
        system = problem.system
        method = diffrax.Heun() if self.method is None else self.method

        def answered(sample: Sample, read: Array) -> Array:
            return problem.answer(sample, read, self.tolerance.rounding, jnp.zeros_like(read))

        def point_of(moving: tuple[PyTree, PyTree], sample: Sample) -> Point:
            state, control = moving
            return Point(state, control, answered(sample, system.readout(state)))

        def velocity(_: Any, moving: tuple[PyTree, PyTree], sample: Sample) -> PyTree:
            state, control = moving
            field, read, pull = system.pullback(state, sample.drive)
            driven = jax.tree.map(jnp.add, field, control)
            return driven, pull(control, answered(sample, read))

        def at_rest(t: Any, y: PyTree, args: Sample, **_: Any) -> Array:
            return measured(problem, args, point_of(y, args), self.tolerance).error <= 1

        def settle(sample: Sample) -> tuple[Point, Array]:
            start = Point.uncontrolled(system, sample.drive)
            path = diffrax.diffeqsolve(
                diffrax.ODETerm(velocity),
                method,
                t0=0.0,
                t1=math.inf,
                dt0=self.step,
                y0=(start.state, start.control),
                args=sample,
                event=diffrax.Event(at_rest),
                max_steps=self.max_steps,
                throw=False,
            )
            last = jax.tree.map(lambda leaf: leaf[-1], path.ys)
            return point_of(last, sample), path.stats["num_steps"]

        points, steps = jax.vmap(settle)(samples)
        return certify(problem, samples, points, steps, self.tolerance)
