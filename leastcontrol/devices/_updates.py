"""Local updates: control behind × activity before, for every connection."""

import numpy as np
from jaxtyping import Float

from ._certificate import CERTAIN
from ._device import Description, Weights
from ._responses import Responses


def outer_products(
    description: Description,
    inputs: Float[np.ndarray, "batch inputs"],
    state: Float[np.ndarray, "batch neurons"],
    behind: Float[np.ndarray, "batch neurons"],
) -> Weights:
    """Computes what is behind × activity before for every connection, the mean over a batch.

    Readings that are not finite count as zero.
    """
    state, behind = finite(state), finite(behind)
    return {
        connection.name: behind[:, description.part(connection.after)].T
        @ description.before(connection, inputs, state)
        / len(inputs)
        for connection in description.connections
    }


def local_updates(
    description: Description,
    responses: Responses,
    inputs: Float[np.ndarray, "batch inputs"],
    state: Float[np.ndarray, "batch neurons"],
    control: Float[np.ndarray, "batch neurons"],
) -> Weights:
    """Computes control behind × activity before for every connection, the mean over a batch.

    The update of a weight reads the control of the neuron after it, that neuron's activity and the
    sign in which its line acts, and the activity before it. Readings that are not finite count as
    zero.
    """
    behind = control * line_signs(responses) * room_to_move(description, finite(state))
    return outer_products(description, inputs, state, behind)


def room_to_move(
    description: Description, state: Float[np.ndarray, "batch neurons"]
) -> Float[np.ndarray, "batch neurons"]:
    """Computes how far neurons are from their saturation.

    It is 4 (high − r)(r − low) / (high − low)², from 1 in the middle to 0 at either end, which is
    the slope of a hyperbolic tangent between the two; 1 for neurons that do not saturate.
    """
    room = np.ones_like(state)
    for population in description.populations:
        if population.saturation is not None:
            part, (low, high) = description.part(population.name), population.saturation
            product = (high - state[:, part]) * (state[:, part] - low)
            room[:, part] = np.clip(4 * product / (high - low) ** 2, 0.0, 1.0)
    return room


def line_signs(responses: Responses) -> Float[np.ndarray, " neurons"]:
    """Finds the signs of the control lines: −1 where one certainly moves its neuron backwards."""
    neurons = len(responses.covariance)
    response = np.diag(responses.state)
    deviation = np.diag(responses.deviation()[:neurons])
    return np.where(response < -CERTAIN * deviation, -1.0, 1.0)


def finite(readings: np.ndarray) -> np.ndarray:
    """Replaces readings that are not finite by zero."""
    return np.nan_to_num(readings, nan=0.0, posinf=0.0, neginf=0.0)
