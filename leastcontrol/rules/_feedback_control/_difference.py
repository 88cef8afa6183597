"""What an update reads of its postsynaptic neuron."""

import abc

import equinox as eqx
from jaxtyping import Array, Float

from ...systems import Activation, activation_difference


class AbstractDifference(eqx.Module):
    """The postsynaptic factor of an update."""

    @abc.abstractmethod
    def __call__(
        self, activation: Activation, basal: Float[Array, "*shape"], change: Float[Array, "*shape"]
    ) -> Float[Array, "*shape"]:
        """Computes D from the basal voltage v_ff and the change v − v_ff."""


class RateDifference(AbstractDifference):
    """D = σ(v) − σ(v_ff) (arXiv 2106.07887, equation 8)."""

    def __call__(
        self, activation: Activation, basal: Float[Array, "*shape"], change: Float[Array, "*shape"]
    ) -> Float[Array, "*shape"]:
        return activation_difference(activation, basal, change)


class VoltageDifference(AbstractDifference):
    """D = v − v_ff."""

    def __call__(
        self, activation: Activation, basal: Float[Array, "*shape"], change: Float[Array, "*shape"]
    ) -> Float[Array, "*shape"]:
        del activation, basal
        return change
