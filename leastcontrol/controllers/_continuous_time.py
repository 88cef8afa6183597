"""Dynamic inversion in continuous time."""

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
    """Integrates the differential equations of state and control until both are at rest.

        φ̇ = f(φ) + ψ,   ψ̇ = ∂_φfᵀψ + ∂_φhᵀu

    (arXiv 2207.01332, equation 8), with an output control that is always at rest, αu + ∇L = 0.
    `DynamicInversion` takes Euler steps of length one for these equations. Where these oscillate
    around a stable equilibrium, smaller steps converge, at a higher cost.

    **Arguments:**

    * `tolerance`: of the residuals, which are measured after every step; a sample ends within it.
    * `method`: a Diffrax solver, by default Heun's method. Steps have a fixed length, because
      adaptive steps would fluctuate around the equilibrium by the error tolerance of the path.
    * `step`: in units of the time constant of the state; must resolve the fastest part of f.
    * `max_steps`: steps after which a sample is unsolved.

    **Raises:** `ValueError` for a step that is not positive and finite, or `max_steps` below 1.
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
        # Imported here because the import is slow and seldom needed.
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
