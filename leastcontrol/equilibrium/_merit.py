"""Minimisation of a function of one sample's state, by trust-region Newton steps.

If an equilibrium is a stationary point of a function, that function is the landscape and its
gradient is the residual.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from ._driver import run
from ._landscape import AbstractLandscape, View
from ._trees import norm
from ._trust_region import TrustRegion, TrustRegionProblem

State = PyTree[Float[Array, "..."]]


class MeritLandscape(AbstractLandscape):
    """A function M of the state alone; the sample is the state where the descent starts.

    **Arguments:**

    * `merit`: M.
    * `error_of`: maps (state, ∇M) to the error as a multiple of its allowed value.
    """

    merit: Callable[[State], Float[Array, ""]]
    error_of: Callable[[State, State], Float[Array, ""]]

    def initial(self, sample: State) -> State:
        return sample

    def look(self, sample: State, place: State, guess: Float[Array, ""]) -> View:
        del sample
        energy = self.merit(place)
        gradient, bend = jax.linearize(jax.grad(self.merit), place)
        rounding = 8 * jnp.finfo(energy.dtype).eps * (jnp.abs(energy) + norm(gradient))
        return View(
            energy,
            rounding,
            gradient,
            lambda direction: (bend(direction), jnp.zeros_like(guess)),
            place,
            guess,
            self.error_of(place, gradient),
        )

    def height(
        self, sample: State, place: State, guess: Float[Array, ""]
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        del sample
        return self.merit(place), guess

    def start_from(self, point: State) -> tuple[State, Float[Array, ""]]:
        return point, jnp.zeros(())


def minimum(
    merit: Callable[[State], Float[Array, ""]],
    start: State,
    error_of: Callable[[State, State], Float[Array, ""]],
    solver: TrustRegion,
) -> tuple[State, Int[Array, ""]]:
    """Minimises M from a start; returns the last state and the number of Newton steps.

    **Arguments:**

    * `merit`, `error_of`: as for `MeritLandscape`.
    * `start`: the first state.
    * `solver`: the maximal numbers of steps.
    """
    problem = TrustRegionProblem(MeritLandscape(merit, error_of), solver)
    # The driver takes a batch: here a batch of one, which callers may map.
    last, steps, _ = run(problem, solver.driver, jax.tree.map(lambda leaf: leaf[None], start))
    return jax.tree.map(lambda leaf: leaf[0], last.place), steps[0]
