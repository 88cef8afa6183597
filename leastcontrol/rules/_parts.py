"""Batches in parts, which run one after another or on several devices."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, PRNGKeyArray, PyTree

from ..systems import AbstractSystem
from ._rule import AbstractRule, AbstractRuleAround, Batch, Credit


class InParts(AbstractRuleAround):
    """Applies another rule to equal parts of a batch, and returns the credit of the whole batch.

    A part consists of consecutive samples. Each mean over the batch is Σ_p n_p m_p / Σ_p n_p, where
    part p has the mean m_p and n_p samples that count (`Credit.count`). The result is therefore the
    same as without parts, up to the order of sums, with two exceptions. Random numbers are drawn
    with a different key for each part. And whatever the rule takes from the batch besides means,
    such as batch statistics or its first samples, it takes from each part.

    Without a mesh the parts run one after another, and need the memory of one part. With a mesh
    each device runs its share of the parts: no device waits for the solves of another, and only
    the sums are communicated. The result depends on the number of parts, not on the number of
    devices.

    **Arguments:**

    * `rule`: the rule that is applied.
    * `parts`: the number of parts; it divides the size of the batch.
    * `mesh`: devices along one axis; their number divides the number of parts.

    **Raises:** `ValueError` if these numbers do not divide each other.
    """

    rule: AbstractRule
    parts: int = eqx.field(static=True)
    mesh: Mesh | None = eqx.field(static=True)

    def __init__(self, rule: AbstractRule, parts: int, mesh: Mesh | None = None):
        devices = 1 if mesh is None else mesh.size
        if parts < 1 or parts % devices:
            raise ValueError(
                f"A batch is to be taken in {parts} parts by {devices} devices, but each takes as "
                f"many parts, and at least 1: write InParts(rule, {devices}, mesh)."
            )
        if mesh is not None and len(mesh.axis_names) != 1:
            raise ValueError(
                f"The mesh has the axes {', '.join(map(str, mesh.axis_names))}, but a batch has "
                'one axis to be split: write Mesh(devices, ("samples",)).'
            )
        self.rule = rule
        self.parts = parts
        self.mesh = mesh

    def __call__(
        self,
        system: AbstractSystem,
        feedback: PyTree[Any],
        batch: Batch,
        *,
        key: PRNGKeyArray | None = None,
    ) -> Credit:
        size = jax.tree.leaves(batch)[0].shape[0]
        if size % self.parts:
            raise ValueError(
                f"A batch of {size} samples is to be taken in {self.parts} equal parts: give "
                f"batches of a multiple of {self.parts}."
            )
        keys = None if key is None else jax.random.split(key, self.parts)
        split = jax.tree.map(
            lambda leaf: leaf.reshape(self.parts, size // self.parts, *leaf.shape[1:]), batch
        )
        arrays, static = eqx.partition((self.rule, system, feedback), eqx.is_array)

        def of_one(arrays: PyTree, part: tuple[Batch, PRNGKeyArray | None]) -> Credit:
            rule, system, feedback = eqx.combine(arrays, static)
            batch, key = part
            return rule(system, feedback, batch, key=key)

        def of_some(arrays: PyTree, parts: PyTree) -> tuple[PyTree, Any]:
            """Sums over parts; the solutions are stacked along an axis for the parts."""
            first = jax.tree.map(lambda leaf: leaf[0], parts)
            like = jax.eval_shape(lambda arrays, part: _sums(of_one(arrays, part)), arrays, first)
            empty = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)

            def add(total: PyTree, part: PyTree) -> tuple[PyTree, Any]:
                credit = of_one(arrays, part)
                return jax.tree.map(jnp.add, total, _sums(credit)), credit.solution

            total, solutions = jax.lax.scan(add, empty, parts)
            if self.mesh is not None:
                total = jax.lax.psum(total, self.mesh.axis_names)
            return total, solutions

        if self.mesh is not None:
            some, whole = PartitionSpec(*self.mesh.axis_names), PartitionSpec()
            of_some = jax.shard_map(
                of_some,
                mesh=self.mesh,
                in_specs=(whole, some),
                out_specs=(whole, some),
                # The check does not accept solvers' loops, whose lengths differ between devices.
                check_vma=False,
            )
        (*sums, count), solutions = of_some(arrays, (split, keys))
        solution = jax.tree.map(lambda leaf: leaf.reshape(size, *leaf.shape[2:]), solutions)
        gradient, feedback_gradient, *means = jax.tree.map(
            lambda leaf: leaf / jnp.where(count > 0, count, 1).astype(leaf.dtype), tuple(sums)
        )
        objective, loss, free_loss = jax.tree.map(
            lambda mean: jnp.where(count > 0, mean, jnp.nan), means
        )
        return Credit(gradient, feedback_gradient, objective, loss, count, solution, free_loss)


def _sums(credit: Credit) -> PyTree[Any]:
    """Multiplies a credit's means by the number of samples that count, and appends that number."""
    means = (
        *(credit.gradient, credit.feedback_gradient),
        *(credit.objective, credit.loss, credit.free_loss),
    )
    count = credit.count

    def summed(leaf: Array) -> Array:
        # The means of a part in which no sample counts are NaN.
        return jnp.where(count > 0, count.astype(leaf.dtype) * leaf, 0)

    return (*jax.tree.map(summed, means), count)
