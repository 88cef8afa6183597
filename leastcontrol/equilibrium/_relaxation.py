"""Relaxation of a fixed-point iteration, which shortens steps that oscillate.

If T reverses a component of the residual r = T(z) − z, the plain iteration oscillates, but the
shorter step z + ωr does not. The factor ω is the first of Barzilai and Borwein (IMA J. Numer. Anal.
1988). The last step ωr₋ reduced the residual by r₋ − r, so a linear residual would vanish at

    ω₊ = ω ⟨r₋, r₋⟩ / ⟨r₋, r₋ − r⟩.

The factor is at most 1. A larger one would fit a slowly converging component of z, and make the
others oscillate.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ._trees import dot, tree_subtract

# Lower bound, so that one uninformative step does not stop the iteration.
SMALLEST_SHARE = 0.1


class Relaxation(NamedTuple):
    """The last factor ω and residual r₋ of a sample."""

    share: Float[Array, "*batch"]
    residual: PyTree[Array]

    @staticmethod
    def initial(blocks: PyTree[Array], dtype: Any) -> "Relaxation":
        """Makes the relaxation of a sample before its first relaxed step, which has ω = 1."""
        return Relaxation(jnp.ones((), dtype), jax.tree.map(jnp.zeros_like, blocks))


def relax(
    relaxation: Relaxation, before: PyTree[Array], after: PyTree[Array]
) -> tuple[PyTree[Array], Relaxation]:
    """Computes z + ωr from z and T(z), and the relaxation for the next step."""
    residual = tree_subtract(after, before)
    square = dot(relaxation.residual, relaxation.residual)
    fallen = square - dot(relaxation.residual, residual)
    secant = relaxation.share * square / jnp.where(fallen > 0, fallen, 1)
    share = jnp.where(fallen > 0, jnp.clip(secant, SMALLEST_SHARE, 1.0), 1.0)
    share = share.astype(relaxation.share.dtype)
    moved = jax.tree.map(lambda old, change: old + share * change, before, residual)
    return moved, Relaxation(share, residual)
