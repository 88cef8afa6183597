"""The one signature of all rules."""

import abc
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from ..controllers import AbstractController, AbstractOutputControl, Asked
from ..equilibrium import (
    RESULTS,
    AbstractControlPath,
    ControlProblem,
    FixedPoint,
    Sample,
    Solution,
    free_equilibrium,
    verdict,
)
from ..losses import AbstractLoss
from ..systems import AbstractBatchNormalised, AbstractSystem, Units, on_kinks
from ._policy import AbstractUnsolved

if TYPE_CHECKING:
    from ._feedback_control import DeepFeedbackControl


class Batch(NamedTuple):
    """Inputs and targets of some samples, with a leading batch axis.

    `start` may hold controlled equilibria that were found earlier for the same samples; least
    control then starts from them.

    `weights` may hold one number of at least 0 for each sample, or a boolean mask. A rule's
    objective, loss and gradients are then the means Σ_b w_b(·)_b / Σ_b w_b over the samples that
    count. A weight multiplies what a sample adds and does not change its equilibrium. A sample of
    weight 0 counts nowhere, whatever its input and target hold, and raises no error.
    """

    inputs: PyTree[Any]
    targets: PyTree[Any]
    start: Any = None
    weights: Any = None


class Credit(eqx.Module):
    """The result of a rule for a batch.

    * `gradient`: the descent gradient for the system's parameters, a pytree like the system with
      `None` for what is not learned; the mean over the samples that count.
    * `feedback_gradient`: the same for the feedback weights; `None` if there are none.
    * `objective`: the mean of the quantity whose gradient is `gradient`.
    * `loss`: the mean loss L at the equilibria.
    * `count`: the number of samples that count, or the sum of their weights.
    * `solution`: the equilibria and their certificates.
    * `free_loss`: the mean loss without control, over the same samples; `None` if the rule does not
      measure it.
    """

    gradient: PyTree[Any]
    feedback_gradient: PyTree[Any]
    objective: Float[Array, ""]
    loss: Float[Array, ""]
    count: Float[Array, ""]
    solution: Solution
    free_loss: Float[Array, ""] | None = None


class Control(NamedTuple):
    """The control problem that a rule solves, for any system.

    * `controller`: solves the problem.
    * `loss`, `output_control`: of the problem.
    * `descended`: whether the rule descends the control, and not another function of the
      controlled equilibrium.
    """

    controller: AbstractController
    loss: AbstractLoss
    output_control: AbstractOutputControl
    descended: bool

    def problem(self, system: AbstractSystem) -> ControlProblem:
        """Builds the control problem of a system."""
        return self.output_control.problem(system, self.loss)

    def ask(self, problem: ControlProblem, batch: Batch) -> Asked:
        """Makes the samples of a batch, with what the output control asks of each."""
        drives = jax.vmap(problem.system.drive)(batch.inputs)
        samples = Sample(drives, batch.targets, batch.start)
        return self.output_control.ask(problem, samples)


class Equations(NamedTuple):
    """The equations that a rule solves for each sample, and what it learns from.

    The unknowns of a sample are a pair: its state, and the signal that comes back to the state,
    which is an adjoint or a control with its output control.

    * `unknowns(system, batch, solution)`: the pair of each sample, for a rule's solution.
    * `residual(system, sample, unknowns)`: a pair like the unknowns, zero where they are exact.
    * `signals(system, sample, unknowns)`: a and e of the sample's gradient ∂_θfᵀa + ∂_θhᵀe.
    """

    unknowns: Callable[[AbstractSystem, Batch, Solution], tuple[PyTree[Array], PyTree[Array]]]
    residual: Callable[[AbstractSystem, Sample, Any], tuple[PyTree[Array], PyTree[Array]]]
    signals: Callable[[AbstractSystem, Sample, Any], tuple[PyTree[Array], Array]]


class Aspects(NamedTuple):
    """What can be measured and shown of a rule besides its credit.

    A rule has those aspects that it gives; the others are `None`.

    * `rule`: the rule itself, without rules around it.
    * `descends_loss`: whether the gradient is that of the loss at the free equilibrium, not an
      estimate of it.
    * `control`: the control problem that the rule solves.
    * `path(system, feedback)`: builds the path of control or errors through the feedback weights;
      returns `None` if there are none.
    * `with_exact_control(solution)`: builds the rule that the feedback weights approximate. It
      counts the samples that this rule counts in a given solution.
    * `feedback_control`: the rule as one that controls every layer of a feedforward network.
    * `removed(system, batch, credit)`: measures the share of the free loss that is gone at the
      equilibria of a credit, 1 − Σ L / Σ L_free over the samples that count.
    * `equations`: those that `credit_certificate` measures.
    """

    rule: "AbstractRule"
    descends_loss: bool = False
    control: Control | None = None
    path: Callable[[AbstractSystem, PyTree[Any]], AbstractControlPath | None] | None = None
    with_exact_control: "Callable[[Solution], AbstractRule] | None" = None
    feedback_control: "DeepFeedbackControl | None" = None
    removed: Callable[[AbstractSystem, Batch, Credit], Float[Array, ""]] | None = None
    equations: Equations | None = None


