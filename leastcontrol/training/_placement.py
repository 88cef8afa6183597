"""Where the arrays of a training lie: in copies, each divided among the devices of one copy.

A mesh has an axis along which batches are split (`leastcontrol.rules.batch_axis`). Its position is
the number of a copy of everything that is learned. The devices along the other axis, if there is
one, hold that copy between them. Only the placement of arrays is decided here; JAX's partitioner
divides the computation and communicates what it needs.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from ..rules import batch_axis

# Elements of the smallest array that is divided; moving parts of a smaller one costs more.
SMALLEST = 1024


def shardings(tree: PyTree[Any], mesh: Mesh | AbstractMesh) -> PyTree[Any]:
    """Chooses how each array of a pytree is divided among the devices of a copy.

    An array of at least 1024 elements is divided along its longest axis whose length the number of
    devices divides, the first of several; any other array is whole on every device. Arrays of one
    shape are divided alike, so that the states of an optimiser lie where their weights do.

    **Arguments:**

    * `tree`: arrays, or descriptions of them (`jax.ShapeDtypeStruct`), and anything else.
    * `mesh`: one made by `device_mesh`, or any other that `InParts` takes; an abstract one to plan
      for devices that are not here.

    **Returns:** a pytree like `tree`, with a `NamedSharding` for every array and `None` for the
    rest.
    """
    names = tuple(name for name in mesh.axis_names if name != batch_axis(mesh))
    devices = math.prod(mesh.shape[name] for name in names)

    def chosen(leaf: Any) -> NamedSharding:
        lengths = [length if length % devices == 0 else 0 for length in leaf.shape]
        if devices == 1 or math.prod(leaf.shape) < SMALLEST or not any(lengths):
            return NamedSharding(mesh, PartitionSpec())
        before = [None] * lengths.index(max(lengths))
        return NamedSharding(mesh, PartitionSpec(*before, names))

    kinds = (jax.Array, np.ndarray, jax.ShapeDtypeStruct)
    arrays = eqx.filter(tree, lambda leaf: isinstance(leaf, kinds))
    return jax.tree.map(chosen, arrays)


def shard(tree: PyTree[Any], mesh: Mesh) -> PyTree[Any]:
    """Lays the arrays of a pytree over the devices of a mesh, divided as `shardings` says.

    A program of `jax.jit` that is given such arrays runs on all of these devices. If the mesh
    belongs to several processes, each calls this with the same arrays.

    **Arguments:**

    * `tree`: arrays, NumPy's too, and anything else, which stays as it is: such as a system.
    * `mesh`: as for `shardings`.
    """
    arrays, others = eqx.partition(tree, lambda leaf: isinstance(leaf, (jax.Array, np.ndarray)))

    def laid(leaf: Any, sharding: NamedSharding) -> jax.Array:
        # On one device an array without a mesh is equivalent to one with it, and has no `spec`.
        if isinstance(leaf, jax.Array) and leaf.sharding == sharding:
            return leaf
        # Every process has all of the array, and gives each of its devices the part of it.
        whole = np.asarray(leaf)
        return jax.make_array_from_callback(whole.shape, sharding, lambda part: whole[part])

    return eqx.combine(jax.tree.map(laid, arrays, shardings(arrays, mesh)), others)


def drawn(make: Callable[[], PyTree[Any]], mesh: Mesh | None) -> PyTree[Any]:
    """Makes a system whose arrays are drawn where they will lie, on the devices of one copy.

    No device holds more than its part of an array that `shardings` divides, or the 65 536 numbers
    that smaller ones are cut from. Orthogonal weights are decomposed whole. Without a mesh the
    system is made as it is.

    **Arguments:**

    * `make`: makes the system, or any pytree of arrays and structure.
    * `mesh`: as for `shardings`, or `None`.
    """
    return Placement(mesh).one_copy.drawn(make)


def placed_like(array: Any, like: Any) -> Any:
    """Moves an array to where another one lies, if that is divided among several devices."""
    divided = isinstance(like, jax.Array) and len(like.devices()) > 1
    return jax.device_put(array, like.sharding) if divided else array


@dataclasses.dataclass(frozen=True)
class Placement:
    """Arrays on the devices of a mesh, or on the default device without one."""

    mesh: Mesh | None

    def shardings(self, tree: PyTree) -> PyTree | None:
        """Chooses how the arrays of a pytree are divided; `None` without a mesh."""
        return None if self.mesh is None else shardings(tree, self.mesh)

    def spread(self, tree: PyTree) -> PyTree:
        """Lays arrays over all devices."""
        return jax.tree.map(jnp.asarray, tree) if self.mesh is None else shard(tree, self.mesh)

    def held(self, tree: PyTree) -> PyTree:
        """Lays the arrays of a pytree over all devices; without a mesh they stay where they are."""
        return tree if self.mesh is None else shard(tree, self.mesh)

    def made(self, function: Callable[..., PyTree], *arguments: PyTree) -> PyTree:
        """Computes a function by one program, whose results are laid over all devices."""
        described = jax.eval_shape(function, *arguments)
        return jax.jit(function, out_shardings=self.shardings(described))(*arguments)

    def drawn(self, make: Callable[..., PyTree], *arguments: PyTree) -> PyTree:
        """Makes arrays among other things, by one program that lays the arrays over all devices."""
        if self.mesh is None:
            return make(*arguments)
        given, others = eqx.partition(arguments, eqx.is_array)

        def made(given: PyTree) -> PyTree:
            return make(*eqx.combine(given, others))

        described = lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct)  # noqa: E731
        structure = eqx.filter(eqx.filter_eval_shape(made, given), described, inverse=True)
        arrays = self.made(lambda given: eqx.filter(made(given), eqx.is_array), given)
        return eqx.combine(arrays, structure)

    @property
    def one_copy(self) -> "Placement":
        """The placement on the devices of the first copy of this process alone."""
        if self.mesh is None:
            return self
        axis = self.mesh.axis_names.index(batch_axis(self.mesh))
        copies = np.split(self.mesh.devices, self.mesh.devices.shape[axis], axis)
        here = [copy for copy in copies if copy.flat[0].process_index == jax.process_index()]
        return Placement(Mesh(here[0], self.mesh.axis_names))

    def local(self, tree: PyTree) -> PyTree:
        """Takes the first copy of this process, without copying it."""
        copy = self.one_copy.mesh
        if copy is None:
            return tree

        def taken(leaf: jax.Array) -> jax.Array:
            parts = {part.device: part.data for part in leaf.addressable_shards}
            sharding = NamedSharding(copy, leaf.sharding.spec)  # pyright: ignore
            return jax.make_array_from_single_device_arrays(
                leaf.shape, sharding, [parts[device] for device in copy.devices.flat]
            )

        return jax.tree.map(taken, tree)
