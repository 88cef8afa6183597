"""The free equilibrium of a sample, and the gain of its output along the slope of its loss.

The gain K = (∂y/∂ψ)(∂y/∂ψ)ᵀ + γI of the output says how far a control u moves it: y changes by Ku
if ψ is the least control for u. Along one direction e it costs a single pullback,

    eᵀKe / eᵀe = γ + ‖(∂y/∂ψ)ᵀe‖² / ‖e‖²,

and averaged over random directions it is tr(K)/m. Here e is the slope ∇_yL of the loss, the
direction in which control begins. For a system with an order this is one pass forward and one
backward, the first sweep of a solve; for any other it is the free equilibrium and its adjoint, to a
tolerance that suffices for a scale.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..systems import AbstractOrderedSystem
from ._certificate import Point, Tolerance
from ._driver import FixedPoint
from ._free import Controlled
from ._free_equilibrium import approach
from ._linear import AdjointSystem, Linearised
from ._problem import ControlProblem, Sample
from ._sweep import settle_and_read
from ._trees import dot, tree_scale

# The gain and the free loss of a system without an order are only scales.
_APPROXIMATE = Tolerance(1e-3)
_STEPS = 100


class FreeGain(NamedTuple):
    """What is known of samples before their control, with a leading batch axis.

    * `point`: the free state, with the slope e = ∇_yL for u and its pullback for ψ.
    * `read`: the readout h.
    * `loss`: L at the free equilibrium.
    * `gain`: γ + ‖(∂y/∂ψ)ᵀe‖² / ‖e‖², or γ where e is zero.
    """

    point: Point
    read: Float[Array, "*batch outputs"]
    loss: Float[Array, "*batch"]
    gain: Float[Array, "*batch"]

    def start(self, problem: ControlProblem, samples: Sample) -> Point:
        """Makes points near the controlled equilibria of samples that have their leaks.

        Control is taken along the slope, as much of it as the loss asks for at the gain. An
        iteration that starts there has its first sweep behind it.
        """

        def of_one(sample: Sample, free: FreeGain) -> Point:
            slope = free.point.output_control
            answer = problem.respond(
                sample, free.read, jnp.zeros_like(slope), free.gain, Tolerance().rounding
            )
            square = dot(slope, slope)
            share = dot(slope, answer) / jnp.where(square > 0, square, 1)
            control = tree_scale(share, free.point.control)
            return Point(free.point.state, control, share * slope)

        return jax.vmap(of_one)(samples, self)


def free_gain(problem: ControlProblem, samples: Sample) -> FreeGain:
    """Measures the free losses of samples and the gains along their slopes."""
    system = problem.system

    def gain_of(pulled: PyTree[Array], slope: Array) -> Float[Array, ""]:
        square = dot(slope, slope)
        share = dot(pulled, pulled) / jnp.where(square > 0, square, 1)
        return problem.own_gain + jnp.where(square > 0, share, 0)

    if isinstance(system, AbstractOrderedSystem):

        def of_one(sample: Sample) -> FreeGain:
            nothing = jax.tree.map(jnp.zeros_like, system.initial_state(sample.drive))
            read, pull, state = settle_and_read(system, sample, nothing)
            slope = problem.loss.gradient(read, sample.target)
            (pulled,) = pull(slope)
            loss, gain = problem.loss(read, sample.target), gain_of(pulled, slope)
            return FreeGain(Point(state, pulled, slope), read, loss, gain)

        return jax.vmap(of_one)(samples)
    solver = FixedPoint(_STEPS)
    free = Controlled(samples.drive, None)
    states = approach(system, free, solver=solver, tolerance=_APPROXIMATE).states
    reads = jax.vmap(system.readout)(states)
    slopes = jax.vmap(problem.loss.gradient)(reads, samples.target)
    points = Controlled(Linearised(samples.drive, states, slopes), None)
    adjoints = approach(
        AdjointSystem(system=system), points, solver=solver, tolerance=_APPROXIMATE
    ).states
    losses = jax.vmap(problem.loss)(reads, samples.target)
    gains = jax.vmap(gain_of)(adjoints, slopes)
    return FreeGain(Point(states, adjoints, slopes), reads, losses, gains)