class AbstractRule(eqx.Module):
    """A learning rule."""

    loss: eqx.AbstractVar[AbstractLoss]

    @property
    @abc.abstractmethod
    def aspects(self) -> Aspects:
        """What can be measured and shown of the rule; `Aspects(self)` for its gradient alone."""

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
        """Computes the credit of a batch.

        **Arguments:**

        * `system`: the system with its present parameters.
        * `feedback`: the present feedback weights, drawn first by `init`.
        * `batch`: inputs and targets.
        * `key`: for rules with noise; the others do not use it.
        """


class AbstractRuleWithoutFeedback(AbstractRule):
    """A rule that trains no feedback weights."""

    def init(self, system: AbstractSystem, *, key: PRNGKeyArray) -> None:
        """Returns `None`: there are no feedback weights."""
        del system, key


class AbstractRuleAround(AbstractRule):
    """Adds something to another rule, and has the loss and the feedback weights of that rule."""

    rule: eqx.AbstractVar[AbstractRule]

    @property
    def loss(self) -> AbstractLoss:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The loss of the rule inside."""
        return self.rule.loss

    @property
    def aspects(self) -> Aspects:
        """The aspects of the rule inside."""
        return self.rule.aspects

    def init(self, system: AbstractSystem, *, key: PRNGKeyArray) -> PyTree[Any]:
        """Draws the feedback weights of the rule inside."""
        return self.rule.init(system, key=key)


def both_solved(
    first: Solution, second_steps: Int[Array, ""], second_error: Float[Array, ""]
) -> Solution:
    """Marks one sample's first solution as solved only if its second solve is solved too."""
    stats = first.stats
    error = jnp.maximum(stats.error, second_error)
    stats = eqx.tree_at(lambda s: (s.steps, s.error), stats, (stats.steps + second_steps, error))
    result = RESULTS.where(second_error <= 1, first.result, verdict(error))
    return Solution(first.value, result, stats)


def check_batch(system: AbstractSystem, loss: AbstractLoss, batch: Batch, leak: float) -> None:
    """Raises `ValueError` if a batch does not fit the system or the loss."""
    check_values(loss, batch, outputs_of(system, batch), leak)


def outputs_of(system: AbstractSystem, batch: Batch) -> int:
    """Counts the outputs of a system, from the shapes and types of its arrays and a batch's.

    **Raises:** `ValueError` if the batch does not fit the system.
    """
    for name, part in (("inputs", batch.inputs), ("targets", batch.targets)):
        for leaf in jax.tree.leaves(part):
            if not hasattr(leaf, "dtype"):
                raise ValueError(
                    f"The {name} hold a Python {type(leaf).__name__}, as lists of numbers do, but "
                    f"a batch is of arrays: write jnp.asarray({name})."
                )
    inputs = {leaf.shape[:1] for leaf in jax.tree.leaves(batch.inputs)}
    targets = {leaf.shape[:1] for leaf in jax.tree.leaves(batch.targets)}
    if len(inputs) != 1 or inputs != targets or inputs == {()}:
        raise ValueError(
            f"The inputs' first axes are {sorted(inputs)} and the targets' {sorted(targets)}, but "
            "both are one batch: give arrays with the same first axis."
        )
    ((size,),) = inputs
    first = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), batch.inputs
    )

    def state_and_output(system: AbstractSystem, x: PyTree) -> tuple[PyTree, Array]:
        state = system.initial_state(system.drive(x))
        return state, system.readout(state)

    try:
        state, output = eqx.filter_eval_shape(state_and_output, system, first)
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
    dtypes = {"state": {leaf.dtype for leaf in jax.tree.leaves(state)}, "output": {output.dtype}}
    target_dtypes = {leaf.dtype for leaf in jax.tree.leaves(batch.targets)}
    dtypes["target"] = {dtype for dtype in target_dtypes if jnp.issubdtype(dtype, jnp.floating)}
    if len(set().union(*dtypes.values())) > 1:
        listed = "; ".join(
            f"{name}: {', '.join(sorted(map(str, kinds)))}"
            for name, kinds in dtypes.items()
            if kinds
        )
        raise ValueError(
            f"A sample is of several precisions ({listed}), but it is solved in one: convert the "
            "start, the parameters, the inputs and the targets to the same by .astype(...)."
        )
    _check_weights(batch.weights, size)
    return output.shape[0]


