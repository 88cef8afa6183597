"""The one signature of all rules."""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from ..equilibrium import RESULTS, Solution, verdict
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

    @abc.abstractmethod
    def init(self, system: AbstractSystem, *, key: PRNGKeyArray) -> PyTree[Any]:
        """Draws the feedback weights that the rule trains beside the system; `None` for none."""

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


class AbstractRuleWithoutFeedback(AbstractRule):
    """A rule that trains no feedback weights."""

    def init(self, system: AbstractSystem, *, key: PRNGKeyArray) -> None:
        """Returns `None`: there are no feedback weights."""
        del system, key


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
    for name, part in (("inputs", batch.inputs), ("targets", batch.targets)):
        for leaf in jax.tree.leaves(part):
            if not hasattr(leaf, "dtype"):
                raise ValueError(
                    f"The {name} hold a Python {type(leaf).__name__}, as lists of numbers do, but "
                    f"a batch is of arrays: write jnp.asarray({name})."
                )
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

    def state_and_output(x: PyTree) -> tuple[PyTree, Array]:
        state = system.initial_state(system.drive(x))
        return state, system.readout(state)

    try:
        state, output = eqx.filter_eval_shape(state_and_output, first)
    except NameError as error:
        if "axis name" not in str(error):
            raise
        raise ValueError(
            f"f asks for the other samples of a batch ({error}), as batch norm does, but f and h "
            "are of one sample: use a norm of one sample, such as LayerNorm or GroupNorm, or batch "
            "norm in its inference mode."
        ) from error
    except TypeError as error:
        raise ValueError(
            f"The system cannot take inputs of shape {_shapes(first)}: {error}"
        ) from error
    found = {"state": {leaf.dtype for leaf in jax.tree.leaves(state)}, "output": {output.dtype}}
    targets_of = {leaf.dtype for leaf in jax.tree.leaves(batch.targets)}
    found["target"] = {own for own in targets_of if jnp.issubdtype(own, jnp.floating)}
    if len(set().union(*found.values())) > 1:
        said = "; ".join(
            f"{name}: {', '.join(sorted(map(str, own)))}" for name, own in found.items() if own
        )
        raise ValueError(
            f"A sample is of several precisions ({said}), but it is solved in one: convert the "
            "start, the parameters, the inputs and the targets to the same by .astype(...)."
        )
    loss.check_target(batch.targets, output.shape[0], leak)


def _shapes(tree: PyTree) -> str:
    return ", ".join(f"{leaf.dtype}{list(leaf.shape)}" for leaf in jax.tree.leaves(tree))


def per_sample(values: Array, leaf: Array) -> Array:
    """Returns one value for each sample, shaped to multiply or select a leaf's samples."""
    return values.reshape(values.shape + (1,) * (leaf.ndim - 1))


def with_admitted_targets(
    solution: Solution, loss: AbstractLoss, targets: PyTree[Any], outputs: int
) -> Solution:
    """Returns a batch's solution with the samples unsolved whose target the loss does not admit.

    `check_batch` refuses such targets, but sees no values inside a trace.
    """
    admitted = jax.vmap(lambda target: loss.admits(target, outputs))(targets)
    error = jnp.where(admitted, solution.stats.error, jnp.nan)
    result = result_with_target(admitted, solution.result)
    return eqx.tree_at(lambda s: (s.result, s.stats.error), solution, (result, error))


def result_with_target(admitted: Bool[Array, " batch"], result: Any) -> Any:
    """Returns the result of every sample, which is of its target where that is not admitted."""

    def of_one(admitted: Bool[Array, ""], result: Any) -> Any:
        return RESULTS.where(admitted, result, RESULTS.invalid_target)

    return jax.vmap(of_one)(admitted, result)


class Counted(eqx.Module):
    """The samples of a batch that count, and how to take means over them.

    A sample that does not count may hold values for which f, its derivatives or the loss are not
    finite, and 0 · NaN is NaN. So nothing is evaluated for a gradient on such a sample: it gets
    everything of one that counts, in the same dtypes, and no weight.

    * `weights`: of each sample; they sum to 1, or are all 0.
    * `count`: the number of samples that count, or the sum of their weights.
    """

    weights: Float[Array, " batch"]
    count: Float[Array, ""]

    @staticmethod
    def of(weights: Float[Array, " batch"]) -> "Counted":
        """Returns what weights of at least 0 stand for, before they are divided by their sum."""
        count = jnp.sum(weights)
        return Counted(weights / jnp.maximum(count, 1), count)

    def safe(self, tree: PyTree[Any]) -> PyTree[Any]:
        """Returns a batch in which the samples that do not count are copies of one that does."""
        first = jnp.argmax(self.weights > 0)

        def of_leaf(leaf: Array) -> Array:
            leaf = jnp.asarray(leaf)
            return jnp.where(per_sample(self.weights > 0, leaf), leaf, leaf[first])

        return jax.tree.map(of_leaf, tree)

    def weighted(self, tree: PyTree[Any]) -> PyTree[Array]:
        """Returns a batch of numbers times its weights, 0 for samples that do not count."""

        def of_leaf(leaf: Array) -> Array:
            weights = per_sample(self.weights, leaf).astype(leaf.dtype)
            return jnp.where(weights > 0, weights * leaf, 0)

        return jax.tree.map(of_leaf, tree)

    def mean(self, values: Float[Array, " batch"]) -> Float[Array, ""]:
        """Returns the mean over the samples that count; NaN if there are none."""
        return jnp.where(self.count > 0, jnp.sum(self.weighted(values)), jnp.nan)

    def gradient(self, tree: PyTree[Any]) -> PyTree[Any]:
        """Returns a batch's gradient, and zeros if no sample counts."""
        return jax.tree.map(lambda leaf: jnp.where(self.count > 0, leaf, 0), tree)


def gradient_through(
    losses: Callable[[PyTree[Any], PyTree[Any]], tuple[Float[Array, " batch"], PyTree[Any]]],
    learned: PyTree[Any],
    batch: PyTree[Any],
    counted: Counted,
    pull: Callable[[Float[Array, " batch"]], tuple[PyTree[Any]]],
) -> PyTree[Any]:
    """Returns Σ_b w_b ∂_θL_b in reverse mode, where which samples count is known only afterwards.

    **Arguments:** `losses(learned, batch)`, with what else it returns; `pull`, of their derivative
    at the whole batch, which serves if all samples count. If not, it is taken once more, at samples
    that are safe.
    """

    def again() -> PyTree[Any]:
        _, pull, _ = jax.vjp(lambda learned: losses(learned, safe), learned, has_aux=True)
        return pull(counted.weights)[0]

    safe = counted.safe(batch)
    gradient = jax.lax.cond(jnp.all(counted.weights > 0), lambda: pull(counted.weights)[0], again)
    return counted.gradient(gradient)


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
