"""How much of a gradient can be trusted, for a whole model on a whole data set."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import PyTree

from ..equilibrium import Point, solved
from ..systems import AbstractSystem
from ._directions import angle


@dataclasses.dataclass(frozen=True)
class GradientTrust:
    """What a gradient was compared with, and how it did.

    * `samples`: how many were measured, and `converged_fraction`: the share of them whose solve was
      certified; the others have no part in the gradient.
    * `angle_to_exact`: to −∇H of the same samples, by an oracle, in degrees. `angle_to_loss`: to
      −∇L at the free equilibrium, likewise.
    * `relative_error`: ‖Δ − Δ*‖/‖Δ*‖ for the oracle's Δ*.
    * `distance`: the mean ‖φ̂ − φ⋆‖ between the states that were reached and the oracle's.
    * `sensitivity`: ‖Δ − Δ*‖ in units of that distance, the constant with which the error's bound
      (arXiv 2207.01332, proposition S8) is met here; not a number where the two states are the
      same.
    """

    samples: int
    converged_fraction: float
    angle_to_exact: float
    angle_to_loss: float
    relative_error: float
    distance: float
    sensitivity: float


def gradient_trust(
    system: AbstractSystem,
    batches: Iterable[Any],
    rule: Callable[..., Any],
    *,
    exact: Callable[..., Any],
    loss: Callable[..., Any],
    feedback: PyTree[Any] = None,
    key: Any = None,
) -> GradientTrust:
    """Returns how a rule's gradient compares with the exact one and with that of the loss.

    **Arguments:**

    * `system`: the model as it is.
    * `batches`: the data set, as batches of equal size.
    * `rule`: what is judged, with its `feedback` weights and a `key` where it needs them.
    * `exact`: the oracle, `LeastControl(Exact(), leak)` with the rule's own leak.
    * `loss`: `Backpropagation()` or `RecurrentBackpropagation()`.

    **Raises:** `ValueError` for no batches.
    """

    @eqx.filter_jit
    def measure(batch: Any) -> tuple:
        own = rule(system, feedback, batch, key=key)
        best = exact(system, None, batch, key=key)
        plain = loss(system, None, batch, key=key)
        found = solved(own.solution)
        apart = jax.vmap(_distance)(_states(own.solution.value), _states(best.solution.value))
        both = found & solved(best.solution)
        gradients = own.gradient, best.gradient, plain.gradient
        return gradients, found.sum(), both.sum(), jnp.sum(jnp.where(both, apart, 0)), found.size

    total = None
    for batch in batches:
        part = measure(batch)
        total = part if total is None else jax.tree.map(jnp.add, total, part)
    if total is None:
        raise ValueError(
            "There are no batches, but a gradient is judged on at least one: give a list of "
            "Batch(inputs, targets)."
        )
    (own, best, plain), found, both, apart, samples = total
    error = float(np.linalg.norm(_flat(own) - _flat(best)))
    distance = float(apart) / max(int(both), 1)
    return GradientTrust(
        samples=int(samples),
        converged_fraction=float(found) / int(samples),
        angle_to_exact=float(angle(own, best)),
        angle_to_loss=float(angle(own, plain)),
        relative_error=error / float(np.linalg.norm(_flat(best))),
        distance=distance,
        sensitivity=error / distance if distance > 0 else float("nan"),
    )


def _states(value: Any) -> PyTree:
    return value.state if isinstance(value, Point) else value


def _distance(first: PyTree, second: PyTree) -> Any:
    return jnp.linalg.norm(_ravel(first) - _ravel(second))


def _ravel(tree: PyTree) -> Any:
    return ravel_pytree(tree)[0]


def _flat(tree: PyTree) -> np.ndarray:
    return np.asarray(_ravel(tree), np.float64)