def _check_weights(weights: Any, size: int) -> None:
    if weights is None:
        return
    dtype = getattr(weights, "dtype", None)
    numeric = dtype is not None and (dtype == np.bool_ or jnp.issubdtype(dtype, jnp.floating))
    if not numeric or weights.shape != (size,):
        given = type(weights).__name__ if dtype is None else f"{dtype}{list(weights.shape)}"
        raise ValueError(
            f"The weights are {given}, but each of the {size} samples has one: give a "
            f"floating-point array of shape ({size},), or a boolean one for a mask."
        )


def check_values(loss: AbstractLoss, batch: Batch, outputs: int, leak: float) -> None:
    """Raises `ValueError` for weights, and for targets of weight above 0, of forbidden values.

    Under a trace, where values cannot be seen, it checks shapes alone.
    """
    loss.check_target(_of_positive_weight(batch), outputs, leak)


def _of_positive_weight(batch: Batch) -> PyTree[Any]:
    weights = batch.weights
    if weights is None or isinstance(weights, Tracer):
        return batch.targets
    weights = np.asarray(weights)
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise ValueError(
            f"The weights run from {float(weights.min()):g} to {float(weights.max()):g}, but they "
            "are finite and at least 0: give a weight of 0 to a sample that is left out."
        )
    if not weights.any() or any(isinstance(t, Tracer) for t in jax.tree.leaves(batch.targets)):
        return batch.targets
    return jax.tree.map(lambda leaf: leaf[weights > 0], batch.targets)


def refuse_weights(batch: Batch, rule: str, because: str) -> None:
    """Raises `ValueError` if a batch has weights, for a rule that cannot use them."""
    if batch.weights is not None:
        raise ValueError(
            f"The batch has weights, but {rule} takes none, because {because}: leave samples out "
            "of the batch instead."
        )


def _shapes(tree: PyTree) -> str:
    return ", ".join(f"{leaf.dtype}{list(leaf.shape)}" for leaf in jax.tree.leaves(tree))


def per_sample(values: Array, leaf: Array) -> Array:
    """Reshapes one value for each sample so that it multiplies or selects a leaf's samples."""
    return values.reshape(values.shape + (1,) * (leaf.ndim - 1))


def with_admitted_targets(
    solution: Solution, loss: AbstractLoss, targets: PyTree[Any], outputs: int
) -> Solution:
    """Marks the samples as unsolved whose target the loss does not admit.

    `check_batch` refuses such targets, but inside a trace it cannot see values.
    """
    admitted = jax.vmap(lambda target: loss.admits(target, outputs))(targets)
    error = jnp.where(admitted, solution.stats.error, jnp.nan)
    result = result_with_target(admitted, solution.result)
    return eqx.tree_at(lambda s: (s.result, s.stats.error), solution, (result, error))


def result_with_target(admitted: Bool[Array, " batch"], result: Any) -> Any:
    """Replaces a sample's result by `invalid_target` if its target is not admitted."""

    def of_one(admitted: Bool[Array, ""], result: Any) -> Any:
        return RESULTS.where(admitted, result, RESULTS.invalid_target)

    return jax.vmap(of_one)(admitted, result)


