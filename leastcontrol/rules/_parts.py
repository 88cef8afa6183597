"""Batches in parts, which run one after another or on several devices."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, Mesh, PartitionSpec
from jaxtyping import Array, PRNGKeyArray, PyTree

from ..systems import AbstractSystem
from ._rule import AbstractRule, AbstractRuleAround, Batch, Credit


def batch_axis(mesh: Mesh | AbstractMesh) -> str:
    """Returns the name of the axis of a mesh along which batches are split.

    It is the only axis, or the one that is called `"samples"`.

    **Raises:** `ValueError` if there are several axes and none of that name.
    """
    names = tuple(map(str, mesh.axis_names))
    if len(names) == 1:
        return names[0]
    if "samples" not in names:
        raise ValueError(
            f"The mesh has the axes {', '.join(names)}, but a batch is split along the one that is "
            'called "samples": write Mesh(devices, ("samples", "weights")).'
        )
    return "samples"


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

    A mesh may have a second axis. The devices along it run the same parts together: JAX divides
    their computation as the arrays of the system are divided (`leastcontrol.training.shard`).

    **Arguments:**

    * `rule`: the rule that is applied.
    * `parts`: the number of parts; it divides the size of the batch.
    * `mesh`: devices; the length of the `batch_axis` divides the number of parts.

    **Raises:** `ValueError` if these numbers do not divide each other, or if the mesh has several
    axes and none is called `"samples"`.
    """

    rule: AbstractRule
    parts: int = eqx.field(static=True)
    mesh: Mesh | None = eqx.field(static=True)

    def __init__(self, rule: AbstractRule, parts: int, mesh: Mesh | None = None):
        devices = 1 if mesh is None else mesh.shape[batch_axis(mesh)]
        if parts < 1 or parts % devices:
            raise ValueError(
                f"A batch is to be taken in {parts} parts by {devices} devices, but each takes as "
                f"many parts, and at least 1: write InParts(rule, {devices}, mesh)."
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
            if axis is not None:
                total = jax.lax.psum(total, axis)
            return total, solutions

        axis = self._split_axis()
        if axis is not None:
            some, whole = PartitionSpec(axis), PartitionSpec()
            of_some = jax.shard_map(
                of_some,
                mesh=self.mesh,
                # Solves end apart along this axis alone; the other one is JAX's to divide.
                axis_names={axis},
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

    def _split_axis(self) -> str | None:
        """Returns the name of the axis whose devices take parts; `None` for one such device."""
        # XLA refuses sums along an axis of one device beside an axis that JAX divides.
        axis = None if self.mesh is None else batch_axis(self.mesh)
        return axis if self.mesh is not None and self.mesh.shape[axis] > 1 else None


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
