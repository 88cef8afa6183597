"""The column-space condition of theorem 2 on direct feedback from the output to the state."""

import jax
import jax.numpy as jnp
import lineax as lx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from ..systems import AbstractSystem


def column_space_condition(
    system: AbstractSystem,
    drives: PyTree[Array],
    states: PyTree[Float[Array, "batch ..."]],
    weights: PyTree[Float[Array, "... outputs"]],
) -> Float[Array, " batch"]:
    """Computes the fraction of Q in the row space of each sample's J = −∂_φh (∂_φf)⁻¹.

        ‖PQ‖_F / ‖Q‖_F,   P = Jᵀ(JJᵀ)⁻¹J

    J is the derivative of the readout with respect to a constant control, at the given state. The
    fraction is 1 if the columns of Q lie in the row space of J, which is the condition of theorem 2
    (arXiv 2207.01332; condition 2 of 2204.07249). It is about √(m/n) for a random Q with m outputs
    and n state elements.

    **Arguments:**

    * `system`: the system; GMRES computes the rows of its J.
    * `drives`, `states`: `jax.vmap(system.drive)(x)` and the rest points, with a batch axis.
    * `weights`: Q, a pytree like the state of one sample, each array with a last axis for the
      output.
    """
    columns = jnp.concatenate(
        [leaf.reshape(-1, leaf.shape[-1]) for leaf in jax.tree.leaves(weights)]
    )
    resolution = jnp.finfo(columns.dtype).eps

    def of_one(drive: PyTree[Array], state: PyTree[Array]) -> Float[Array, ""]:
        flat, unravel = ravel_pytree(state)

        def field_and_readout(flat: Array) -> tuple[Array, Array]:
            state = unravel(flat)
            return ravel_pytree(system.vector_field(state, drive))[0], system.readout(state)

        (_, read), pull = jax.vjp(field_and_readout, flat)
        operator = lx.FunctionLinearOperator(
            lambda control: pull((control, jnp.zeros_like(read)))[0],
            jax.ShapeDtypeStruct(flat.shape, flat.dtype),
        )
        accuracy = 50 * float(resolution)
        solver = lx.GMRES(rtol=accuracy, atol=accuracy, restart=min(flat.size, 100))

        def row(unit: Array) -> Array:
            right = -pull((jnp.zeros_like(flat), unit))[0]
            return lx.linear_solve(operator, right, solver, throw=False).value

        rows = jax.vmap(row)(jnp.eye(read.size, dtype=read.dtype))
        left, sizes, _ = jnp.linalg.svd(rows.T, full_matrices=False)
        # Directions without an effect on the output are not part of the row space.
        basis = jnp.where(sizes > sizes[0] * flat.size * resolution, left, 0)
        return jnp.linalg.norm(basis.T @ columns) / jnp.linalg.norm(columns)

    return jax.vmap(of_one)(drives, states)
