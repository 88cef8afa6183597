"""Comparison of a rule's gradient with exact gradients, for a model on a whole data set."""

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
    """The deviation of a gradient Δ from the exact gradient Δ* and from that of the loss.

    * `samples`: number of samples.
    * `converged_fraction`: fraction of samples whose solve was certified; the others do not enter
      the gradient.
    * `angle_to_exact`: angle to −∇H of the same samples, in degrees.
    * `angle_to_loss`: angle to −∇L at the free equilibrium, in degrees.
    * `relative_error`: ‖Δ − Δ*‖/‖Δ*‖.
    * `distance`: the mean of ‖φ̂ − φ⋆‖ between the states of the rule and the exact states.
    * `sensitivity`: ‖Δ − Δ*‖ divided by that distance, the constant of the error bound (arXiv
      2207.01332, proposition S8) that is observed; NaN for a distance of 0.
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
    """Compares the gradient of a rule with the exact one and with that of the loss.

    **Arguments:**

    * `system`: the model.
    * `batches`: the data set, as batches of equal size.
    * `rule`: the rule to assess, with its `feedback` weights and a `key` if it needs them.
    * `exact`: the reference rule, `LeastControl(Exact(), leak)` with the leak of `rule`.
    * `loss`: `Backpropagation()` or `RecurrentBackpropagation()`.

    **Raises:** `ValueError` for no batches.
    """

    @eqx.filter_jit
    def measure(batch: Any) -> tuple:
        credit = rule(system, feedback, batch, key=key)
        best = exact(system, None, batch, key=key)
        plain = loss(system, None, batch, key=key)
        certified = solved(credit.solution)
        apart = jax.vmap(_distance)(_states(credit.solution.value), _states(best.solution.value))
        both = certified & solved(best.solution)
        gradients = credit.gradient, best.gradient, plain.gradient
        distance = jnp.sum(jnp.where(both, apart, 0))
        return gradients, certified.sum(), both.sum(), distance, certified.size

    total = None
    for batch in batches:
        part = measure(batch)
        total = part if total is None else jax.tree.map(jnp.add, total, part)
    if total is None:
        raise ValueError(
            "There are no batches, but a comparison needs at least one: give a list of "
            "Batch(inputs, targets)."
        )
    (gradient, best, plain), certified, both, apart, samples = total
    error = float(np.linalg.norm(_flat(gradient) - _flat(best)))
    distance = float(apart) / max(int(both), 1)
    return GradientTrust(
        samples=int(samples),
        converged_fraction=float(certified) / int(samples),
        angle_to_exact=float(angle(gradient, best)),
        angle_to_loss=float(angle(gradient, plain)),
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
