"""Correlation of neural noise with the output control, which estimates sensitivities.

The controlled system is simulated from its rest point with Ornstein–Uhlenbeck noise ε on the state.
The output control opposes the effect of the noise on the output, so their correlation contains the
sensitivity of the output to each element of the state (arXiv 2207.01332, section S4). The products
are accumulated during the simulation; no trajectory is kept.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ._certificate import Point
from ._control_path import LinearPath
from ._problem import ControlProblem, Sample


@dataclasses.dataclass(frozen=True)
class NoiseRun:
    """The constants of a noisy simulation, with times in units of the output controller's.

    The defaults are those of arXiv 2207.01332, section S4, which requires τ ≪ τ_ε ≪ τ_u.

    **Arguments:**

    * `steps`: number of steps.
    * `samples`: number of samples of a batch to simulate, the first ones; all by default. The cost
      of feedback learning is proportional to it.
    * `time_step`: Δt, at most every time constant.
    * `time_constant`: τ, of the state.
    * `noise_time_constant`: τ_ε, of the noise.
    * `output_time_constant`: τ_u, of the output controller.
    * `deviation`: s, the factor of ε, whose variance is about 1/(2τ_ε).
    * `decay`: γ_Q, the decay in the gradient of the feedback weights.

    **Raises:** `ValueError` for a value out of range, and for a simulation shorter than the time
    constant of the noise.
    """

    steps: int = 800
    samples: int | None = None
    time_step: float = 0.04
    time_constant: float = 0.04
    noise_time_constant: float = 0.2
    output_time_constant: float = 1.0
    deviation: float = 0.01
    decay: float = 0.01

    def __post_init__(self):
        for name in (
            "time_step",
            "time_constant",
            "noise_time_constant",
            "output_time_constant",
            "deviation",
        ):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(
                    f"`{name}` is {getattr(self, name)}, but it is above 0 and finite: write "
                    f"{name}={getattr(NoiseRun, name)}."
                )
        for name in ("time_constant", "noise_time_constant", "output_time_constant"):
            if self.time_step > getattr(self, name):
                raise ValueError(
                    f"`time_step` is {self.time_step}, but a step longer than a time constant does "
                    f"not follow it, and `{name}` is {getattr(self, name)}: write "
                    f"time_step={getattr(self, name)} or less."
                )
        if not 0 <= self.decay < math.inf:
            raise ValueError(
                f"`decay` is {self.decay}, but it is at least 0 and finite: write decay=0.01."
            )
        if self.samples is not None and self.samples < 1:
            raise ValueError(
                f"`samples` is {self.samples}, but at least 1 sample is simulated, or all of them "
                "with None: write samples=8."
            )
        fewest = math.ceil(self.noise_time_constant / self.time_step)
        if self.steps < fewest:
            raise ValueError(
                f"`steps` is {self.steps}, but within fewer than {fewest} the noise has hardly "
                f"changed: write steps={20 * fewest}."
            )

    def check_leak(self, leak: float | Float[Array, ""]) -> None:
        """Raises `ValueError` if the time step is too long for the output controller."""
        if isinstance(leak, int | float) and leak * self.time_step > self.output_time_constant:
            fastest = self.output_time_constant / leak
            raise ValueError(
                f"The output controller's time constant is τ_u/α = {fastest:g} with a leak of "
                f"{leak:g}, but `time_step` is {self.time_step}: write "
                f"output_time_constant={leak * self.time_step:g} or more."
            )


def noise_correlation(
    problem: ControlProblem,
    path: LinearPath,
    samples: Sample,
    points: Point,
    weights: Float[Array, " batch"],
    noise: NoiseRun,
    *,
    key: PRNGKeyArray,
) -> PyTree[Float[Array, "... outputs"]]:
    """Estimates Σ_b w_b ⟨(Q(u − u⋆) + sε)(u − u⋆)ᵀ⟩ / s² as a time average of a simulation.

        ε ← ε + (Δt/τ_ε)(−ε + ξ/√Δt),      φ ← φ + (Δt/τ)(f + Qu + sε),
        u ← u + (Δt/τ_u)(−∇_yL − αu)

    The simulation starts from the rest point (φ⋆, Qu⋆, u⋆) and ε = 0; ξ has unit variance.

    Both factors are changes since rest. Equation 139 has Qu + sε on the left instead. The constant
    Qu⋆, which is omitted here, changes the mean only by the drift of u, of second order in s, but
    multiplies the variance of the estimate by the squared ratio of Qu⋆ and sε.
    """
    system = problem.system

    def per_sample(
        sample: Sample, state: PyTree[Array], u: Array
    ) -> tuple[PyTree[Array], Array, PyTree[Array]]:
        """Computes f, u̇ and Qu."""
        output = system.readout(state) + problem.own_gain * u
        slope = problem.loss.gradient(output, sample.target)
        carried = path.carry(sample, Point(state, state, u))
        return (
            system.vector_field(state, sample.drive),
            -slope - problem.leak_of(sample) * u,
            carried,
        )

    one = jax.tree.map(lambda leaf: leaf[0], points.state)
    flat, unravel = ravel_pytree(one)
    step, root = noise.time_step, math.sqrt(noise.time_step)

    def advance(carry: Any, key: Array) -> tuple[Any, None]:
        epsilon, state, u, total = carry
        drawn = jax.random.normal(key, (weights.size, flat.size), flat.dtype)
        drawn = jax.vmap(unravel)(drawn)
        field, derivative, carried = jax.vmap(per_sample)(samples, state, u)
        control = jax.tree.map(lambda c, e: c + noise.deviation * e, carried, epsilon)
        moved = jax.tree.map(jnp.subtract, control, points.control)
        change = weights[:, None] * (u - points.output_control)
        total = jax.tree.map(
            lambda sum_, leaf: sum_ + jnp.tensordot(leaf, change, axes=(0, 0)), total, moved
        )
        epsilon = jax.tree.map(
            lambda e, d: e + step / noise.noise_time_constant * (d / root - e), epsilon, drawn
        )
        state = jax.tree.map(
            lambda s, f, c: s + step / noise.time_constant * (f + c), state, field, control
        )
        u = u + step / noise.output_time_constant * derivative
        return (epsilon, state, u, total), None

    still = jax.tree.map(jnp.zeros_like, points.state)
    nothing = jax.tree.map(jnp.zeros_like, path.weights)
    start = (still, points.state, points.output_control, nothing)
    (_, _, _, total), _ = jax.lax.scan(advance, start, jax.random.split(key, noise.steps))
    return jax.tree.map(lambda leaf: leaf / (noise.steps * noise.deviation**2), total)