class Counted(eqx.Module):
    """The weights of a batch's samples, and means over the samples that count.

    A sample that does not count may have values at which f, its derivatives or the loss are not
    finite, and 0 · NaN is NaN. Therefore no gradient is evaluated at such a sample: `safe` replaces
    its values by those of a sample that counts, and its weight is 0.

    * `weights`: of each sample; they sum to 1, or all are 0.
    * `count`: the number of samples that count, or the sum of their weights.
    """

    weights: Float[Array, " batch"]
    count: Float[Array, ""]

    @staticmethod
    def of(weights: Float[Array, " batch"]) -> "Counted":
        """Divides weights of at least 0 by their sum, and keeps that sum as the count."""
        count = jnp.sum(weights)
        return Counted(weights / jnp.where(count > 0, count, 1), count)

    @staticmethod
    def in_batch(batch: Batch, unsolved: AbstractUnsolved, solution: Solution) -> "Counted":
        """Multiplies the weights of a policy by those of the batch.

        The policy is not asked about samples of weight 0.
        """
        if batch.weights is None:
            return Counted.of(unsolved.weights(solution))
        error = solution.stats.error
        weights = batch.weights.astype(error.dtype)

        def judged(weight: Array, error: Array, result: Any) -> tuple[Array, Any]:
            return jnp.where(weight > 0, error, 0), RESULTS.where(
                weight > 0,
                result,
                RESULTS.successful,  # pyright: ignore[reportArgumentType]
            )

        stand_in = eqx.tree_at(
            lambda s: (s.stats.error, s.result),
            solution,
            jax.vmap(judged)(weights, error, solution.result),
        )
        return Counted.of(weights * unsolved.weights(stand_in))

    def safe(self, tree: PyTree[Any]) -> PyTree[Any]:
        """Replaces the samples that do not count by copies of one that does."""
        first = jnp.argmax(self.weights > 0)

        def of_leaf(leaf: Array) -> Array:
            leaf = jnp.asarray(leaf)
            return jnp.where(per_sample(self.weights > 0, leaf), leaf, leaf[first])

        return jax.tree.map(of_leaf, tree)

    def weighted(self, tree: PyTree[Any]) -> PyTree[Array]:
        """Multiplies each sample by its weight; samples that do not count become 0, even NaN."""

        def of_leaf(leaf: Array) -> Array:
            weights = per_sample(self.weights, leaf).astype(leaf.dtype)
            return jnp.where(weights > 0, weights * leaf, 0)

        return jax.tree.map(of_leaf, tree)

    def mean(self, values: Float[Array, " batch"]) -> Float[Array, ""]:
        """Averages over the samples that count; NaN if there are none."""
        return jnp.where(self.count > 0, jnp.sum(self.weighted(values)), jnp.nan)

    def gradient(self, tree: PyTree[Any]) -> PyTree[Any]:
        """Replaces a batch's gradient by zeros if no sample counts."""
        return jax.tree.map(lambda leaf: jnp.where(self.count > 0, leaf, 0), tree)


def share_removed(
    loss: AbstractLoss, unsolved: AbstractUnsolved
) -> Callable[[AbstractSystem, Batch, Credit], Float[Array, ""]]:
    """Builds the measure `Aspects.removed` of a rule with a loss and a policy for its samples.

    It solves for the free equilibria if the credit does not hold their loss.
    """

    def removed(system: AbstractSystem, batch: Batch, credit: Credit) -> Float[Array, ""]:
        free_loss = credit.free_loss
        if free_loss is None:
            if isinstance(system, AbstractBatchNormalised):
                system = system.with_batch_statistics(batch.inputs)
            drives = jax.vmap(system.drive)(batch.inputs)
            solver = FixedPoint.mixed_later()
            states = free_equilibrium(system, drives, solver=solver).value
            losses = jax.vmap(loss)(jax.vmap(system.readout)(states), batch.targets)
            free_loss = Counted.in_batch(batch, unsolved, credit.solution).mean(losses)
        return 1 - credit.loss / free_loss

    return removed


def parameter_gradient(
    system: AbstractSystem,
    inputs: PyTree[Any],
    states: PyTree[Float[Array, "batch ..."]],
    field_signal: PyTree[Float[Array, "batch ..."]],
    output_signal: Float[Array, "batch outputs"],
    shares: Units | None = None,
) -> PyTree[Any]:
    """Computes Σ_b ∂_θf(φ_b)ᵀ a_b + ∂_θh(φ_b)ᵀ e_b, with the states held fixed.

    Units inside f that rest on their kinks have their `shares` of the slope (`Solution.shares`).

    For each weight the product reads the signal at the weight's output and the activity at its
    input. It is therefore local if f has a node for every layer.
    """
    learned, fixed = eqx.partition(system, eqx.is_inexact_array)

    def field_and_readout(learned: PyTree) -> tuple[PyTree, Array]:
        system = eqx.combine(learned, fixed)

        def of_one(x: PyTree, state: PyTree, shares: Units | None) -> tuple[PyTree, Array]:
            held = on_kinks(system, shares)
            return held.vector_field(state, system.drive(x)), held.readout(state)

        return jax.vmap(of_one)(inputs, states, shares)

    _, pull = jax.vjp(field_and_readout, learned)
    return pull((field_signal, output_signal))[0]


def split_by_tangents(primals: PyTree[Any], tangents: PyTree[Any]) -> tuple[PyTree, PyTree]:
    """Splits the arguments of a rule of differentiation into those that move and the others.

    The tangents are `None` where an argument does not move, as in `eqx.filter_custom_jvp`.
    """

    def part(moves: bool) -> PyTree[Any]:
        return jax.tree.map(
            lambda tangent, primal: primal if (tangent is not None) == moves else None,
            tangents,
            primals,
            is_leaf=lambda node: node is None,
        )

    return part(True), part(False)
