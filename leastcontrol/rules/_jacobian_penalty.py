"""A penalty that keeps a system solvable while it learns."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..equilibrium import Point
from ..systems import AbstractSystem
from ._policy import Drop
from ._rule import AbstractRule, AbstractRuleAround, Batch, Counted, Credit


class JacobianPenalty(AbstractRuleAround):
    """Adds to another rule a penalty on the system's Jacobian at the equilibria.

        R(θ) = ‖∂_φ g‖²_F / n,   g = φ + f(φ, θ, x),   φ of size n,

    averaged over the solved samples (Bai, Koltun and Kolter, ICML 2021). The map g is a unit step
    of the dynamics. A fixed-point iteration contracts if the Jacobian of g is small, and a
    recurrent system tends to lose this property while it learns. The norm is estimated with one
    Gaussian vector for each sample, R = E‖(∂_φg)ᵀv‖²/n (Hutchinson), and differentiated in θ at
    fixed φ. The penalty is not local, even if the rule is.

    Feedback weights that mirror the system (`KolenPollack`) get the gradient of the mirror's
    penalty, with the same random vectors. Otherwise the penalty would shrink the weights W but not
    their mirror S, and the two would no longer become alike.

    **Arguments:**

    * `rule`: the rule that the penalty is added to.
    * `strength`: the factor of the penalty in the objective.

    **Raises:** `ValueError` if the strength is not positive and finite, or if there is no key.
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
        rule_key, penalty_key = jax.random.split(key)
        credit = self.rule(system, feedback, batch, key=rule_key)
        value = credit.solution.value
        states = value.state if isinstance(value, Point) else value
        counted = Counted.in_batch(batch, Drop(), credit.solution)
        inputs, states = counted.safe((batch.inputs, states))
        keys = jax.random.split(penalty_key, counted.weights.shape[0])

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
        mirrored = eqx.filter(system, system.feedback_parameters())
        if credit.feedback_gradient is None or not _alike(feedback, mirrored):
            return credit
        added = counted.gradient(jax.grad(penalty)(feedback, system))
        total = jax.tree.map(jnp.add, credit.feedback_gradient, added)
        return eqx.tree_at(lambda credit: credit.feedback_gradient, credit, total)


def _alike(feedback: PyTree[Any], mirrored: PyTree[Array]) -> bool:
    """Tells whether feedback weights have the structure and shapes of the weights they mirror."""
    shapes = [jax.tree.map(jnp.shape, tree) for tree in (feedback, mirrored)]
    return jax.tree.structure(feedback) == jax.tree.structure(mirrored) and shapes[0] == shapes[1]


def _square(
    system: AbstractSystem, x: PyTree[Any], state: PyTree[Array], key: PRNGKeyArray
) -> Float[Array, ""]:
    """Computes ‖(∂_φg)ᵀv‖²/n for a Gaussian v."""
    flat, unravel = jax.flatten_util.ravel_pytree(state)
    direction = jax.random.normal(key, flat.shape, flat.dtype)
    drive = system.drive(x)
    _, pull = jax.vjp(lambda state: system.vector_field(state, drive), state)
    (pulled,) = pull(unravel(direction))
    pulled, _ = jax.flatten_util.ravel_pytree(pulled)
    return jnp.sum((pulled + direction) ** 2) / flat.size
