"""Help for systems that are to stay solvable while they learn."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..equilibrium import Point, solved
from ..systems import AbstractSystem
from ._rule import AbstractRule, AbstractRuleAround, Batch, Counted, Credit


class JacobianPenalty(AbstractRuleAround):
    """Another rule, with a penalty on the system's Jacobian where its samples are at rest.

        R(θ) = ‖∂_φ g‖²_F / n,   g = φ + f(φ, θ, x),   φ of size n,

    as a mean over the samples that were solved. A unit step of the dynamics is the map g, so what
    is small of this Jacobian is what a fixed-point iteration contracts, and a recurrent system
    that learns without it tends to lose the property. The norm is estimated with one Gaussian
    vector for each sample, R = E‖(∂_φg)ᵀv‖²/n (Hutchinson), and differentiated in θ at fixed φ:
    unlike the rule it helps, the penalty is not local. (Bai, Koltun and Kolter, ICML 2021.)

    Feedback weights that are a mirror of the system and learn as it does (`KolenPollack`) learn the
    penalty of the mirror, with the same random vectors: without it W would shrink and S would not,
    and they would no longer become alike.

    **Arguments:**

    * `rule`: the rule that is helped.
    * `strength`: what the penalty is multiplied by before it is added to the rule's objective.

    **Raises:** `ValueError` for a strength that is not positive and finite, or without a key.
    """

    rule: AbstractRule
    strength: float = eqx.field(static=True)

    def __init__(self, rule: AbstractRule, strength: float):
        if not 0 < strength < math.inf:
            raise ValueError(
                f"`strength` is {strength}, but a penalty is positive and finite: write "
                "JacobianPenalty(rule, 0.1), or the rule alone."
            )
        self.rule = rule
        self.strength = strength

    def __call__(
        self,
        system: AbstractSystem,
        feedback: PyTree[Any],
        batch: Batch,
        *,
        key: PRNGKeyArray | None = None,
    ) -> Credit:
        if key is None:
            raise ValueError(
                "The Jacobian's penalty draws random vectors, but was given no key: write "
                "rule(system, feedback, batch, key=key)."
            )
        rule_key, own_key = jax.random.split(key)
        credit = self.rule(system, feedback, batch, key=rule_key)
        value = credit.solution.value
        states = value.state if isinstance(value, Point) else value
        found = solved(credit.solution)
        counted = Counted.of(found.astype(credit.solution.stats.error.dtype))
        inputs, states = counted.safe((batch.inputs, states))
        keys = jax.random.split(own_key, found.shape[0])

        def penalty(learned: PyTree, others: PyTree) -> Float[Array, ""]:
            system = eqx.combine(learned, others)
            sizes = jax.vmap(lambda x, state, key: _square(system, x, state, key))(
                inputs, states, keys
            )
            return self.strength * jnp.sum(counted.weighted(sizes))

        learned, fixed = eqx.partition(system, eqx.is_inexact_array)
        value, gradient = counted.gradient(jax.value_and_grad(penalty)(learned, fixed))
        credit = eqx.tree_at(
            lambda credit: (credit.gradient, credit.objective),
            credit,
            (jax.tree.map(jnp.add, credit.gradient, gradient), credit.objective + value),
        )
        own = eqx.filter(system, system.feedback_parameters())
        if credit.feedback_gradient is None or not _alike(feedback, own):
            return credit
        own = counted.gradient(jax.grad(penalty)(feedback, system))
        total = jax.tree.map(jnp.add, credit.feedback_gradient, own)
        return eqx.tree_at(lambda credit: credit.feedback_gradient, credit, total)


def _alike(feedback: PyTree[Any], own: PyTree[Array]) -> bool:
    """Returns whether feedback weights have the structure and the shapes of the system's own."""
    shapes = [jax.tree.map(jnp.shape, tree) for tree in (feedback, own)]
    return jax.tree.structure(feedback) == jax.tree.structure(own) and shapes[0] == shapes[1]


def _square(
    system: AbstractSystem, x: PyTree[Any], state: PyTree[Array], key: PRNGKeyArray
) -> Float[Array, ""]:
    """Returns ‖(∂_φg)ᵀv‖²/n for a Gaussian v."""
    flat, unravel = jax.flatten_util.ravel_pytree(state)
    direction = jax.random.normal(key, flat.shape, flat.dtype)
    drive = system.drive(x)
    _, pull = jax.vjp(lambda state: system.vector_field(state, drive), state)
    (pulled,) = pull(unravel(direction))
    pulled, _ = jax.flatten_util.ravel_pytree(pulled)
    return jnp.sum((pulled + direction) ** 2) / flat.size
