"""Relaxation of a fixed-point iteration: how far of the way to T(z) a sample goes.

Where T turns a part of its residual r = T(z) − z around at full size, the plain iteration swings to
and fro and the shorter step z + ωr does not. The share ω is Barzilai and Borwein's first (IMA J.
Numer. Anal. 1988): along the last step ωr₋ the residual fell by r₋ − r, and a linear one would
vanish after

    ω₊ = ω ⟨r₋, r₋⟩ / ⟨r₋, r₋ − r⟩

of it. It is never more than one: where the plain iteration creeps without a swing, ω₊ is the step
of one part of z, and the others would begin to swing.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ._trees import dot, tree_subtract

# So that one step that says little does not end the iteration's progress.
SMALLEST_SHARE = 0.1


class Relaxation(NamedTuple):
    """The last share ω and residual r₋ of a sample."""

    share: Float[Array, "*batch"]
    residual: PyTree[Array]

    @staticmethod
    def initial(blocks: PyTree[Array], dtype: Any) -> "Relaxation":
        """Returns that of a sample before its first relaxed step, which goes all the way."""
        return Relaxation(jnp.ones((), dtype), jax.tree.map(jnp.zeros_like, blocks))


def relax(
    relaxation: Relaxation, before: PyTree[Array], after: PyTree[Array]
) -> tuple[PyTree[Array], Relaxation]:
    """Returns z + ωr for an iterate z and its image T(z), and what the next step has to know."""
    residual = tree_subtract(after, before)
    square = dot(relaxation.residual, relaxation.residual)
    fallen = square - dot(relaxation.residual, residual)
    secant = relaxation.share * square / jnp.where(fallen > 0, fallen, 1)
    share = jnp.where(fallen > 0, jnp.clip(secant, SMALLEST_SHARE, 1.0), 1.0)
    share = share.astype(relaxation.share.dtype)
    moved = jax.tree.map(lambda own, change: own + share * change, before, residual)
    return moved, Relaxation(share, residual)
