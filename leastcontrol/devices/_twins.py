"""Models of a device, for those who have one: where feedback starts, and what backs a training.

A twin is asked for derivatives at states that the device measured, never for a state of its own, so
that it need not settle. No rule needs one but `PhysicsAwareRule`.
"""

import abc
import dataclasses
from typing import final

import numpy as np
from jaxtyping import Float

from ._device import Description, DeviceError, Weights
from ._responses import Responses
from ._rule import Bench
from ._updates import finite, outer_products, room_to_move


class AbstractTwin(abc.ABC):
    """A model of a device, which may be wrong."""

    @abc.abstractmethod
    def lines(
        self,
        weights: Weights,
        state: Float[np.ndarray, "batch neurons"],
        cotangent: Float[np.ndarray, "batch neurons"],
    ) -> Float[np.ndarray, "batch neurons"]:
        """Computes (∂r/∂ψ)ᵀ c at measured states r, for the control lines ψ.

        **Arguments:** `weights`, as they were written; `state`, r; `cotangent`, c.
        """

    @abc.abstractmethod
    def gradient(
        self,
        weights: Weights,
        inputs: Float[np.ndarray, "batch inputs"],
        state: Float[np.ndarray, "batch neurons"],
        cotangent: Float[np.ndarray, "batch neurons"],
    ) -> Weights:
        """Computes (∂r/∂w)ᵀ c at measured states r, for the weights of every connection.

        It is the mean over the batch. **Arguments:** as for `lines`, and the `inputs`.
        """


@dataclasses.dataclass(frozen=True)
class Peculiarities:
    """What a model knows about single parts of a device.

    **Arguments:**

    * `factors`: of the weights of each connection; those that are missing are 1.
    * `gains`: of the control lines.
    * `slopes`: of the neurons.
    """

    factors: Weights
    gains: Float[np.ndarray, " neurons"]
    slopes: Float[np.ndarray, " neurons"]

    @staticmethod
    def none(description: Description) -> "Peculiarities":
        """Makes those of a device that is as its description says."""
        ones = np.ones(description.neurons)
        return Peculiarities({}, ones, ones)


@final
class NetworkTwin(AbstractTwin):
    """The network that a description stands for.

    Connections go forwards; a neuron that saturates answers by a hyperbolic tangent between the
    ends of its range, another one is linear.

    **Arguments:** `description`, of the device; `peculiarities`, that are known of it.

    **Raises:** `DeviceError` for a device with connections that do not go forwards.
    """

    def __init__(self, description: Description, peculiarities: Peculiarities | None = None):
        order = [population.name for population in description.populations]
        for each in description.connections:
            before = order.index(each.before) if each.before in order else -1
            if before >= order.index(each.after):
                raise DeviceError(
                    f"The connection {each.name!r} does not go forwards, but a twin of the kind "
                    "NetworkTwin is a network of layers: give a model of your own."
                )
        self._description = description
        self._known = peculiarities or Peculiarities.none(description)

    def lines(
        self,
        weights: Weights,
        state: Float[np.ndarray, "batch neurons"],
        cotangent: Float[np.ndarray, "batch neurons"],
    ) -> Float[np.ndarray, "batch neurons"]:
        return self._known.gains * self._behind(weights, state, cotangent)

    def gradient(
        self,
        weights: Weights,
        inputs: Float[np.ndarray, "batch inputs"],
        state: Float[np.ndarray, "batch neurons"],
        cotangent: Float[np.ndarray, "batch neurons"],
    ) -> Weights:
        behind = self._behind(weights, state, cotangent)
        products = outer_products(self._description, inputs, state, behind)
        return {name: self._factor(name) * product for name, product in products.items()}

    def _behind(
        self, weights: Weights, state: np.ndarray, cotangent: np.ndarray
    ) -> Float[np.ndarray, "batch neurons"]:
        """Computes the cotangents of the voltages, from the last population to the first."""
        description, known = self._description, self._known
        behind = np.array(cotangent, np.float64)
        slopes = known.slopes * room_to_move(description, finite(state))
        for population in reversed(description.populations):
            part = description.part(population.name)
            behind[:, part] *= slopes[:, part]
            for each in description.connections:
                if each.after == population.name and each.before in _names(description):
                    effective = self._factor(each.name) * weights[each.name]
                    behind[:, description.part(each.before)] += behind[:, part] @ effective
        return behind

    def _factor(self, name: str) -> np.ndarray | float:
        return self._known.factors.get(name, 1.0)


def twin_responses(
    twin: AbstractTwin,
    bench: Bench,
    weights: Weights,
    inputs: Float[np.ndarray, "batch inputs"],
    believed: float,
) -> Responses:
    """Computes the mean responses of a twin at states that the device measures, in one settle.

    **Arguments:** `believed`, the deviation of a response, relative to the root mean square of the
    responses.
    """
    description = bench.description
    state = bench.settle_free(inputs).state
    neurons = mean_response(twin, description, weights, state)
    mean = np.concatenate([neurons, neurons[description.neurons - description.outputs :]])
    unknown = Responses.unknown(description.neurons, description.outputs)
    square = believed**2 * float(np.mean(mean[-description.outputs :] ** 2))
    return dataclasses.replace(unknown, mean=mean, covariance=square * unknown.covariance)


def mean_response(
    twin: AbstractTwin,
    description: Description,
    weights: Weights,
    state: Float[np.ndarray, "batch neurons"],
) -> Float[np.ndarray, "neurons neurons"]:
    """Computes the mean response of all neurons to all lines that a twin expects at some states."""
    units = np.eye(description.neurons)
    rows = [twin.lines(weights, state, np.broadcast_to(unit, state.shape)) for unit in units]
    return np.stack([np.mean(row, axis=0) for row in rows])


def _names(description: Description) -> tuple[str, ...]:
    return tuple(population.name for population in description.populations)
