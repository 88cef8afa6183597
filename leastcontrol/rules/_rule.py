"""The one signature of all rules."""

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ..equilibrium import Solution, verdict
from ..losses import AbstractLoss
from ..systems import AbstractSystem


class Batch(NamedTuple):
    """Inputs and targets of some samples, with a leading batch axis.

    `start` may hold controlled rest points that the samples had before, from which least control
    then starts.
    """

    inputs: PyTree[Any]
    targets: PyTree[Any]
    start: Any = None


class Credit(eqx.Module):
    """What a rule returns for a batch.

    * `gradient`: the descent gradient for the system's parameters, a pytree like the system with
      `None` for what is not learned; the mean over the samples that count.
    * `feedback_gradient`: likewise for the feedback weights; `None` where there are none.
    * `objective`: the mean of what `gradient` is the gradient of.
    * `loss`: the mean loss L at the rest points that were found.
    * `count`: how many samples count, or the sum of their weights.
    * `solution`: the rest points and their certificates.
    """

    gradient: PyTree[Any]
    feedback_gradient: PyTree[Any]
    objective: Float[Array, ""]
    loss: Float[Array, ""]
    count: Float[Array, ""]
    solution: Solution


class AbstractRule(eqx.Module):
    """A learning rule."""

    loss: eqx.AbstractVar[AbstractLoss]

    def init(self, system: AbstractSystem, *, key: PRNGKeyArray) -> PyTree[Any]:
        """Returns the feedback weights that the rule learns beside the system: none."""
        del system, key
        return None

    @abc.abstractmethod
    def __call__(
        self,
        system: AbstractSystem,
        feedback: PyTree[Any],
        batch: Batch,
        *,
        key: PRNGKeyArray | None = None,
    ) -> Credit:
        """Returns the credit of a batch.

        **Arguments:**

        * `system`: the system as it is.
        * `feedback`: what `init` returned, as it is.
        * `batch`: inputs and targets.
        * `key`: for rules with noise; the others do not use it.
        """


class AbstractRuleAround(AbstractRule):
    """Another rule with something added: its loss and its feedback weights are that rule's."""

    rule: eqx.AbstractVar[AbstractRule]

    @property
    def loss(self) -> AbstractLoss:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The loss of the rule inside."""
        return self.rule.loss

    def init(self, system: AbstractSystem, *, key: PRNGKeyArray) -> PyTree[Any]:
        """Returns the feedback weights of the rule inside."""
        return self.rule.init(system, key=key)


def both_solved(
    first: Solution, second_steps: Int[Array, ""], second_error: Float[Array, ""]
) -> Solution:
    """Returns one sample's first solution as solved only where a second solve is solved too."""
    stats = first.stats
    error = jnp.maximum(stats.error, second_error)
    stats = eqx.tree_at(
        lambda own: (own.steps, own.error), stats, (stats.steps + second_steps, error)
    )
    return Solution(first.value, verdict(error), stats)


def check_batch(system: AbstractSystem, loss: AbstractLoss, batch: Batch, leak: float) -> None:
    """Refuses a batch that does not fit the system and the loss.

    **Raises:** `ValueError`.
    """
    inputs = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(batch.inputs)}
    targets = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(batch.targets)}
    if len(inputs) != 1 or inputs != targets or inputs == {()}:
        raise ValueError(
            f"The inputs' first axes are {sorted(inputs)} and the targets' {sorted(targets)}, but "
            "both are one batch: give arrays with the same first axis."
        )
    first = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), batch.inputs
    )
    try:
        output = eqx.filter_eval_shape(
            lambda x: system.readout(system.initial_state(system.drive(x))), first
        )
    except TypeError as error:
        raise ValueError(
            f"The system cannot take inputs of shape {_shapes(first)}: {error}"
        ) from error
    loss.check_target(batch.targets, output.shape[0], leak)


def _shapes(tree: PyTree) -> str:
    return ", ".join(f"{leaf.dtype}{list(leaf.shape)}" for leaf in jax.tree.leaves(tree))


def per_sample(values: Array, leaf: Array) -> Array:
    """Returns one value for each sample, shaped to multiply or select a leaf's samples."""
    return values.reshape(values.shape + (1,) * (leaf.ndim - 1))


def of_counted(weights: Float[Array, " batch"], tree: PyTree[Any]) -> PyTree[Any]:
    """Returns a batch with zeros in the samples of no weight.

    A dropped sample may hold values that are not finite, and 0 · NaN is NaN.
    """
    return jax.tree.map(lambda leaf: jnp.where(per_sample(weights, leaf) > 0, leaf, 0), tree)


def parameter_gradient(
    system: AbstractSystem,
    inputs: PyTree[Any],
    states: PyTree[Float[Array, "batch ..."]],
    field_signal: PyTree[Float[Array, "batch ..."]],
    output_signal: Float[Array, "batch outputs"],
) -> PyTree[Any]:
    """Returns Σ_b ∂_θf(φ_b)ᵀ a_b + ∂_θh(φ_b)ᵀ e_b, with the states held fixed.

    The product reads, for each weight, the signal at its own output and the activity at its own
    input: it is local wherever f has a node for every layer.
    """
    learned, fixed = eqx.partition(system, eqx.is_inexact_array)

    def field_and_readout(learned: PyTree) -> tuple[PyTree, Array]:
        system = eqx.combine(learned, fixed)

        def of_one(x: PyTree, state: PyTree) -> tuple[PyTree, Array]:
            return system.vector_field(state, system.drive(x)), system.readout(state)

        return jax.vmap(of_one)(inputs, states)

    _, pull = jax.vjp(field_and_readout, learned)
    return pull((field_signal, output_signal))[0]
