"""Dynamic inversion of a system with rectified units inside f, whose shares follow.

As in `JointProblem`, one evaluation of f, h and their pullback gives the changes of state and
control. A unit that control holds on its kink passes on a share λ of its signal g, so the shares
are unknowns beside them. A unit whose signal lowers it, g < 0, has

    λ ← min(max(λ + z/w, 0), 1),   w = −ρg,

which is at rest exactly where λ is admissible: λ = 1 and z ≥ 0, λ = 0 and z ≤ 0, or z = 0. This is
the method of multipliers for the multiplier λg of z ≤ 0, with the step 1/ρ. A unit whose signal
raises it is never held on its kink by a minimum, so it is sharp
(docs/derivations/kinks-inside-f.md).

The step is safe if ρ is above the response of z to its own multiplier. That is estimated for a
layer by the mean square of ∂_φz, which is measured once, times `STIFFNESS` for the way back through
f. Which ρ is chosen decides how quickly a solve ends, not where.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..systems import AbstractInnerKinks, Units, follow, preactivations
from ._certificate import Point, Residuals, Sizes, Tolerance, residuals_of
from ._driver import AbstractProblem
from ._joint import free_start
from ._problem import ControlProblem, Sample
from ._sweep import Gain
from ._trees import norm, tree_add

# Of 2, 8, 32 and 128, the only one with which no sample of a trained model was left unsolved.
STIFFNESS = 8.0


def responses(system: AbstractInnerKinks, state: PyTree[Array], drive: PyTree) -> Units:
    """Estimates the mean of ‖∂_φz‖² over each layer of units, from one random choice of signs."""
    leaves, structure = jax.tree.flatten(state)
    keys = jax.random.split(jax.random.key(0), len(leaves))
    signs = [
        jax.random.rademacher(key, leaf.shape, leaf.dtype)
        for key, leaf in zip(keys, leaves, strict=True)
    ]
    direction = jax.tree.unflatten(structure, signs)
    _, moved = jax.jvp(lambda at: preactivations(system, at, drive), (state,), (direction,))
    return tuple(jnp.mean(layer**2) for layer in moved)


def widths_of(signals: Units, estimates: Units, stiffness: float) -> Units:
    """Computes w = −ρg for each unit that its signal lowers, and 0 for the others."""
    return tuple(
        stiffness * estimate * jnp.maximum(-signal, 0)
        for signal, estimate in zip(signals, estimates, strict=True)
    )


class KinkedJoint(NamedTuple):
    """An iterate: a point, the estimated gain, the residuals at the point, and the units.

    * `shares`, `widths`: λ, and the widths w by which they follow.
    * `responses`: the estimate of ‖∂_φz‖² for each layer of units.
    """

    point: Point
    gain: Gain
    residuals: Residuals
    shares: Units
    widths: Units
    responses: Units


class KinkedJointProblem(AbstractProblem):
    """The controlled equilibrium of a system with kinks inside f, by a joint iteration.

        φ ← φ + f(φ) + ψ,   ψ ← ψ + ∂_φfᵀψ + ∂_φhᵀu,   λ ← min(max(λ + z/w, 0), 1)

    The distances of the pre-activations from where the shares are admissible count as a part of
    f + ψ, so that each iteration certifies its point with sharp units.

    **Arguments:**

    * `problem`, `tolerance`: what is solved, and the tolerance of the residuals.
    * `system`: that of the problem.
    """

    problem: ControlProblem
    system: AbstractInnerKinks
    tolerance: Tolerance

    def initial(self, sample: Sample) -> KinkedJoint:
        point = free_start(self.system, sample)
        gain = Gain.initial(self.problem, point.output_control)
        estimates = responses(self.system, point.state, sample.drive)
        layers = preactivations(self.system, point.state, sample.drive)
        # Without widths the first shares are those of sharp units.
        nothing = tuple(map(jnp.zeros_like, layers))
        unknown = Residuals.unknown(point.output_control.dtype)
        return KinkedJoint(point, gain, unknown, nothing, nothing, estimates)

    def iterate(
        self, sample: Sample, z: KinkedJoint
    ) -> tuple[KinkedJoint, KinkedJoint, Float[Array, ""]]:
        state, control, guess = z.point
        problem = self.problem
        now = follow(self.system, state, sample.drive, z.shares, z.widths)
        gain = z.gain.updated(problem, now.read, guess, problem.own_gain)
        # One Newton step suffices, because every step of the loop refines the response.
        output_control = problem.respond(
            sample, now.read, guess, gain.value, self.tolerance.rounding, iterations=1
        )
        control_change, signals = now.pull(control, output_control)
        state_change = tree_add(now.field, control)
        sizes = Sizes(
            norm((state_change, now.off_kinks)), norm(control_change), norm(state), norm(control)
        )
        residuals = residuals_of(
            problem, sample, output_control, self.tolerance, sizes, now.read, True
        )
        widths = widths_of(signals, z.responses, STIFFNESS)
        measured = KinkedJoint(
            Point(state, control, output_control), gain, residuals, now.shares, widths, z.responses
        )
        moved = Point(
            tree_add(state, state_change), tree_add(control, control_change), output_control
        )
        return measured._replace(point=moved), measured, residuals.error

    def mixed(self, z: KinkedJoint) -> tuple[PyTree[Array], ...]:
        return (z.point.state, z.point.control, z.shares)

    def with_mixed(self, z: KinkedJoint, blocks: tuple[PyTree[Array], ...]) -> KinkedJoint:
        state, control, shares = blocks
        point = z.point._replace(state=state, control=control)
        # A mixture of shares may be outside of their range.
        return z._replace(point=point, shares=tuple(jnp.clip(share, 0, 1) for share in shares))
