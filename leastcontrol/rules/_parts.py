"""Batches in parts: one after another, or each on a device of its own."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, PRNGKeyArray, PyTree

from ..systems import AbstractSystem
from ._rule import AbstractRule, AbstractRuleAround, Batch, Credit


class InParts(AbstractRuleAround):
    """Another rule, applied to equal parts of a batch; the credit is that of the whole batch.

    A part holds consecutive samples, and each mean over the batch is Σ_p n_p m_p / Σ_p n_p, m_p
    being that of a part with n_p samples that count (`Credit.count`). So it is what the rule by
    itself returns up to the order of sums, with two exceptions: what is drawn at random is drawn
    for each part with a key of its own, and what a rule takes from the batch beside means, such as
    batch statistics or the first samples of it, it takes from each part.

    Without a mesh the parts follow one another, in the memory of one of them. On a mesh each device
    goes through its share of the parts: the solves of one device wait for none of another, and
    only the sums are communicated. What is returned depends on the number of parts and not on that
    of the devices.

    **Arguments:**

    * `rule`: the rule that is applied.
    * `parts`: their number; it divides the batch.
    * `mesh`: devices along one axis, whose number divides that of the parts.

    **Raises:** `ValueError` for numbers that do not divide each other.
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

        def of_one(arrays: PyTree, own: tuple[Batch, PRNGKeyArray | None]) -> Credit:
            rule, system, feedback = eqx.combine(arrays, static)
            batch, key = own
            return rule(system, feedback, batch, key=key)

        def of_some(arrays: PyTree, parts: PyTree) -> tuple[PyTree, Any]:
            """Returns the sums over parts, and the solutions with an axis for the parts."""
            first = jax.tree.map(lambda leaf: leaf[0], parts)
            like = jax.eval_shape(lambda arrays, own: _sums(of_one(arrays, own)), arrays, first)
            empty = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)

            def add(total: PyTree, own: PyTree) -> tuple[PyTree, Any]:
                credit = of_one(arrays, own)
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
                # The loops of solvers know nothing of what varies from device to device.
                check_vma=False,
            )
        (*sums, count), solutions = of_some(arrays, (split, keys))
        solution = jax.tree.map(lambda leaf: leaf.reshape(size, *leaf.shape[2:]), solutions)
        gradient, feedback_gradient, objective, loss = jax.tree.map(
            lambda leaf: leaf / jnp.maximum(count, 1).astype(leaf.dtype), tuple(sums)
        )
        objective, loss = (jnp.where(count > 0, own, jnp.nan) for own in (objective, loss))
        return Credit(gradient, feedback_gradient, objective, loss, count, solution)


def _sums(credit: Credit) -> PyTree[Any]:
    """Returns a credit's means times the number of its samples that count, and that number."""
    means = (credit.gradient, credit.feedback_gradient, credit.objective, credit.loss)
    count = credit.count

    def summed(leaf: Array) -> Array:
        # The means of a part in which no sample counts are NaN.
        return jnp.where(count > 0, count.astype(leaf.dtype) * leaf, 0)

    return (*jax.tree.map(summed, means), count)
