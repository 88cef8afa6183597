"""The baselines' training steps as people write them without this library.

A **peer** computes the mean cross-entropy of a batch from plain arrays, and `jax.grad` does the
rest. Its weights are those of a system of this library, so that both sides have the same gradient.
An equilibrium is a **layer**, a function of parameters, the batch and the states it starts from,
in two forms:

* by hand: a `jax.custom_vjp`, whose two loops stop when the step of the whole batch is small beside
  its states. No sample is judged, and nothing is certified.
* by Optimistix: its fixed point with its implicit gradient by GMRES, mapped over the batch.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import lineax as lx
import optax
import optimistix as optx
from jaxtyping import Array, Float, PyTree

from ..rules import Batch
from ..systems import EquilibriumRNN, Feedforward

TOLERANCE = 1e-5
MAX_STEPS = 1000

Onwards = Callable[[PyTree, PyTree, Array], Array]
Layer = Callable[[PyTree, PyTree, Array], Array]
Loss = Callable[[PyTree, Batch], Float[Array, ""]]


@dataclasses.dataclass(frozen=True)
class Peer:
    """A training step that is not this library's.

    * `name`: names it in a row.
    * `weights`: plain arrays, taken from a system and in its order.
    * `loss`: computes the mean loss of a batch from such arrays.
    """

    name: str
    weights: PyTree
    loss: Loss


def layer_by_hand(onwards: Onwards, tolerance: float = TOLERANCE) -> Layer:
    """Writes a layer as a loop with a custom gradient.

    **Arguments:**

    * `onwards`: takes parameters, one sample and its state to the next state.
    * `tolerance`: the loops stop when the norm of the batch's step is at most this times the norm
      of its states.
    """
    of_batch = jax.vmap(onwards, (None, 0, 0))

    @jax.custom_vjp
    def rest(parameters: PyTree, samples: PyTree, start: Array) -> Array:
        return _by_batch(functools.partial(of_batch, parameters, samples), start, tolerance)

    def forwards(parameters: PyTree, samples: PyTree, start: Array) -> tuple[Array, PyTree]:
        states = rest(parameters, samples, start)
        return states, (parameters, samples, states)

    def backwards(kept: PyTree, cotangent: Array) -> tuple[PyTree, PyTree, Array]:
        parameters, samples, states = kept
        _, pull = jax.vjp(functools.partial(of_batch, parameters, samples), states)
        adjoint = _by_batch(lambda a: pull(a)[0] + cotangent, cotangent, tolerance)
        _, along = jax.vjp(lambda p, s: of_batch(p, s, states), parameters, samples)
        return *along(adjoint), jnp.zeros_like(states)

    rest.defvjp(forwards, backwards)
    return rest


def _by_batch(step: Callable[[Array], Array], start: Array, tolerance: float) -> Array:
    """Iterates a batch until its step is small beside it, as one vector."""

    def unfinished(carry: tuple[Array, Array, int | Array]) -> Array:
        states, change, steps = carry
        large = jnp.sum(change**2) > tolerance**2 * jnp.sum(states**2)
        return large & (steps < MAX_STEPS)

    def onwards(
        carry: tuple[Array, Array, int | Array],
    ) -> tuple[Array, Array, int | Array]:
        states, _, steps = carry
        moved = step(states)
        return moved, moved - states, steps + 1

    first = step(start)
    return jax.lax.while_loop(unfinished, onwards, (first, first - start, 1))[0]


def layer_by_optimistix(onwards: Onwards, tolerance: float = TOLERANCE) -> Layer:
    """Writes a layer as Optimistix' fixed point of every sample, with `onwards` as above."""
    solver = optx.FixedPointIteration(rtol=tolerance, atol=tolerance)
    adjoint = optx.ImplicitAdjoint(lx.GMRES(rtol=tolerance, atol=tolerance))

    def of_one(parameters: PyTree, sample: PyTree, start: Array) -> Array:
        return optx.fixed_point(
            lambda state, given: onwards(given[0], given[1], state),
            solver,
            start,
            (parameters, sample),
            adjoint=adjoint,
            max_steps=MAX_STEPS,
            throw=False,
        ).value

    return jax.vmap(of_one, (None, 0, 0))


def _mean_loss(outputs: Array, batch: Batch) -> Float[Array, ""]:
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(outputs, batch.targets))


def _network(system: Feedforward) -> tuple[PyTree, Loss]:
    activation = system.activation

    def output(weights: PyTree, values: Array) -> Array:
        (first, bias), *later = weights
        values = first @ values + bias
        for weight, bias in later:
            values = weight @ activation(values) + bias
        return values

    def loss(weights: PyTree, batch: Batch) -> Array:
        return _mean_loss(jax.vmap(output, (None, 0))(weights, batch.inputs), batch)

    return [(layer.weight, layer.bias) for layer in system.layers], loss


def _recurrent(system: EquilibriumRNN, layer: Callable[[Onwards], Layer]) -> tuple[PyTree, Loss]:
    activation = system.activation
    affine = jax.vmap(lambda weight, bias, value: weight @ value + bias, (None, None, 0))
    rest = layer(lambda recurrent, drive, state: recurrent @ activation(state) + drive)

    def loss(weights: PyTree, batch: Batch) -> Array:
        (into, bias), recurrent, (out, out_bias) = weights
        drives = affine(into, bias, batch.inputs)
        states = rest(recurrent, drives, jnp.zeros_like(drives))
        return _mean_loss(affine(out, out_bias, activation(states)), batch)

    into, out = ((ends.weight, ends.bias) for ends in (system.input, system.output))
    return (into, system.recurrent, out), loss


def _recurrent_peers(system: EquilibriumRNN) -> list[Peer]:
    layers = {"by hand": layer_by_hand, "Optimistix, GMRES": layer_by_optimistix}
    return [Peer(name, *_recurrent(system, layer)) for name, layer in layers.items()]


# By the word of the system whose baseline they compute.
PEERS: dict[str, Callable[[Any], list[Peer]]] = {
    "feedforward": lambda system: [Peer("by hand", *_network(system))],
    "rnn": _recurrent_peers,
}
