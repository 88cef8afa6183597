"""Newton's method on the optimality conditions of any system, matrix-free.

Reading the control off as ψ = −f(φ) and the output control as the response u(h(φ)) leaves one
equation in the state, the stationarity of the energy:

    −∂_φfᵀf + ∂_φhᵀu = 0.

Its Jacobian, with every second derivative of f, is applied but never formed. Optimistix runs
Newton's method, Lineax each of its linear solves by GMRES.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import optimistix as optx
from jaxtyping import Array, Int, PyTree

from ._certificate import Point
from ._problem import ControlProblem, Sample
from ._trees import tree_scale

# The loss's response takes a few Newton steps at a time; from zero, and under strong control, a
# saturated output needs several times as many.
RESPONSES = 8


class NewtonKrylov(eqx.Module):
    """Newton's method with GMRES, first to the free equilibrium and from there on.

    It converges quadratically and needs no contraction, but knows no merit function: under strong
    control a sample may end where it is not solved, and then says so.
    """

    max_steps: int = eqx.field(static=True, default=50)
    restart: int = eqx.field(static=True, default=60)

    def solve(self, problem: ControlProblem, samples: Sample) -> tuple[Point, Int[Array, " batch"]]:
        """Returns the point that was reached and the Newton steps for every sample."""
        return jax.vmap(lambda sample: self._solve_one(problem, sample))(samples)

    def _solve_one(self, problem: ControlProblem, sample: Sample) -> tuple[Point, Int[Array, ""]]:
        system = problem.system

        def respond(state: PyTree) -> Array:
            read = system.readout(state)
            guess = jnp.zeros_like(read)
            # A Newton step from the answer has the answer's derivative, whatever led there.
            for _ in range(RESPONSES):
                guess = problem.respond(sample, read, guess, problem.own_gain)
            guess = jax.lax.stop_gradient(guess)
            return problem.respond(sample, read, guess, problem.own_gain)

        def free(state: PyTree, _: None) -> PyTree:
            return system.vector_field(state, sample.drive)

        def stationarity(state: PyTree, _: None) -> PyTree:
            def field_and_readout(state: PyTree) -> tuple[PyTree, Array]:
                return system.vector_field(state, sample.drive), system.readout(state)

            (field, _read), pull = jax.vjp(field_and_readout, state)
            return pull((tree_scale(-1.0, field), respond(state)))[0]

        start = system.initial_state(sample.drive)
        settled = self._root(free, start)
        solution = self._root(stationarity, settled.value)
        state = solution.value
        control = tree_scale(-1.0, system.vector_field(state, sample.drive))
        steps = settled.stats["num_steps"] + solution.stats["num_steps"]
        return Point(state, control, respond(state)), jnp.asarray(steps, jnp.int32)

    def _root(self, function, start: PyTree) -> optx.Solution:
        # Close to the precision of the dtype: Newton's last step is free of cost, and the
        # certificate, not this tolerance, decides.
        accuracy = 50 * float(jnp.finfo(jax.tree.leaves(start)[0].dtype).eps)
        solver = optx.Newton(
            rtol=accuracy,
            atol=accuracy,
            linear_solver=lx.GMRES(
                rtol=accuracy, atol=accuracy, restart=self.restart, max_steps=20 * self.restart
            ),
        )
        return optx.root_find(
            function, solver, start, max_steps=self.max_steps, throw=False, has_aux=False
        )
