"""Layers in a chain, each driven by the one before it alone, settled on the kinks of their units.

What a system of such layers needs as an `AbstractRectifiedSystem` is the same whether its layers
are dense or convolutional, and is written here once: a layer is the kinks of its units, and the
function from their activities to the drive of the layer after it.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._kinks import Kinked, Split
from ._system import SettledOnKinks

State = tuple[Float[Array, "..."], ...]
# One for each layer: the kinks of its units, and the drive of the next layer, or the output.
Layers = Sequence[tuple[Kinked, Callable[[Array], Array]]]


def settle_chain_by_signals(
    layers: Layers, drive: Array, signals: State, last: State
) -> SettledOnKinks:
    """Settles a chain under signals, layer after layer (`AbstractRectifiedSystem`)."""
    targets, states, controls, backs, target = [], [], [], [], drive
    for (kinked, layer_after), signal, before in zip(layers, signals, last, strict=True):
        state, control = kinked.settle(target, signal, before)
        targets.append(target)
        states.append(state)
        controls.append(control)
        target, back = jax.vjp(layer_after, kinked.activity(state))
        backs.append(back)

    def answer(
        output_control: Float[Array, " outputs"], before: State, stiffness: State
    ) -> tuple[State, State, State]:
        sent_signals, requested, missing, cotangent = [], [], [], output_control
        for index in reversed(range(len(states))):
            (kinked, _), state = layers[index], states[index]
            (signal,) = backs[index](cotangent)
            cotangent = kinked.answer(
                targets[index], signal, state, before[index], stiffness[index]
            )
            sent_signals.append(signal)
            requested.append(cotangent)
            missing.append(kinked.unanswered(state, signal, cotangent))
        return tuple(sent_signals[::-1]), tuple(requested[::-1]), tuple(missing[::-1])

    return SettledOnKinks(tuple(states), tuple(controls), target, answer)


def chain_field_and_readout(
    layers: Layers, state: State, drive: Array, split: Split
) -> tuple[State, Array]:
    """Computes f and h of a chain, whose pullback on a kink is that of `split`."""
    field, target = [], drive
    for (kinked, layer_after), phi in zip(layers, state, strict=True):
        copy, active = split(kinked, phi)
        field.append(target - copy)
        target = layer_after(active)
    return tuple(field), target


def chain_stiffness(weights: Sequence[Array]) -> State:
    """Estimates κ_i = ½ Σ_j W_ij² (1 + κ_j), assuming that half of the units are active.

    **Arguments:** `weights`, those between the first and the last layer of units: matrices, or
    kernels of shape (maps, input maps, height, width).

    **Returns:** a number for the first layer of units, whose drive no control moves, and an array
    for each other.
    """
    stiffness = [jnp.zeros(())]
    for weight in weights:
        square = weight**2 if weight.ndim == 2 else jnp.sum(weight**2, axis=(2, 3))
        before = 1 + stiffness[-1].reshape(-1)
        before = jnp.repeat(before, square.shape[1] // before.size)
        kappa = 0.5 * square @ before
        stiffness.append(kappa[:, None, None] if weight.ndim == 4 else kappa)
    return tuple(stiffness)
