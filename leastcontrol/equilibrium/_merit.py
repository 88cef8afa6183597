"""A minimum of any function of one sample's state, by trust-region Newton steps.

Where the conditions of a rest point say that the gradient of one function is zero, that function is
a landscape of its own, and its gradient the residual that decides.
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
    """A function M of the state alone; a sample is the state where its descent starts.

    **Arguments:**

    * `merit`: M.
    * `error_of`: (state, ∇M) ↦ the error as a multiple of what is allowed; solved up to 1.
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
    """Returns the state that a descent of M reached, and the Newton steps that it took.

    **Arguments:**

    * `merit`, `error_of`: of `MeritLandscape`.
    * `start`: the first state.
    * `solver`: how many steps it may take.
    """
    problem = TrustRegionProblem(MeritLandscape(merit, error_of), solver)
    # The driver takes a batch: this is a batch of one, inside whatever maps it.
    last, steps, _ = run(problem, solver.driver, jax.tree.map(lambda leaf: leaf[None], start))
    return jax.tree.map(lambda leaf: leaf[0], last.place), steps[0]
