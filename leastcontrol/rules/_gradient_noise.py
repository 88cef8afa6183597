"""What a tolerance does to a gradient, beside the gradient's noise.

The gradient of a minibatch is a mean over samples that were drawn, so it has a standard error. A
solve that is inexact adds an error to it. `gradient_noise` measures both on one batch, by the
rule's own credit: it solves equal parts of the batch twice, at a tolerance and at a reference that
is much more exact, and counts the same samples in both. So it holds for every rule with a solve,
whatever it solves. `docs/derivations/tolerance-from-noise.md` derives what follows from them.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from ..equilibrium import Solution, Tolerance, solved
from ..equilibrium._trees import norm
from ..systems import AbstractSystem
from ._nodes import replaced_nodes
from ._policy import AbstractUnsolved
from ._rule import AbstractRule, Batch, Credit

# A reference is so much more exact than the tolerance whose effect is measured.
REFERENCE = 1e-2


def with_tolerance(rule: AbstractRule, relative: float | Float[Array, ""]) -> AbstractRule:
    """Replaces the relative residual that is allowed in every tolerance of a rule.

    A traced number is allowed, so that a program need not be compiled again for another one.

    **Raises:** `ValueError` for a rule without a tolerance.
    """
    return replaced_nodes(
        rule,
        Tolerance,
        lambda node: eqx.tree_at(lambda tolerance: tolerance.relative, node, relative),
        missing=f"{type(rule.aspects.rule).__name__} solves for no equilibrium, so it has no "
        "tolerance that could be chosen: leave the choice of a tolerance out, or train by "
        "LeastControl.",
    )


class GradientNoise(NamedTuple):
    """The standard error of a batch's gradient, and what inexact solves change of it.

    * `standard_error`: the standard error of the mean gradient, √(tr Cov(g)/B), estimated from the
      spread of the parts.
    * `effect`: the norm of the change of the mean gradient between the reference and the tolerance.
    * `error`: the mean of the samples' largest residuals, as multiples of what the tolerance
      allows.
    * `steps`: the mean number of iterations of a sample, both solves together.
    * `parts`: the number of parts in which a sample counts. Below 2 nothing is known.
    """

    standard_error: Float[Array, ""]
    effect: Float[Array, ""]
    error: Float[Array, ""]
    steps: Float[Array, ""]
    parts: Float[Array, ""]


class _Compared(AbstractUnsolved):
    """Counts the chosen samples, those alone that are solved if `choosing`."""

    chosen: Float[Array, " batch"]
    choosing: Bool[Array, ""]

    def weights(self, solution: Solution) -> Float[Array, " batch"]:
        return jnp.where(self.choosing & ~solved(solution), 0, self.chosen)


def gradient_noise(
    rule: AbstractRule,
    system: AbstractSystem,
    feedback: PyTree[Any],
    batch: Batch,
    *,
    tolerance: float | Float[Array, ""],
    parts: int,
    key: PRNGKeyArray | None = None,
) -> GradientNoise:
    """Measures the noise of a batch's gradient, and the effect of a tolerance on it.

    The gradient is that in the system's parameters. Samples that are not solved at the reference,
    a hundredth of the tolerance, are left out of both solves. The parts run one after another, so
    that three gradients are kept, not one of each sample.

    **Arguments:**

    * `rule`: a rule with a solve; its safeguard, if it has one, is better left out
      (`without_safeguard`).
    * `system`, `feedback`, `batch`, `key`: as for the rule. The parts share the key.
    * `tolerance`: the relative residual whose effect is measured.
    * `parts`: at least 2; it divides the size of the batch.

    **Raises:** `ValueError` for another number of parts, or for a rule without a tolerance.
    """
    size = jax.tree.leaves(batch.inputs)[0].shape[0]
    if parts < 2 or size % parts:
        raise ValueError(
            f"The spread of a gradient over {parts} parts of {size} samples is asked for, but it "
            f"needs at least 2 parts of equal size: write parts={size}."
        )

    split = jax.tree.map(lambda leaf: leaf.reshape(parts, size // parts, *leaf.shape[1:]), batch)
    relative = jnp.asarray(tolerance)
    both = jnp.stack([REFERENCE * relative, relative])

    def credits_of(part: Batch) -> tuple[Credit, Float[Array, "2 batch"]]:
        def solve(before: tuple, relative: Array) -> tuple:
            policy = _Compared(*before)
            toleranced = with_tolerance(rule, relative)
            compared = replaced_nodes(toleranced, AbstractUnsolved, lambda _: policy)
            credit = compared(system, feedback, part, key=key)
            chosen = policy.weights(credit.solution)
            return (chosen, jnp.asarray(False)), (credit, chosen)

        ones = jnp.ones(size // parts, relative.dtype)
        _, credits = jax.lax.scan(solve, (ones, jnp.asarray(True)), both)
        return credits

    def added(sums: PyTree, part: Batch) -> tuple[PyTree, None]:
        credit, chosen = credits_of(part)
        gradient = jax.tree.map(lambda leaf: leaf[1], credit.gradient)
        change = jax.tree.map(lambda leaf: leaf[1] - leaf[0], credit.gradient)
        counted = jnp.any(chosen[1] > 0)
        stats = credit.solution.stats
        # A sample that does not count may have figures that are not finite.
        mean = lambda values: (  # noqa: E731
            jnp.sum(jnp.where(chosen > 0, chosen * values, 0), axis=1) / jnp.sum(chosen, axis=1)
        )
        terms = (
            *(gradient, change, norm(gradient) ** 2),
            *(mean(stats.error)[1], jnp.sum(mean(stats.steps)), jnp.asarray(1.0)),
        )
        return jax.tree.map(
            lambda total, leaf: total + jnp.where(counted, leaf, 0).astype(total.dtype),
            sums,
            terms,
        ), None

    learned = eqx.filter(system, eqx.is_inexact_array)
    none = jax.tree.map(jnp.zeros_like, learned)
    zero = jnp.zeros((), relative.dtype)
    sums, _ = jax.lax.scan(added, (none, none, zero, zero, zero, zero), split)
    *sums, counting = sums
    gradient, change, square, error, steps = jax.tree.map(
        lambda leaf: leaf / jnp.maximum(counting, 1).astype(leaf.dtype), tuple(sums)
    )
    spread = jnp.maximum(square - norm(gradient) ** 2, 0) / jnp.maximum(counting - 1, 1)
    return GradientNoise(jnp.sqrt(spread), norm(change), error, steps, counting)
