"""What is known of a device after a training: mismatch, the feedback's alignment, what limits.

A twin allows to compare: one of the description with what was measured, which is the mismatch that
was found, and one that is exact, which only a simulated device has, with the feedback.
"""

import dataclasses

import numpy as np
from jaxtyping import Float

from ._device import AbstractDevice, Description, Weights
from ._metrics import DeviceMetrics
from ._responses import Responses

LIMITED = 0.05
"""Part of the samples from which something is named as a limit."""


@dataclasses.dataclass(frozen=True)
class Alignment:
    """Feedback weights beside the mean response of the output, of the neurons before it.

    * `angle`: between the feedback weights and the transposed response, in degrees; 90 for no
      relation.
    * `column_space`: ‖PQ‖ / ‖Q‖, with P on the row space of the response; 1 is the condition under
      which ψ = Qu is the least control.
    """

    angle: float
    column_space: float


@dataclasses.dataclass(frozen=True)
class Mismatch:
    """Measured responses beside those of the network that the description stands for.

    * `response`: ‖M − M̂‖ / ‖M̂‖ of the responses of the output.
    * `angle`: between the two, in degrees.
    * `lines`: deviation of the logarithms of what the lines do to their own neurons, over what is
      expected, where both are known to be positive.
    """

    response: float
    angle: float
    lines: float


def alignment(
    description: Description,
    feedback: Float[np.ndarray, "neurons outputs"],
    response: Float[np.ndarray, "outputs neurons"],
) -> Alignment | None:
    """Compares feedback weights with a response; `None` without neurons before the output."""
    before = slice(0, description.neurons - description.outputs)
    sent, expected = feedback[before], response.T[before]
    sizes = np.linalg.norm(sent), np.linalg.norm(expected)
    if not min(sizes) > 0:
        return None
    basis = np.linalg.qr(expected)[0]
    return Alignment(
        _angle(sent, expected), float(np.linalg.norm(basis.T @ sent) / np.linalg.norm(sent))
    )


def mismatch(
    description: Description,
    responses: Responses,
    expected: Float[np.ndarray, "neurons neurons"],
) -> Mismatch | None:
    """Compares measured responses with those that are expected; `None` if none were measured."""
    output = expected[description.neurons - description.outputs :]
    if not np.any(responses.output) or not np.any(output):
        return None
    gains, nominal = np.diag(responses.state), np.diag(expected)
    sure = (gains > 4 * np.diag(responses.deviation()[: len(gains)])) & (nominal > 0)
    ratios = np.log(gains[sure] / nominal[sure])
    return Mismatch(
        float(np.linalg.norm(responses.output - output) / np.linalg.norm(output)),
        _angle(responses.output, output),
        float(np.std(ratios)) if len(ratios) > 1 else 0.0,
    )


def limits(description: Description, metrics: DeviceMetrics, weights: Weights) -> tuple[str, ...]:
    """Says in sentences what limits a device, the gravest first."""
    total = max(sum(metrics.results.values()), 1)
    sentences = []
    for result, sentence in (
        ("failed", "{} of the samples could not be measured."),
        ("drifting", "{} of the samples drift between two settles."),
        ("noise-limited", "Noise changes the answer of {} of the samples."),
    ):
        share = metrics.results[result] / total
        if share >= LIMITED:
            sentences.append(sentence.format(_per_cent(share)))
    if metrics.saturated_fraction >= LIMITED:
        sentences.append(
            f"A control line is at its limit in {_per_cent(metrics.saturated_fraction)} of cases."
        )
    ended = [
        np.mean(np.abs(weights[each.name]) >= each.limit)
        for each in description.connections
        if each.limit is not None
    ]
    if ended and max(ended) >= LIMITED:
        share = _per_cent(float(max(ended)))
        sentences.append(f"Up to {share} of a connection's weights are at their limit.")
    if metrics.write_error >= LIMITED:
        sentences.append(
            f"Weights differ by {_per_cent(metrics.write_error)} from what was written."
        )
    return tuple(sentences)


def free_states(
    device: AbstractDevice, inputs: Float[np.ndarray, "batch inputs"]
) -> Float[np.ndarray, "batch neurons"]:
    """Measures states without control, of which none is missing."""
    control = np.zeros((len(inputs), device.describe().neurons))
    state = np.asarray(device.settle(inputs.astype(np.float64), control).state)
    return state[np.all(np.isfinite(state), axis=1)]


def _per_cent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _angle(first: np.ndarray, second: np.ndarray) -> float:
    cosine = np.sum(first * second) / (np.linalg.norm(first) * np.linalg.norm(second))
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))
