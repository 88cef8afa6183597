"""Policies for samples whose equilibrium was not found."""

import abc

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..equilibrium import Solution, solved


class AbstractUnsolved(eqx.Module):
    """Weighs each sample in a batch's gradient by how its solve ended."""

    @abc.abstractmethod
    def weights(self, solution: Solution) -> Float[Array, " batch"]:
        """Computes one weight for each sample; the gradient is the mean with these weights."""


class Drop(AbstractUnsolved):
    """Leaves unsolved samples out: the mean is over the others."""

    def weights(self, solution: Solution) -> Float[Array, " batch"]:
        return solved(solution).astype(solution.stats.error.dtype)


class Keep(AbstractUnsolved):
    """Counts unsolved samples like the others, at the point that was reached.

    The least-control paper's code does so. A sample that is not finite is still dropped.
    """

    def weights(self, solution: Solution) -> Float[Array, " batch"]:
        error = solution.stats.error
        return jnp.isfinite(error).astype(error.dtype)


class Chosen(AbstractUnsolved):
    """Counts samples by given weights, whether or not they are solved.

    **Arguments:** `given`, the weight of each sample.
    """

    given: Float[Array, " batch"]

    def weights(self, solution: Solution) -> Float[Array, " batch"]:
        del solution
        return self.given


class RaiseError(AbstractUnsolved):
    """Stops the computation with an error if a sample is unsolved."""

    def weights(self, solution: Solution) -> Float[Array, " batch"]:
        weights = jnp.ones_like(solution.stats.error)
        return eqx.error_if(
            weights,
            ~solved(solution),
            "A sample's equilibrium was not found, or its target is not one that its loss is "
            "defined for. Look at the sample's result, or use the policy Drop(), another solver, "
            "or a larger leak.",
        )
